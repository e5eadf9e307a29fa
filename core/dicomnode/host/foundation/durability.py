"""What survives a power cut, and how a directory is made to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Durability = Literal["power", "process"]
"""What an answer of Success survives: a power cut, or only a crash of the process."""


def sync_directory(path: Path | str) -> None:
    """Make the entries of a directory survive a power cut.

    Raises
    ------
    OSError
        If the directory cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
