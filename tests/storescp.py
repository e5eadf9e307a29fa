"""DCMTK's storescp, run for a test."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiving import free_port


@contextmanager
def storescp(directory: Path, *options: str | Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run storescp, which puts what it receives into `directory`; yield its port and its process."""
    program = Path("/usr/bin/storescp")
    if not program.exists():
        missing = pytest.fail if os.environ.get("DICOMNODE_REQUIRE_PEERS") == "1" else pytest.skip
        missing(f"{program} is not installed (apt-get install dcmtk)")
    directory.mkdir(exist_ok=True)
    port = free_port()
    command = [program, "-dhl", "-od", directory, *options, str(port)]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            _wait_for(port, process)
            yield port, process
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                output = process.stdout.read() if process.stdout and process.poll() is not None else b""
                raise AssertionError(f"storescp does not listen: {output!r}") from None
            time.sleep(0.01)
        else:
            return
