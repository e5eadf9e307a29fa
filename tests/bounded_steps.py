"""Running code for a bounded number of steps, so that a loop without an end fails a test at once.

Steps are lines of Python that are executed in the package: the same number on every machine, busy or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import dicomnode.host

_PACKAGE = str(Path(dicomnode.host.__file__).parent.parent)


class TooManyStepsError(BaseException):
    """The code took more steps than allowed. No ``except Exception`` of the code under test catches it."""


@contextmanager
def bounded_steps(most: int, files: str = _PACKAGE) -> Iterator[None]:
    """Run the block on this thread; raise when it executes more than `most` lines of the package.

    Parameters
    ----------
    most : int
        Lines of Python.
    files : str
        How the path of a file begins whose lines are counted.

    Raises
    ------
    TooManyStepsError
        In the midst of the block.
    """
    left = most

    def line(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                raise TooManyStepsError(f"more than {most} steps")
        return line

    def call(frame: FrameType, _event: str, _arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(files) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
