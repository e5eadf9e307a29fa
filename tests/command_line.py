"""The command line as an operator uses it, in this process, which saves a second for each command."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pydicom
from pydicom.dataset import Dataset

from dicomnode.cli.command_line import run_command_line
from dicomnode.testing import send


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str


def command(*arguments: object, expect: int | None = 0, **environment: str) -> Done:
    """Run ``dicomnode-host`` and check its exit code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DICOMNODE_")}
    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.dict(os.environ, {**kept, **environment}, clear=True),
    ):
        code = run_command_line([*map(str, arguments)])
    done = Done(code, out.getvalue(), err.getvalue())
    if expect is not None:
        assert done.code == expect, done.stdout + done.stderr
    return done


def told(*arguments: object, expect: int = 0, **environment: str) -> Any:
    """Run ``dicomnode-host ... --json`` and return what it printed."""
    return json.loads(command(*arguments, "--json", expect=expect, **environment).stdout)


def wait_until(done: Callable[[], object]) -> None:
    """Wait until something holds that tells nobody when it does."""
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def send_to(port: int, title: str, images: Iterable[Dataset]) -> None:
    """Send images over an association that is released; every one is stored."""
    images = list(images)
    assert send(images, ("127.0.0.1", port), title) == [0] * len(images)


def write_images(folder: Path, images: Iterable[Dataset]) -> list[Path]:
    """Write images into a folder and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"{number:04d}.dcm")
        pydicom.dcmwrite(files[-1], image, enforce_file_format=True)
    return files


__all__ = ["Done", "command", "send_to", "told", "write_images"]
