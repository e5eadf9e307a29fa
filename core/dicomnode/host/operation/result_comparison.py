"""Two results of one job compared: tag by tag, voxel by voxel, and other files by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomnode.host.jobs.job_folder import Manifest
from dicomnode.pipeline.destination import OutboxItem

TIME_OF_MAKING = frozenset(
    {
        *("ContentDate", "ContentTime", "ContributionDateTime", "InstanceCreationDate"),
        *("InstanceCreationTime", "InstanceCoercionDateTime", "PresentationCreationDate"),
        "PresentationCreationTime",
    }
)
"""When something was made: no difference (PS3.3 C.12.1, C.7.6.1, C.11.10)."""

MARKS_OF_THE_VERSION = frozenset({"SoftwareVersions", "DerivationDescription"})
"""Where a result says which version of its plugin made it; that two versions differ in it is no news."""

_PIXELS = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData"})
_SHOWN = 200

Element = tuple[str, str]
"""The value representation, and the value as text; a digest for bytes."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two results: its manifest, and the version of the plugin that made it."""

    manifest: Manifest
    version: str

    @property
    def items(self) -> dict[str, OutboxItem]:
        """What it holds: an instance by its UID, another file by its name."""
        return {each.SOPInstanceUID or each.file_name or each.path.name: each for each in self.manifest.items}


@dataclass(slots=True)
class Comparison:
    """What is different.

    Attributes
    ----------
    compared : int
        How many instances and files were compared.
    only_old, only_new : list of str
        What one result has and the other has not: UIDs, or names of files.
    tags : dict of str to dict
        Path of an attribute -> ``old``, ``new`` and ``first`` (of the first instance), ``instances``.
    voxels : list of dict
        Of each instance whose voxels differ: ``SOPInstanceUID``, ``compared``, ``different``, ``largest``,
        ``frame``, ``row``, ``column``, ``old`` and ``new`` where the difference is largest; or ``shapes``.
    voxels_compared : int
        How many voxels were compared.
    files : list of str
        Files other than DICOM whose bytes differ.
    """

    compared: int = 0
    only_old: list[str] = field(default_factory=list)
    only_new: list[str] = field(default_factory=list)
    tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    voxels: list[dict[str, Any]] = field(default_factory=list)
    voxels_compared: int = 0
    files: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing is different."""
        return not (self.only_old or self.only_new or self.tags or self.voxels or self.files)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        measured = [each for each in self.voxels if "different" in each]
        worst = max(measured, key=lambda each: each["largest"], default=None)
        return {
            "equal": self.equal,
            "compared": self.compared,
            "only_old": self.only_old,
            "only_new": self.only_new,
            "tags": [{"tag": path, **difference} for path, difference in self.tags.items()],
            "voxels": {
                "compared": self.voxels_compared,
                "different": sum(each["different"] for each in measured),
                "largest": worst,
                "instances": self.voxels,
            },
            "files": self.files,
        }


def compare_results(old: Side, new: Side) -> Comparison:
    """Compare two results of one job.

    Instances are told apart by their UIDs, which a job keeps however often it runs. Where a plugin makes UIDs
    of its own, so that none is found again, they are taken in order.
    """
    found = Comparison()
    olds, news = old.items, new.items
    pairs = [(olds.pop(key), news.pop(key)) for key in list(olds) if key in news]
    if olds and len(olds) == len(news):
        pairs += zip(olds.values(), news.values(), strict=True)
        olds, news = {}, {}
    found.only_old, found.only_new = list(olds), list(news)
    found.compared = len(pairs)
    for one, other in pairs:
        if one.SOPInstanceUID and other.SOPInstanceUID:
            _compare_instances(one, other, (old.version, new.version), found)
        elif one.path.read_bytes() != other.path.read_bytes():
            found.files.append(other.file_name or other.path.name)
    return found


def _compare_instances(
    old: OutboxItem, new: OutboxItem, versions: tuple[str, str], found: Comparison
) -> None:
    one, other = pydicom.dcmread(old.path), pydicom.dcmread(new.path)
    before, after = _flat(one), _flat(other)
    for path in dict.fromkeys((*before, *after)):
        if _same(path, before.get(path), after.get(path), versions):
            continue
        difference = found.tags.setdefault(
            path,
            {
                "old": _shown(before.get(path)),
                "new": _shown(after.get(path)),
                "first": new.SOPInstanceUID,
                "instances": 0,
            },
        )
        difference["instances"] += 1
    if _PIXELS & set(one.dir()) and _PIXELS & set(other.dir()):
        _compare_voxels(one, other, new.SOPInstanceUID, found)


def _flat(dataset: Dataset) -> dict[str, Element]:
    """Return path -> value of every attribute, those of the file meta information and in sequences too."""
    meta = getattr(dataset, "file_meta", None)
    found = dict(_elements(dataset, ""))
    if meta is not None:
        found |= {path: value for path, value in _elements(meta, "") if not path.endswith("GroupLength")}
    return found


def _elements(dataset: Dataset, prefix: str) -> Iterator[tuple[str, Element]]:
    for element in dataset:
        name = f"{prefix}{element.keyword or element.tag}"
        if element.VR == "SQ":
            yield name, ("SQ", f"{len(element.value)} items")
            for number, item in enumerate(element.value):
                yield from _elements(item, f"{name}[{number}].")
        elif element.keyword in _PIXELS:
            yield name, (str(element.VR), "pixels")  # their values are compared as such
        elif isinstance(element.value, bytes):
            digest = hashlib.sha256(element.value).hexdigest()[:16]
            yield name, (str(element.VR), f"{len(element.value)} bytes, sha256 {digest}")
        else:
            yield name, (str(element.VR), str(element.value))


def _same(path: str, old: Element | None, new: Element | None, versions: tuple[str, str]) -> bool:
    keyword = path.rpartition(".")[2]
    if old == new or keyword in TIME_OF_MAKING:
        return True
    if keyword in _PIXELS and old and new:  # OB or OW: the encoding is in the transfer syntax
        return True
    return (
        keyword in MARKS_OF_THE_VERSION
        and old is not None
        and new is not None
        and old[1].replace(versions[0], versions[1]) == new[1]
    )


def _shown(element: Element | None) -> str | None:
    return None if element is None else element[1][:_SHOWN]


def _compare_voxels(old: Dataset, new: Dataset, uid: str, found: Comparison) -> None:
    one, other = _values(old), _values(new)
    if one.shape != other.shape:
        found.voxels.append({"SOPInstanceUID": uid, "shapes": [list(one.shape), list(other.shape)]})
        return
    found.voxels_compared += one.size
    different = (one != other) & ~(np.isnan(one) & np.isnan(other))
    count = int(np.count_nonzero(different))
    if not count:
        return
    distance = np.where(different, np.nan_to_num(np.abs(one - other), nan=np.inf), 0.0)
    place = np.unravel_index(int(np.argmax(distance)), distance.shape)
    frame, row, column = (int(each) for each in place[:3])
    found.voxels.append(
        {
            "SOPInstanceUID": uid,
            "compared": one.size,
            "different": count,
            "largest": float(distance[place]),
            "frame": frame,
            "row": row,
            "column": column,
            "old": float(one[place]),
            "new": float(other[place]),
        }
    )


def _values(image: Dataset) -> NDArray[np.float64]:
    """Return the rescaled values: (frames, rows, columns) or, of colour, (frames, rows, columns, samples)."""
    stored = np.asarray(image.pixel_array, dtype=np.float64)
    frames = int(image.get("NumberOfFrames") or 1)
    samples = int(image.get("SamplesPerPixel") or 1)
    shape = (frames, int(image.Rows), int(image.Columns), *((samples,) if samples > 1 else ()))
    values = stored.reshape(shape)
    for number, (slope, intercept) in enumerate(_rescales(image, frames)):
        values[number] = values[number] * slope + intercept
    return values


def _rescales(image: Dataset, frames: int) -> list[tuple[float, float]]:
    """Return slope and intercept of each frame (PS3.3 C.11.1.1.2, C.7.6.16.2.9)."""
    shared = (image.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    groups = list(image.get("PerFrameFunctionalGroupsSequence") or [])
    whole = _rescale(image) or _rescale_of_group(shared) or (1.0, 0.0)
    if len(groups) != frames:
        return [whole] * frames
    return [_rescale_of_group(group) or whole for group in groups]


def _rescale_of_group(group: Dataset) -> tuple[float, float] | None:
    items = group.get("PixelValueTransformationSequence")
    return _rescale(items[0]) if items else None


def _rescale(holder: Mapping[Any, Any] | Dataset) -> tuple[float, float] | None:
    slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
    if slope is None and intercept is None:
        return None
    return float(1 if slope is None else slope), float(intercept or 0)
