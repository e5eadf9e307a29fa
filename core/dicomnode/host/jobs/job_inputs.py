"""The input files of a job: out of the plugin's reach as far as may be, and found as they were afterwards.

What a plugin might do by mistake to a file that it was given (write to it, move it, delete it) must not cost
an instance that was acknowledged. So it gets other names of the files (hard links), read-only
by their mode; and a change that was made all the same is found by digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure


@dataclass(frozen=True, slots=True)
class _FileState:
    """A file as it was before the plugin ran.

    ``changed`` (ctime) is set by the kernel at every write, truncation, change of mode and rename, and no
    program can set it: files that look the same afterwards need not be read a second time.
    """

    inode: tuple[int, int]
    size: int
    modified: int
    changed: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> _FileState:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(*_status(path), sha256)


def _status(path: Path) -> tuple[tuple[int, int], int, int, int]:
    status = path.stat()
    return (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns, status.st_ctime_ns


class InputFiles:
    """The images of a job, by input.

    Parameters
    ----------
    inputs : mapping of str to sequence of (str, mapping)
        As in :class:`~dicomnode.host.jobs.job.JobDescription`.
    links : pathlib.Path
        An existing folder, on the same file system if possible, for the names that the plugin sees.
    checksums : mapping of str to str
        Path -> the SHA-256 that the file had when it was received.

    Attributes
    ----------
    images : mapping of str to tuple of LazyDataset
        The images of each input. One that two inputs hold is one dataset for each, so that neither sees what
        is changed in the other's.

    Raises
    ------
    JobFailedError
        When a file is gone or cannot be read, or is not what was received.
    """

    def __init__(
        self,
        inputs: Mapping[str, Sequence[tuple[str, Mapping[int, Any]]]],
        links: Path,
        checksums: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._inputs = inputs
        self._indexes = {Path(path): index for images in inputs.values() for path, index in images}
        names = {path: _linked(path, links / f"{i:06d}.dcm") for i, path in enumerate(self._indexes)}
        self._states = {path: self._state_of(path) for path in self._indexes}
        self._check_received(checksums)
        self.images = {
            name: tuple(LazyDataset(names[Path(path)], index) for path, index in images)
            for name, images in inputs.items()
        }

    @staticmethod
    def _state_of(path: Path) -> _FileState:
        try:
            return _FileState.of(path)
        except OSError as error:
            msg = f"the input file {path} cannot be read: {error.strerror}"
            raise JobFailedError(msg, Failure.INPUT) from error

    def _check_received(self, checksums: Mapping[str, str]) -> None:
        damaged = [
            path
            for path, state in self._states.items()
            if checksums.get(str(path), state.sha256) != state.sha256
        ]
        if damaged:
            msg = (
                f"{len(damaged)} of its {len(self._states)} input files are not what was received:"
                f" {damaged[0]} and its like were changed on the disk. Send all images of the job again, and"
                " it runs again; or send these alone, which takes them in the place of the damaged ones, and"
                " replay the job"
            )
            raise JobFailedError(msg, Failure.DAMAGED)

    @property
    def sources(self) -> tuple[LazyDataset, ...]:
        """Every image once, as fresh handles: what a plugin did to its own does not show in them."""
        return tuple(LazyDataset(path, index) for path, index in self._indexes.items())

    def check_unchanged(self) -> None:
        """Check that every file is still what it was.

        Raises
        ------
        JobFailedError
            Naming those that are not.
        """
        changed = [str(path) for path, state in self._states.items() if not self._same(path, state)]
        if changed:
            msg = (
                f"the plugin changed {len(changed)} of its {len(self._states)} input files, the first of them"
                f" {changed[0]}. Inputs are read-only: work on copies, or in inputs.job.workdir."
            )
            raise JobFailedError(msg, Failure.INPUT)

    @staticmethod
    def _same(path: Path, state: _FileState) -> bool:
        try:
            if _status(path) == (state.inode, state.size, state.modified, state.changed):
                return True
            return _FileState.of(path).sha256 == state.sha256
        except OSError:
            return False

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """Return what the manifest says: input name -> path, instance and digest of each image."""
        return {
            name: [
                {
                    "path": path,
                    "SOPInstanceUID": str(index.get(0x00080018) or ""),
                    "sha256": self._states[Path(path)].sha256,
                }
                for path, index in images
            ]
            for name, images in self._inputs.items()
        }


def _linked(path: Path, link: Path) -> Path:
    """Return another name of a file, made read-only; the same one where the file system has no links."""
    with suppress(OSError):
        path.chmod(0o400)
    try:
        os.link(path, link)
    except OSError:
        return path
    return link
