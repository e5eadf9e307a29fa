"""A receiver in a process of its own, to be attacked and measured from outside."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raw_peer import echo_time


def _serve(pipe: Any, directory: str, options: dict[str, Any]) -> None:
    from receiving import RecordingStoreHandler, receiving

    delay, durability = options.pop("delay", 0), options.pop("durability", "process")
    forgets = options.pop("forgets", False)
    options.setdefault("receivers", int(os.environ.get("DICOMNODE_TEST_RECEIVERS", "1")))
    path = Path(directory)
    logging.basicConfig(filename=path / "log", level=logging.INFO, force=True)

    class PipedStoreHandler(RecordingStoreHandler):
        def received(self, request: Any, index: Any, spooled: Any, prevalidation: Any = None) -> Any:
            time.sleep(delay)
            try:
                return super().received(request, index, spooled)
            finally:
                if forgets:
                    self.kept.clear()

        def association_ended(self, association: Any, end: Any) -> None:
            super().association_ended(association, end)
            if forgets:
                self.ended.clear()

    with receiving(path, PipedStoreHandler(), durability, **options) as (receiver, store_handler, _spool):
        pipe.send(receiver.address)
        while (question := pipe.recv()) != "stop":
            if question == "kept":
                pipe.send(
                    [
                        (request.AffectedSOPInstanceUID, str(where))
                        for request, _i, where in store_handler.kept
                    ]
                )
            elif question == "ended":
                pipe.send([released for _association, released in store_handler.ended])


@dataclass
class Attacked:
    """The receiver under attack, as seen from outside."""

    process: Any
    pipe: Any
    directory: Path
    address: tuple[str, int]
    figures: dict[str, Any] = field(default_factory=dict)

    def ask(self, question: str) -> Any:
        """Ask the process for what it kept, or which associations ended."""
        self.pipe.send(question)
        return self.pipe.recv()

    def kept(self) -> list[tuple[str, Path]]:
        """Return SOP Instance UID and path of everything that was kept."""
        return [(uid, Path(path)) for uid, path in self.ask("kept")]

    def memory(self, which: str = "VmRSS") -> int:
        """Return resident memory (VmRSS) or its peak (VmHWM) in megabytes."""
        return self._status(which) // 1024

    def pids(self) -> list[int]:
        """Return the processes that receive: the receiver's own, and those that it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def _status(self, key: str) -> int:
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(key + ":"):
                    total += int(line.split()[1])
        return total

    def resources(self) -> tuple[int, int]:
        """Return the numbers of threads and of open descriptors."""
        descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())
        return self._status("Threads"), descriptors

    def settled(self, before: tuple[int, int], seconds: float = 10) -> None:
        """Assert that threads and descriptors return to where they were."""
        deadline = time.monotonic() + seconds
        while self.resources() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        now = self.resources()
        self.figures["threads, descriptors afterwards"] = now
        assert now[0] <= before[0]
        assert now[1] <= before[1]

    def log(self) -> str:
        """Return what was logged so far."""
        return (self.directory / "log").read_text()

    def check_log(self, *secrets: str) -> None:
        """Assert that no control byte and none of these texts is in the log."""
        text = self.log()
        assert not [character for character in text if ord(character) < 32 and character != "\n"]
        for secret in secrets:
            assert secret not in text


@contextmanager
def attacked(directory: Path, **options: Any) -> Iterator[Attacked]:
    """Run a receiver, and print the figures of the attack at the end; C-ECHO must be answered then."""
    directory.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, str(directory), options), daemon=True)
    process.start()
    receiver = Attacked(process, ours, directory, ours.recv())
    try:
        if "tls" not in options:
            echo_time(receiver.address)
        yield receiver
        if "tls" not in options and process.is_alive():
            receiver.figures["echo afterwards, s"] = round(echo_time(receiver.address), 3)
        receiver.figures["peak memory, MB"] = receiver.memory("VmHWM") if process.is_alive() else None
    finally:
        print(json.dumps(receiver.figures))  # noqa: T201 - what a fault test is for
        if process.is_alive():
            ours.send("stop")
        process.join(15)
        process.kill()


@contextmanager
def good_peer(receiver: Attacked, **options: Any) -> Iterator[list[float]]:
    """Send a C-ECHO from another address again and again; each must be answered. Yield how long each took."""
    times: list[float] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        while not times or not stop.wait(0.02):
            try:
                times.append(echo_time(receiver.address, "127.0.0.3", **options))
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join(60)
    assert not failures, failures
    receiver.figures["echoes of a good peer"] = len(times)
    receiver.figures["worst echo of a good peer, s"] = round(max(times), 3)
