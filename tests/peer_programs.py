"""Real peers as programs: found, started on a free port of the loopback interface, stopped for certain."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from programs import program
from receiving import free_port


def wait_until_listening(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the program has ended"
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")


@contextmanager
def running(
    command: list[str | Path], port: int, log: Path, stop: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until it listens, and stop it by a signal afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, cwd=log.parent)
    try:
        wait_until_listening(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@dataclass
class StoreSCP:
    """DCMTK's storescp, with its folder of what was stored."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def stored(self) -> list[str]:
        """Return the SOP Instance UIDs of what is there, sorted."""
        return sorted(pydicom.dcmread(path).SOPInstanceUID for path in self.folder.iterdir())


@contextmanager
def storescp(directory: Path, *options: str | Path, port: int | None = None) -> Iterator[StoreSCP]:
    """Run storescp with some options."""
    port = port or free_port()
    folder = directory / "stored"
    folder.mkdir(parents=True, exist_ok=True)
    log = directory / "storescp.log"
    command = [program("storescp"), "-v", "-aet", "PACS", "-od", folder, *options, str(port)]
    with running(command, port, log) as process:
        yield StoreSCP(port, folder, process, log)
