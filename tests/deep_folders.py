"""Folders nested deeper than recursion, path lengths and open files allow."""

from __future__ import annotations

import inspect
import os
from pathlib import Path


def nest(top: str | Path, depth: int, name: str = "d") -> None:
    """Make folders in an existing folder, each in the one before, with a file of 4 kB in the deepest."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, bytes(4096))
    os.close(file)
    os.close(here)


NEST = f"from pathlib import Path\n{inspect.getsource(nest)}"
"""The same as the code of a plugin."""
