"""How much of a disk is free for this process."""

from __future__ import annotations

import os


def free_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that may still be written to the file system of a path.

    What a file system keeps for the superuser does not count.

    Raises
    ------
    OSError
        When the path is not there, or its file system does not answer.
    """
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def jobs_reserve(reserve: int) -> int:
    """Return the bytes without which no job is started: half of those without which no image is taken.

    So what is here already can still be finished, and go.
    """
    return reserve // 2
