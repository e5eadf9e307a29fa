"""Trees and folders: finding DICOM files, and writing images where only they themselves say."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.dicom.values.safe import safe_name, safe_text
from dicomnode.errors import DicomError, ImageRefusedError, ImageTreeError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of files looked at and the number of all files."""

INDEXED = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
)
"""What a discovered image answers without its file being opened again."""

_NO_PATIENT_ID = "~"  # no text is named so: see safe_name


@dataclass(frozen=True, slots=True)
class Discovery:
    """What came of looking for DICOM files.

    Attributes
    ----------
    added : int
        How many images were added to the tree.
    skipped : tuple of (pathlib.Path, str)
        Each file that was not, with the reason.
    """

    added: int
    skipped: tuple[tuple[Path, str], ...]


def discover(add_image: Callable[[Dataset], None], path: Path, progress: Progress | None = None) -> Discovery:
    """Read the DICOM files at a path, and add each as an image; see :meth:`.ImageTreeInterface.discover`.

    Parameters
    ----------
    add_image : callable
        Adds an image to a tree, or raises.
    path : pathlib.Path
        A folder, or one file.
    progress : callable, optional
        Called after each file.

    Raises
    ------
    FileNotFoundError
        When there is nothing at the path.
    """
    if not path.exists():
        msg = f"{path}: there is no such file or folder"
        raise FileNotFoundError(msg)
    total = sum(1 for _ in files_below(path)) if progress else 0
    added, skipped = 0, []
    for done, file in enumerate(files_below(path), start=1):
        try:
            add_image(indexed_dataset(file))
            added += 1
        except (DicomError, ImageRefusedError) as error:
            skipped.append((Path(file), str(error)))
        except Exception as error:  # pydicom raises anything; one broken file must not end the search
            skipped.append(
                (Path(file), f"cannot be read as DICOM: {type(error).__name__}: {safe_text(error)}")
            )
        if progress:
            progress(done, max(total, done))
    return Discovery(added, tuple(skipped))


def files_below(path: Path) -> Iterator[str]:
    """Yield the files in a folder and those below, sorted; links to folders are not followed."""
    if not path.is_dir():
        yield str(path)
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(folder, name)  # noqa: PTH118 - a Path a file would double the time of a walk


def indexed_dataset(path: str) -> LazyDataset:
    """Return a lazy dataset with the tags of :data:`INDEXED`, read from the file now."""
    head = dcmread(path, stop_before_pixels=True, specific_tags=list(INDEXED))
    return LazyDataset(path, {int(element.tag): _plain(element.value) for element in head})


def _plain(value: object) -> IndexedValue:
    if isinstance(value, list | tuple) or hasattr(value, "append"):
        return [_plain(each) for each in value]  # type: ignore[attr-defined]  # what has append can be walked
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) if value else None
    return int(value) if isinstance(value, int) else float(value)


def save(images: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write images below a folder, and return their files; see :meth:`.ImageTreeInterface.save`."""
    return [save_image(image, folder) for image in images]


def path_of(image: Dataset) -> Path:
    """Return where an image is saved, relative to the folder; nothing but the image has a say in it."""
    patient = safe_name(identifier(image, "PatientID"), empty=_NO_PATIENT_ID)
    study, series = (safe_name(identifier(image, f"{level}InstanceUID")) for level in ("Study", "Series"))
    return Path(patient, study, series, safe_name(identifier(image, "SOPInstanceUID")) + ".dcm")


def save_image(image: Dataset, folder: Path) -> Path:
    """Write one image below a folder, and return its file. A file is there whole or not at all."""
    target = folder / path_of(image)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that renaming it into place is one step of the file system.
    unfinished = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with unfinished.open("xb") as file:
            _write(image, file)
        unfinished.replace(target)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return target


def _write(image: Dataset, file: BinaryIO) -> None:
    if isinstance(image, LazyDataset) and not image.was_read:
        with image.opened() as source:
            shutil.copyfileobj(source, file, 1 << 20)
        return
    try:
        image.save_as(file, enforce_file_format=True)
    except Exception as error:  # pydicom raises anything
        uid = safe_text(identifier(image, "SOPInstanceUID"))
        msg = f"image {uid} cannot be written as a DICOM file (it needs a TransferSyntaxUID): {error}"
        raise ImageTreeError(msg) from error
