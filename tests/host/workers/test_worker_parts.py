"""The parts that workers are made of: messages, the end of a log, the tree of processes, limits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers import worker_watch
from dicomnode.host.workers.process_tree import (
    children,
    descendants,
    end_marked,
    marked,
    memory_held,
    memory_share,
)
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_log import LogTail
from dicomnode.host.workers.worker_watch import Limits, Watch

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    messages=st.lists(st.dictionaries(st.text(), plain, max_size=3), max_size=5),
    cuts=st.lists(st.integers(1, 50)),
)
def test_messages_arrive_however_they_are_cut(messages: list[dict[str, object]], cuts: list[int]) -> None:
    """Messages come out as they went in, whatever pieces the socket makes of them."""
    data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    ours, theirs = socket.socketpair()
    channel = Channel(ours, blocking=False)
    received = []
    for cut in [*cuts, len(data)]:
        theirs.sendall(data[:cut])
        data = data[cut:]
        received += list(channel.receive())
    theirs.close()
    received += list(channel.receive())
    ours.close()
    assert received == messages
    assert channel.closed


@pytest.mark.parametrize("data", [b"nonsense\n", b"[]\n", b"1\n", b"\xff\xfe\n", b"\n"])
def test_nonsense_is_told(data: bytes) -> None:
    """What is no JSON object raises, so that its sender is not believed any more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        with pytest.raises(ValueError, match=r".+"):
            list(Channel(ours, blocking=False).receive())


def test_a_channel_never_waits() -> None:
    """What the other side does not take yet is kept, and sent when it does."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours, blocking=False)
        message = {"text": "x" * 5_000_000}
        channel.send(message)
        assert channel.unsent
        other = Channel(theirs, blocking=False)
        received: list[object] = []
        while not received:
            channel.flush()
            received += list(other.receive())
        assert received == [message]
        assert not channel.unsent


@given(pieces=st.lists(st.binary(max_size=300)), kept=st.integers(1, 500))
def test_the_end_of_a_log_is_kept(pieces: list[bytes], kept: int) -> None:
    """The last bytes are kept, and those before are counted."""
    reading, writing = os.pipe()
    try:
        log = LogTail(reading, kept)
        for piece in pieces:
            os.write(writing, piece)
            log.read()
        written = b"".join(pieces)
        expected = written[-kept:].decode("utf-8", "replace")
        missing = max(0, len(written) - kept)
        assert log.text() == (
            f"[{missing} bytes before this were dropped]\n{expected}" if missing else expected
        )
    finally:
        os.close(reading)
        os.close(writing)


def test_processes_and_what_they_hold(tmp_path: Path) -> None:
    """The tree has children and theirs; memory that a fork shares is told apart."""
    code = (
        "import os, time; held = bytearray(b'x') * 100 * 2**20\n"
        "os.fork()\nos.fork()\nprint(flush=True)\ntime.sleep(60)"
    )
    before = descendants(os.getpid())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        assert process.pid in children(os.getpid())
        found = descendants(os.getpid()) - before
        assert len(found) == 4
        assert sum(map(memory_held, found)) > 400 * 2**20
        assert 100 * 2**20 < sum(map(memory_share, found)) < 250 * 2**20
        for pid in found:
            os.kill(pid, 9)
    assert memory_held(process.pid) == memory_share(process.pid) == 0
    assert children(process.pid) == set()


def test_a_process_that_forks_while_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was looked at before a fork, and in the child again, is not counted twice."""
    shares = iter([400, 200, 200, 200])  # the parent alone; then the child, the parent, and the child again
    monkeypatch.setattr(worker_watch, "memory_held", lambda pid: 400)
    monkeypatch.setattr(worker_watch, "memory_share", lambda pid: next(shares))
    monkeypatch.setattr(worker_watch, "descendants", lambda pid, most: {1, 2})
    watch = Watch(Limits(memory=500))
    time.sleep(watch.due())
    assert watch.breach() is None
    assert list(shares) == []


def test_marked_processes_are_found_and_ended() -> None:
    """A process is found by a variable of its environment, in whatever session it is, and ended."""
    environment = {**os.environ, "DICOMNODE_TEST_MARK": "abc"}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as process:
        until = time.monotonic() + 5
        while marked("DICOMNODE_TEST_MARK", "abc") != {process.pid}:
            assert time.monotonic() < until
        assert marked("DICOMNODE_TEST_MARK", "ab") == set()
        end_marked("DICOMNODE_TEST_MARK", "abc")
        assert process.wait(5) == -9


def test_a_watch_says_which_limit_was_passed(tmp_path: Path) -> None:
    """Each limit has its own failure; without limits there is none."""
    (tmp_path / "file").write_bytes(bytes(2**20))
    folders = (str(tmp_path),)
    for limits, kind in (
        (Limits(), None),
        (Limits(timeout=0.0), Failure.TIMEOUT),
        (Limits(disk=2**19, folders=folders), Failure.DISK),
        (Limits(disk=2**22, folders=folders), None),
        (Limits(free=2**60, folders=folders), Failure.DISK),
    ):
        watch = Watch(limits)
        time.sleep(watch.due() if limits.timeout is None and kind is None else 0.6)
        breach = watch.breach()
        assert (breach and breach[0]) == kind, limits


@given(st.builds(Limits, timeout=st.none() | st.floats(0, 1e9), folders=st.lists(st.text()).map(tuple)))
def test_limits_survive_json(limits: Limits) -> None:
    """Limits come back from JSON as they were."""
    assert Limits.from_json(json.loads(json.dumps(limits.to_json()))) == limits
