"""What the library costs: series to volume, volume to series, an untouched handle.

Run it with ``python benchmarks/library.py [--slices 500] [--runs 7] [--json FILE]``. Everything of a case is
run in turn, the first turn is thrown away, and what counts is the CPU time of this process (elapsed time
where several processes work): medians, with the least and the most beside them, and the ratios of the medians
to the goals of the project. "build and encode" gives the pieces of each file as the outbox and the sender
take them; "build, encode and join" copies them into one piece each, as pydicom does.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from dicomnode import LazyDataset, NumpyFactory, NumpyGrinder, blueprints, encode_series
from dicomnode.host.gathering.reception import INDEXED
from dicomnode.host.parsing.inspection import InspectionLimits
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.spool.spool import read_index

SIZE = 512
STEP = 2.5


@dataclass
class Case:
    """One piece of work, done in several ways."""

    title: str
    per: str
    units: int
    ways: dict[str, Callable[[], Any]]
    ours: str
    goals: dict[str, tuple[str, float]] = field(default_factory=dict)
    clock: Callable[[], float] = time.process_time


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Run all ways in turn, once more than asked; return milliseconds a unit and the ratios."""
    times: dict[str, list[float]] = {name: [] for name in case.ways}
    names = list(case.ways)
    for fairness in range(runs + 1):
        # What went before leaves its mark on memory: so nothing has always the same before it.
        for name in random.Random(fairness).sample(names, len(names)):
            gc.collect()
            started = case.clock()
            made = case.ways[name]()
            if fairness:
                times[name].append((case.clock() - started) / case.units * 1000)
            del made
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: (
            medians[name] / medians[case.ours] if kind == "at least" else medians[case.ours] / medians[name]
        )
        for name, (kind, _) in case.goals.items()
    }
    return {
        "title": case.title,
        "per": case.per,
        "milliseconds": {
            name: {"median": medians[name], "least": min(values), "most": max(values)}
            for name, values in times.items()
        },
        "goals": {
            name: {"kind": kind, "goal": goal, "ratio": ratios[name], "met": _met(kind, ratios[name], goal)}
            for name, (kind, goal) in case.goals.items()
        },
    }


def _met(kind: str, ratio: float, goal: float) -> bool:
    return ratio >= goal if kind == "at least" else ratio <= goal


# -- the series -------------------------------------------------------------------------------------------


def series(folder: Path, count: int) -> list[Path]:
    """Write a CT series of ``count`` slices of 512 x 512 and a header of about a hundred elements."""
    image = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    image.remove_private_tags()
    image.pop("DataSetTrailingPadding", None)  # of the nineties: hardly any device writes it
    rng = np.random.default_rng(1)
    image.Rows = image.Columns = SIZE
    image.SeriesInstanceUID, image.StudyInstanceUID = generate_uid(), generate_uid()
    root = generate_uid()[:-6]
    for number in range(100 - len(image)):
        image.add_new((0x0041, 0x1000 + number), "LO", f"private value {number}")
    paths = []
    smooth = np.linspace(-1000, 1500, SIZE, dtype=np.float32)
    for number in range(count):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{root}.{number + 1}"
        image.InstanceNumber = number + 1
        image.ImagePositionPatient = [-125.0, -125.0, STEP * number]
        image.SliceLocation = STEP * number
        noise = rng.integers(-50, 50, (SIZE, SIZE))
        image.PixelData = (smooth[:, np.newaxis] + noise).astype("<i2").tobytes()
        paths.append(folder / f"{number:05d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def compressed(paths: list[Path], folder: Path, syntax: str) -> list[Path]:
    """Write the same images in a compressed transfer syntax."""
    folder.mkdir()
    made = []
    for path in paths:
        image = pydicom.dcmread(path)
        image.compress(syntax, generate_instance_uid=False)
        made.append(folder / path.name)
        image.save_as(made[-1], enforce_file_format=True)
    return made


# -- series to volume -------------------------------------------------------------------------------------


def read_and_cast(paths: list[Path]) -> Any:
    """Read the bytes and cast them: what cannot be done without."""
    length = SIZE * SIZE
    array = np.empty((len(paths), SIZE, SIZE), np.float32)
    for number, path in enumerate(paths):
        data = path.read_bytes()
        array[number] = np.frombuffer(data, "<i2", length, _pixels_at(data)).reshape(SIZE, SIZE)
    return array


def _pixels_at(data: bytes) -> int:
    return data.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 12


def pixel_array_and_stack(paths: list[Path]) -> Any:
    """Do it as one does with pydicom."""
    images = sorted(
        (pydicom.dcmread(path) for path in paths), key=lambda image: image.ImagePositionPatient[2]
    )
    return np.stack(
        [
            image.pixel_array.astype(np.float32) * np.float32(image.RescaleSlope)
            + np.float32(image.RescaleIntercept)
            for image in images
        ]
    )


def grind(paths: list[Path]) -> Any:
    """Do it as the host does: handles to files, ground into a volume."""
    return NumpyGrinder()([LazyDataset(path) for path in paths])


def grind_datasets(paths: list[Path]) -> Any:
    """Do it as a notebook may: datasets that pydicom has read."""
    return NumpyGrinder()([pydicom.dcmread(path) for path in paths])


# -- volume to series -------------------------------------------------------------------------------------


def quantise_and_concatenate(array: Any, heads: list[bytes]) -> Any:
    """Quantise and put a header before each slice: what cannot be done without.

    In double precision, as the promise of half a step asks.
    """
    lowest, highest = float(array.min()), float(array.max())
    per = 65535 / (highest - lowest)
    pixels = np.empty(array.shape, "<u2")
    work = np.empty((64, array.shape[2]))
    for part, out in zip(array, pixels, strict=True):
        for row in range(0, len(part), len(work)):
            np.copyto(work, part[row : row + len(work)])
            work -= lowest
            work *= per
            np.rint(work, out=work)
            np.copyto(out[row : row + len(work)], work, casting="unsafe")
    return [b"".join((head, part.data)) for head, part in zip(heads, pixels, strict=True)]


def by_pydicom(array: Any, sources: list[Dataset], duplicate: Callable[[Dataset], Dataset]) -> Any:
    """Derive a series as one does with pydicom."""
    lowest, highest = float(array.min()), float(array.max())
    slope = float(f"{(highest - lowest) / 65535:.8g}")
    uid = generate_uid()
    files = []
    for number, (source, part) in enumerate(zip(sources, array, strict=True)):
        made = duplicate(source)
        made.SeriesInstanceUID = uid
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.SeriesDescription = "Smoothed"
        made.ImageType = ["DERIVED", *source.ImageType[1:]]
        made.InstanceNumber = number + 1
        made.PixelRepresentation = 0
        made.RescaleSlope, made.RescaleIntercept = f"{slope:.8g}", f"{lowest:.8g}"
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        made.SourceImageSequence = [reference]
        made.PixelData = np.rint((part - lowest) / slope).astype("<u2").tobytes()
        file = BytesIO()
        made.save_as(file, enforce_file_format=True)
        files.append(file.getvalue())
    return files


def shallow(source: Dataset) -> Dataset:
    """Copy as little of a dataset as one may."""
    made = Dataset(source)
    made.file_meta = copy.copy(source.file_meta)
    return made


def build(array: Any, sources: list[Dataset]) -> Any:
    """Derive a series with the library, its bytes as one sends or writes them."""
    factory = NumpyFactory()
    header = factory.make_header(blueprints.ct_blueprint, sources)
    return list(encode_series(factory.build_series(header, array)))


def build_and_join(array: Any, sources: list[Dataset]) -> Any:
    """Do the same, each instance as one piece of bytes."""
    return [bytes(instance) for instance in build(array, sources)]


# -- memory -----------------------------------------------------------------------------------------------


def handle_bytes(paths: list[Path]) -> dict[str, float]:
    """Return bytes of an untouched handle with ten indexed tags, and of pydicom's dataset without pixels."""
    keywords = (
        *("SOPClassUID", "SOPInstanceUID", "StudyDate", "Modality", "SeriesDescription", "PatientID"),
        *("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient"),
    )
    indices = []
    for path in paths:
        image = pydicom.dcmread(path, stop_before_pixels=True)
        values = {int(pydicom.datadict.tag_for_keyword(name)): image.get(name) for name in keywords}
        indices.append({tag: _plain(value) for tag, value in values.items()})

    def cost(make: Callable[[Path, dict[int, Any]], Any]) -> float:
        make(paths[0], indices[0])
        texts = [
            (str(path), json.loads(json.dumps(list(index.items()))))
            for path, index in zip(paths, indices, strict=True)
        ]
        gc.collect()
        tracemalloc.start()
        # a receiver makes path and values anew for each instance, so they count
        held = [make(Path(path[:1] + path[1:]), dict(copy.deepcopy(index))) for path, index in texts]
        gc.collect()
        total = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (total - sys.getsizeof(held)) / len(held)

    return {
        "untouched handle": cost(LazyDataset),
        "pydicom dataset without pixels": cost(
            lambda path, index: pydicom.dcmread(path, stop_before_pixels=True)
        ),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, pydicom.multival.MultiValue):
        return [float(part) for part in value]
    return int(value) if isinstance(value, int) else str(value)


def read_tags(paths: list[Path]) -> list[list[Any]]:
    """Have pydicom read the tags that the host indexes, and look at each."""
    tags = sorted(INDEXED)
    read = [pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags) for path in paths]
    return [[dataset[tag].value for tag in tags if tag in dataset] for dataset in read]


def read_indexes(paths: list[Path]) -> list[Any]:
    """Read identity and index, as after a restart without a ledger; the structure is checked too."""
    limits, layouts = InspectionLimits(), LayoutCache()
    return [read_index(path, INDEXED, limits, layouts) for path in paths]


# -- the table --------------------------------------------------------------------------------------------


def cases(folder: Path, slices: int) -> list[Case]:
    """Return what is measured."""
    paths = series(folder, slices)
    sources = [pydicom.dcmread(path) for path in paths]
    for source in sources:
        _ = source.pixel_array.size
        source.convert_pixel_data()
    array = np.asarray(NumpyGrinder()(sources).array * np.float32(1.01))
    instances = build(array, sources)
    heads = [bytes(instance.parts[0]) for instance in instances]
    some = paths[: max(slices // 4, 8)]
    found = [
        Case(
            "Identity and indexed tags of an instance",
            "file",
            slices,
            {
                "pydicom: dcmread(specific_tags)": lambda: read_tags(paths),
                "read the index": lambda: read_indexes(paths),
            },
            "read the index",
            {"pydicom: dcmread(specific_tags)": ("at least", 8.0)},
        ),
        Case(
            "Series to float32 volume, uncompressed",
            "slice",
            slices,
            {
                "read bytes and cast": lambda: read_and_cast(paths),
                "pydicom: pixel_array and stack": lambda: pixel_array_and_stack(paths),
                "grind handles": lambda: grind(paths),
                "grind pydicom's datasets": lambda: grind_datasets(paths),
            },
            "grind handles",
            {
                "pydicom: pixel_array and stack": ("at least", 5.0),
                "read bytes and cast": ("at most", 1.5),
            },
        ),
        Case(
            "Build and encode a derived series",
            "slice",
            slices,
            {
                "quantise and concatenate": lambda: quantise_and_concatenate(array, heads),
                "pydicom, deep copies": lambda: by_pydicom(array, sources, copy.deepcopy),
                "pydicom, shallow copies": lambda: by_pydicom(array, sources, shallow),
                "build and encode": lambda: build(array, sources),
                "build, encode and join": lambda: build_and_join(array, sources),
            },
            "build and encode",
            {
                "pydicom, deep copies": ("at least", 8.0),
                "quantise and concatenate": ("at most", 2.0),
            },
        ),
    ]
    for name, syntax in (("JPEG-LS", JPEGLSLossless), ("RLE", RLELossless)):
        packed = compressed(some, folder / name, syntax)
        found.append(
            Case(
                f"Series to float32 volume, {name} (elapsed time)",
                "slice",
                len(some),
                {
                    "pydicom: pixel_array and stack": lambda packed=packed: pixel_array_and_stack(packed),
                    "grind handles": lambda packed=packed: grind(packed),
                },
                "grind handles",
                {"pydicom: pixel_array and stack": ("at least", 1.0)},
                time.perf_counter,
            )
        )
    return found


def show(result: dict[str, Any]) -> None:
    """Print a table of one case."""
    print(f"\n{result['title']}, ms a {result['per']}")
    for name, times in result["milliseconds"].items():
        goal = result["goals"].get(name)
        text = f"  {name:<34}{times['median']:8.3f}  ({times['least']:.3f} to {times['most']:.3f})"
        if goal:
            met = "met" if goal["met"] else "NOT MET"
            text += f"   ratio {goal['ratio']:.2f}, goal {goal['kind']} {goal['goal']:g}: {met}"
        print(text)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--folder", type=Path, help="where files are written; a file system in memory is best"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = []
        for case in cases(Path(folder), options.slices):
            results.append(measure(case, options.runs))
            show(results[-1])
        memory = handle_bytes(sorted(Path(folder).glob("*.dcm")))
    print("\nBytes an instance")
    for name, size in memory.items():
        print(f"  {name:<34}{size:8.0f}")
    if options.json:
        options.json.write_text(json.dumps({"cases": results, "bytes": memory}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
