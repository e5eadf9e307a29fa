"""The processes below one: which there are, what memory they hold, and how they are ended."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

from dicomnode.host.workers.process_tree import (
    children,
    descendants,
    kill_processes_with_variable,
    memory_held,
    processes_with_variable,
    proportional_memory,
)


def test_processes_and_what_they_hold() -> None:
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
        assert 100 * 2**20 < sum(map(proportional_memory, found)) < 250 * 2**20
        for pid in found:
            os.kill(pid, 9)
    assert memory_held(process.pid) == proportional_memory(process.pid) == 0
    assert children(process.pid) == set()


def test_processes_with_a_variable_are_found_and_ended() -> None:
    """A process is found by a variable of its environment, in whatever session it is, and ended."""
    environment = {**os.environ, "DICOMNODE_TEST_MARK": "abc"}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as process:
        until = time.monotonic() + 5
        while processes_with_variable("DICOMNODE_TEST_MARK", "abc") != {process.pid}:
            assert time.monotonic() < until
        assert processes_with_variable("DICOMNODE_TEST_MARK", "ab") == set()
        kill_processes_with_variable("DICOMNODE_TEST_MARK", "abc")
        assert process.wait(5) == -9


def test_looking_for_descendants_ends_at_the_limit() -> None:
    """No more are looked for than asked: a process that forks without end must not keep the caller busy."""
    code = "import os, time\nfor _ in range(3):\n    os.fork()\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(8):
            process.stdout.readline()
        everything = descendants(process.pid)
        assert len(everything) == 7
        assert len(descendants(process.pid, most=2)) < len(everything)
        for pid in {process.pid, *everything}:
            os.kill(pid, 9)


def test_descendants_are_ended_but_for_those_that_are_spared() -> None:
    """A reaper ends what forks while it is killed, in whatever session, and leaves one child with its own."""
    code = """
        import os, subprocess, sys, time
        from dicomnode.host.foundation.linux import adopt_orphans
        from dicomnode.host.workers.process_tree import children, descendants, end_descendants

        adopt_orphans()
        spared = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
        while not children(spared.pid):
            time.sleep(0.01)
        kept = {spared.pid, *children(spared.pid)}
        forking = "import os, time\\nwhile True:\\n    os.fork() or os.setsid()\\n    time.sleep(0.05)"
        subprocess.Popen([sys.executable, "-c", forking], start_new_session=True)
        while len(descendants(os.getpid()) - kept) < 4:
            time.sleep(0.01)
        print(end_descendants(os.getpid(), besides=(spared.pid,), within=60.0))
        print(descendants(os.getpid()) == kept)
        print(end_descendants(os.getpid(), within=60.0), descendants(os.getpid()) == set())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["True"] * 4
