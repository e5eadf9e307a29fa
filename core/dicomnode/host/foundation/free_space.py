"""How full a file system is: the one place that asks."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """What a file system has.

    Attributes
    ----------
    free : int
        Bytes that may still be written to it. What is kept for the superuser does not count.
    total : int
        Bytes that it holds.
    free_files, total_files : int
        The same of files; both 0 where a file system does not limit them.
    """

    free: int
    total: int
    free_files: int
    total_files: int


def disk_space(path: str | os.PathLike[str]) -> DiskSpace:
    """Return what the file system of a path has.

    Raises
    ------
    OSError
        When the path is not there, or its file system does not answer.
    """
    status = os.statvfs(path)
    unit = status.f_frsize
    return DiskSpace(status.f_bavail * unit, status.f_blocks * unit, status.f_favail, status.f_files)


class FreeSpace:
    """How many bytes are free on one file system.

    Parameters
    ----------
    path : path
        A path on it.
    max_age : float
        Seconds for which an answer holds: asking takes as long as a small write.
    """

    def __init__(self, path: str | os.PathLike[str], max_age: float = 0.0) -> None:
        self._path, self._max_age = path, max_age
        self._free, self._until = 0, -math.inf

    def __call__(self) -> int:
        """Return the free bytes; none where that cannot be told, which is not kept for later."""
        now = time.monotonic()
        if now >= self._until:
            try:
                self._free = disk_space(self._path).free
            except OSError:
                return 0
            self._until = now + self._max_age
        return self._free


def jobs_reserve(reserve: int) -> int:
    """Return the bytes without which no job is started: half of those without which no image is taken.

    So what is here already can still be finished, and go.
    """
    return reserve // 2
