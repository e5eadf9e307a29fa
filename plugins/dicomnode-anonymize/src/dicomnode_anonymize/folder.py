"""De-identifying whole folders, file by file: what cannot be done is told, and does not stop the rest."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicomnode import LazyDataset, errors, safe_name, safe_text
from dicomnode_anonymize.anonymizer import Anonymizer
from dicomnode_anonymize.errors import AnonymizeError

_PREAMBLE = 128
_MAGIC = b"DICM"
_LONGEST_REASON = 300


@dataclass
class Report:
    """What became of the files of a folder.

    Attributes
    ----------
    written : int
        How many instances were written.
    again : int
        How many files were instances that had been written before, the same bytes.
    failed : list of (pathlib.Path, str)
        Files that were not de-identified, and why. No value of a data set is in the reason.
    passed_over : int
        Files that are not DICOM.
    marks : Counter of str
        What the written instances say of their pixels.
    """

    written: int = 0
    again: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    passed_over: int = 0
    marks: Counter[str] = field(default_factory=Counter)


def files_below(path: Path) -> list[Path]:
    """Return the files in a folder and below, sorted; a file is its own list. No link is followed."""
    if path.is_file():
        return [path]
    return sorted(
        Path(folder) / name
        for folder, _, names in os.walk(path)
        for name in names
        if not (Path(folder) / name).is_symlink()
    )


def anonymize_files(
    files: list[Path], target: Path, anonymizer: Anonymizer, progress: Callable[[], None] = lambda: None
) -> Report:
    """De-identify files one by one.

    The results go to ``target/<study>/<series>/<instance>.dcm``, named by their new UIDs.

    Parameters
    ----------
    files : list of pathlib.Path
        The files.
    target : pathlib.Path
        The folder for the results; it is made.
    anonymizer : Anonymizer
        What de-identifies.
    progress : callable
        Called after each file.
    """
    report = Report()
    with _quiet():
        for path in files:
            _anonymize_file(path, target, anonymizer, report)
            progress()
    return report


def _anonymize_file(path: Path, target: Path, anonymizer: Anonymizer, report: Report) -> None:
    try:
        dataset = _opened(path)
        if dataset is None:
            report.passed_over += 1
            return
        anonymizer.anonymize(dataset)
        if _write(dataset, target):
            report.written += 1
            report.marks.update(
                each for each in dataset.DeidentificationMethod if each.startswith("pixels may")
            )
        else:
            report.again += 1
    except (AnonymizeError, errors.DicomnodeError) as error:
        report.failed.append((path, _without_path(str(error), path)))
    except OSError as error:
        report.failed.append((path, f"{type(error).__name__}: {error.strerror}"))
    except RecursionError:
        report.failed.append((path, "its sequences are nested too deeply"))
    except Exception as error:
        # pydicom raises almost anything on what is malformed. Its texts quote values, so only the kind is
        # told.
        report.failed.append((path, f"it cannot be read or written as DICOM ({type(error).__name__})"))


def _opened(path: Path) -> Dataset | None:
    """Return a file's data set, ``None`` if it is not DICOM."""
    with path.open("rb") as file:
        head = file.read(_PREAMBLE + len(_MAGIC))
    if head[_PREAMBLE:] == _MAGIC:
        return LazyDataset(path)
    # Files of before PS3.10, and of some devices, begin with the data set; text read so makes no instance.
    try:
        dataset = pydicom.dcmread(path, force=True)
        is_instance = "SOPClassUID" in dataset and "SOPInstanceUID" in dataset
    except Exception:
        return None
    return dataset if is_instance else None


def _write(dataset: Dataset, target: Path) -> bool:
    """Write an instance under its UIDs; return ``False`` if it is there already."""
    study, series, instance = (
        safe_name(str(dataset.get(keyword) or ""), empty="none")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    folder = target / study / series
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{instance}.dcm"
    unfinished = folder / f".{secrets.token_hex(8)}"
    try:
        dataset.save_as(unfinished, enforce_file_format=True)
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            if path.read_bytes() == unfinished.read_bytes():
                return False
            msg = "an instance with the same UID and other content was written before it; the first is kept"
            raise AnonymizeError(msg) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _without_path(reason: str, path: Path) -> str:
    return safe_text(reason.removeprefix(f"{path}: "), longest=_LONGEST_REASON)


class _quiet:  # noqa: N801 - used as a statement
    """Keep pydicom's warnings away: they quote values."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._logger = logging.getLogger("pydicom")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *exc: object) -> None:
        self._logger.setLevel(self._level)
        self._warnings.__exit__(None, None, None)


__all__ = ["Iterator", "Report", "anonymize_files", "files_below"]
