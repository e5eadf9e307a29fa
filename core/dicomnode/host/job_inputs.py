"""The input files of a job: their digests, and that the plugin left them as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dicom.lazy import LazyDataset
from ..errors import JobFailedError
from .job_failure import Failure


@dataclass(frozen=True, slots=True)
class _Seal:
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
    def of(cls, path: Path) -> _Seal:
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
        As in :class:`~dicomnode.host.job.JobDescription`.

    Attributes
    ----------
    images : mapping of str to tuple of LazyDataset
        The images of each input. One that two inputs hold is one dataset for each, so that neither sees what
        is changed in the other's.

    Raises
    ------
    JobFailedError
        When a file is gone or cannot be read.
    """

    def __init__(self, inputs: Mapping[str, Sequence[tuple[str, Mapping[int, Any]]]]) -> None:
        self.images = {
            name: tuple(LazyDataset(path, index) for path, index in images) for name, images in inputs.items()
        }
        self._indexes = {Path(path): index for images in inputs.values() for path, index in images}
        self._seals = {path: self._sealed(path) for path in self._indexes}

    @staticmethod
    def _sealed(path: Path) -> _Seal:
        try:
            return _Seal.of(path)
        except OSError as error:
            msg = f"the input file {path} cannot be read: {error.strerror}"
            raise JobFailedError(msg, Failure.INPUT) from error

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
        changed = [str(path) for path, seal in self._seals.items() if not self._same(path, seal)]
        if changed:
            msg = (
                f"the plugin changed {len(changed)} of its {len(self._seals)} input files, the first of them "
                f"{changed[0]}. Inputs are read-only: work on copies, or in inputs.job.workdir."
            )
            raise JobFailedError(msg, Failure.INPUT)

    @staticmethod
    def _same(path: Path, seal: _Seal) -> bool:
        try:
            if _status(path) == (seal.inode, seal.size, seal.modified, seal.changed):
                return True
            return _Seal.of(path).sha256 == seal.sha256
        except OSError:
            return False

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """Return what the manifest says of them: input name -> path, instance, digest of each image."""
        return {
            name: [
                {
                    "path": str(image.path),
                    "SOPInstanceUID": str(self._indexes[image.path].get(0x00080018) or ""),
                    "sha256": self._seals[image.path].sha256,
                }
                for image in images
            ]
            for name, images in self.images.items()
        }
