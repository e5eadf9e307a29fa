"""What Python would print by itself goes through the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import logging, sys, threading, warnings
from dicomnode.host.foundation.excepthooks import install_excepthooks
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
install_excepthooks(debug={debug})
"""


def said(code: str, *, debug: bool = False, expect: int = 0) -> tuple[str, str]:
    """Run code in a process of its own; return its output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", START.format(debug=debug) + code],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


def test_a_thread_that_ends_with_an_error() -> None:
    """It is logged with the thread's name and the traceback; nothing is printed."""
    output, errors = said("t = threading.Thread(target=lambda: 1 / 0, name='courier')\nt.start(); t.join()")
    assert "CRITICAL dicomnode the thread courier ended with an error" in output
    assert "ZeroDivisionError" in output
    assert errors == ""


def test_a_process_that_ends_with_an_error() -> None:
    """It is logged, and the exit code is Python's own."""
    output, errors = said("1 / 0", expect=1)
    assert "CRITICAL dicomnode ended with an error" in output
    assert "ZeroDivisionError" in output
    assert errors == ""


def test_an_error_that_is_ignored() -> None:
    """What a finalizer raises is worth a line at DEBUG."""
    code = "class A:\n    def __del__(self): raise ValueError('x')\nA()"
    output, errors = said(code)
    assert "DEBUG dicomnode an error was ignored" in output
    assert errors == ""


@pytest.mark.parametrize("debug", [True, False])
def test_warnings_are_logged_for_debugging_only(debug: bool) -> None:
    """Those of libraries may show values of images."""
    output, errors = said("warnings.warn('Smith^John')", debug=debug)
    assert ("Smith^John" in output) == debug
    assert errors == ""
