"""The pool of receiver processes: which one gets a connection, and what is done when one ends."""

from __future__ import annotations

import logging
import queue
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.receiver import receiver_pool
from dicomnode.host.receiver.receiver_pool import ReceiverPool
from dicomnode.host.spool.spool import Spool

PROGRAM = """
import marshal, os, pickle, signal, socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
settings = pickle.loads(control.recv(1_048_576))
open(settings.incoming_prefix + "file", "w").close()
control.send(marshal.dumps(("", 0, "", "")))
while True:
    data, descriptors, _flags, _from = socket.recv_fds(control, 65_536, 2)
    if not data:
        break
    kind, value = marshal.loads(data)
    if value == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if value == "exit":
        os._exit(3)
    control.send(marshal.dumps(("dicomnode.test", 30, f"{kind} {value} {len(descriptors)}", "a1")))
    for number in descriptors:
        os.close(number)
"""
"""A program that does on request what a receiver process may do, and logs what it was sent."""


class Pool:
    """A pool whose processes run the program of the test."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spool = Spool(directory / "spool", "process")
        self.pool = ReceiverPool(2, ReceiverSettings(port=0), frozenset({1}), self.spool, commitments=False)
        self.started: queue.SimpleQueue[Any] = queue.SimpleQueue()
        start = self.pool._start_process

        def started() -> Any:
            process = start()
            self.started.put(process)
            return process

        monkeypatch.setattr(self.pool, "_start_process", started)

    def hand_over(self, value: str = "10.1.2.3") -> Callable[[], None] | None:
        """Hand over a connection whose other end is closed at once."""
        sock, channel = socket.socketpair()
        with sock, channel:
            return self.pool.hand_over(sock, channel, value)

    @property
    def connections(self) -> list[int]:
        return [process.connections for process in self.pool._processes]

    def next_start(self) -> Any:
        """Wait for the start of a process, until it is ready; return it."""
        process = self.started.get(timeout=30)
        assert process.ready.wait(30)
        return process


@contextmanager
def pooled(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Run a pool of two processes."""
    program = directory / "program.py"
    program.write_text(PROGRAM)
    popen = subprocess.Popen

    def run(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return popen([command[0], str(program), command[-1]], **options)

    monkeypatch.setattr(receiver_pool.subprocess, "Popen", run)
    made = Pool(directory, monkeypatch)
    try:
        made.pool.start()
        yield made
    finally:
        made.pool.close()


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Return a pool of two processes that are ready."""
    with pooled(tmp_path, monkeypatch) as made:
        for _ in range(2):
            made.next_start()
        yield made


def test_the_one_with_the_fewest_connections_is_next(on: Pool) -> None:
    """Connections are divided evenly, and one that has ended makes room in its own process."""
    ended = [on.hand_over() for _ in range(4)]
    assert on.connections == [2, 2]
    assert ended[0] is not None
    ended[0]()
    assert sorted(on.connections) == [1, 2]
    on.hand_over()
    assert on.connections == [2, 2]


def test_without_a_process_nothing_is_handed_over(tmp_path: Path) -> None:
    """Before the start there is no process, which is answered with None."""
    spool = Spool(tmp_path / "spool", "process")
    pool = ReceiverPool(2, ReceiverSettings(port=0), frozenset(), spool, commitments=False)
    sock, channel = socket.socketpair()
    with sock, channel:
        assert pool.hand_over(sock, channel, "10.1.2.3") is None


@pytest.mark.parametrize(("how", "logged"), [("kill", "signal 9"), ("exit", "exit code 3")])
def test_another_is_started_where_one_has_ended(
    on: Pool, how: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The end is logged with its cause, the files of the process are removed, and another takes its place."""
    before = list(on.pool._processes)
    assert len(list((on.spool.root / "incoming").iterdir())) == 2
    on.hand_over(how)
    new = on.next_start()
    assert f"a receiver process ended ({logged}); another one is started" in caplog.text
    assert not Path(before[0].incoming_prefix + "file").exists()
    assert Path(before[1].incoming_prefix + "file").exists()
    assert on.pool._processes == [before[1], new]
    assert new.incoming_prefix not in {process.incoming_prefix for process in before}


def test_a_process_that_takes_nothing_is_left_out(on: Pool) -> None:
    """A process whose control socket is closed gets no connection; the other one gets it."""
    on.pool._stopping.set()  # so that no other is started meanwhile
    first, second = on.pool._processes
    first.connections, second.connections = 0, 5
    first.control.shutdown(socket.SHUT_WR)
    assert on.hand_over() is not None
    assert second.connections == 6


def test_what_a_process_logs_is_logged_here(on: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """A connection goes with both descriptors; the line is logged with its logger, level and association."""
    with caplog.at_level(logging.WARNING):
        on.hand_over("10.9.9.9")
        on.pool.close()  # all that was logged before the end has been read then
    (record,) = [each for each in caplog.records if each.name == "dicomnode.test"]
    assert (record.levelno, record.getMessage()) == (logging.WARNING, "connection 10.9.9.9 2")
    assert record.__dict__["association"] == "a1"


def test_the_moment_of_a_stop_is_sent_to_all(on: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Each process learns when associations end, and none is started any more where one ends then."""
    with caplog.at_level(logging.WARNING):
        on.pool.stop_at(12.5)
        on.pool.close()
    assert [each.getMessage() for each in caplog.records if each.name == "dicomnode.test"] == [
        "stop 12.5 0"
    ] * 2
    assert on.started.empty()
    assert "another one is started" not in caplog.text


def test_closing_ends_the_processes(on: Pool) -> None:
    """After the pool is closed no process runs, none of their files is left, and nothing is handed over."""
    processes = list(on.pool._processes)
    on.pool.close()
    assert [process.process.returncode for process in processes] == [0, 0]
    assert not list((on.spool.root / "incoming").iterdir())
    assert on.hand_over() is None
