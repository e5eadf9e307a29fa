"""Calls of the kernel: what they change is seen from outside, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_process_dies_with_its_parent() -> None:
    """The kernel sends it the signal when whoever started it has ended, however that ended."""
    child = (
        "import signal, sys, time\n"
        "from dicomnode.host.foundation.linux import die_with_parent\n"
        "die_with_parent(signal.SIGKILL)\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    parent = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        assert select.select([ended], [], [], 20)[0]
    finally:
        os.close(ended)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write where the mode forbids it")
def test_root_obeys_file_modes(tmp_path: Path) -> None:
    """What nobody may write, root may not either, and cannot get the right back."""
    path = tmp_path / "input"
    path.write_text("as received")
    path.chmod(0o400)
    code = f"""
from dicomnode.host.foundation.linux import obey_file_modes
obey_file_modes()
try:
    open({str(path)!r}, "w")
except PermissionError:
    print("refused")
"""
    assert run(code) == "refused"
    assert path.read_text() == "as received"


def test_orphans_are_adopted() -> None:
    """A process whose parent has ended is this one's child, and not init's."""
    code = """
import os, time
from dicomnode.host.foundation.linux import adopt_orphans
adopt_orphans()
reading, writing = os.pipe()
child = os.fork()
if not child:
    if not os.fork():
        while os.getppid() == child:
            time.sleep(0.01)
        os.read(reading, 1)
        os._exit(7)
    os._exit(0)
os.waitpid(child, 0)
os.write(writing, b"x")
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run(code) == "7"
