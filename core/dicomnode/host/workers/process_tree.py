"""The processes below one, as ``/proc`` shows them: what they hold, and how they are ended (Linux)."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Container, Iterable
from contextlib import suppress
from pathlib import Path


def children(pid: int) -> set[int]:
    """Return the children of a process, those of all its threads. Empty for one that has gone."""
    found: set[int] = set()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found.update(map(int, (thread / "children").read_text().split()))
    return found


def descendants(pid: int, most: float = math.inf) -> set[int]:
    """Return every process below one, the zombies among them too; no more are looked for than `most`."""
    found: set[int] = set()
    waiting = [pid]
    while waiting and len(found) <= most:
        new = children(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found


def memory_held(pid: int) -> int:
    """Return the bytes of memory that a process holds and the kernel cannot take back; never waits for it.

    That is anonymous and shared memory, in RAM or swapped out; not files that are mapped, which cost nothing
    when memory is short. What it shares with the process that it was forked from is counted in both.
    """
    return _kilobytes(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:", "VmSwap:"))


def proportional_memory(pid: int) -> int:
    """Return the same, shared pages divided among the processes that share them (PSS).

    This takes the kernel long, and must wait while the process changes its memory map: one that does little
    else can keep the caller waiting for seconds.
    """
    return _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:", "SwapPss:"))


def _kilobytes(path: str, names: tuple[str, ...]) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names)) * 1024


def end_descendants(pid: int, *, besides: Iterable[int] = (), within: float = 10.0) -> bool:
    """End every process below this one, which must be their reaper (``PR_SET_CHILD_SUBREAPER``).

    They are stopped before they are killed, again and again until no new one turns up, and whole process
    groups at once, which no fork escapes: what forks faster than it can be killed would otherwise win.

    Parameters
    ----------
    pid : int
        The calling process.
    besides : iterable of int
        Children that are left alone, with all below them.
    within : float
        Seconds to try for.

    Returns
    -------
    bool
        Whether none is left.
    """
    spared = set(besides)
    kept = {_group(each) for each in (pid, *spared)}
    until = time.monotonic() + within
    while time.monotonic() < until:
        stopped: set[int] = set()
        while new := _below(pid, spared) - stopped:
            _signal_all(new, signal.SIGSTOP, kept)
            stopped |= new
        if not stopped:
            return True
        _signal_all(stopped, signal.SIGKILL, kept)
        _reap(stopped)
    return not _below(pid, spared)


def _below(pid: int, spared: set[int]) -> set[int]:
    found = children(pid) - spared
    for child in tuple(found):
        found |= descendants(child)
    return found


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return pid


def _signal_all(pids: Iterable[int], number: signal.Signals, kept: Container[int] = ()) -> None:
    """Send a signal to processes, and to all of their groups but those that are kept."""
    groups: dict[int, list[int]] = {}
    for pid in pids:
        groups.setdefault(_group(pid), []).append(pid)
    for group, members in groups.items():
        if group not in kept:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _reap(pids: Iterable[int]) -> None:
    """Wait for those that are children by now; the others become children when their parents are gone."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    time.sleep(0.001)


def processes_with_variable(variable: str, value: str) -> set[int]:
    """Return the processes that were started with a variable of this value in their environment."""
    wanted = f"{variable}={value}".encode()
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.add(int(process.name))
    return found


def kill_processes_with_variable(variable: str, value: str) -> None:
    """Kill the processes that were started with a variable, for when the one that should end them is gone."""
    for _ in range(100):
        left = processes_with_variable(variable, value) - {os.getpid()}
        if not left:
            return
        _signal_all(left, signal.SIGKILL, {_group(os.getpid())})
        time.sleep(0.01)
