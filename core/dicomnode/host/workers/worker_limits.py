"""The limits of a task, and the monitor that says when a worker has passed one."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from dicomnode.host.foundation.file_trees import disk_usage
from dicomnode.host.foundation.free_space import disk_space
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers.process_tree import descendants, memory_held, proportional_memory

_LEAST_PAUSE, _DISK_PAUSE = 0.1, 0.5
_KERNEL_TIMEOUT = 0.2
_TIMES_MEASURED = 2
_SHARE = 20
"""The checks take at most one twentieth of the time of a core, however many processes and files there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a task may use.

    Attributes
    ----------
    timeout : float or None
        Seconds.
    memory : int or None
        Bytes that the worker's processes hold together. It is watched, not set as ``RLIMIT_AS``: CUDA
        reserves more address space than the machine has memory, and would not start.
    disk : int or None
        Bytes on disk in ``folders``. No single file grows over it, wherever it is (``RLIMIT_FSIZE``).
    processes : int or None
        Processes of the worker.
    folders : tuple of str
        Where the task writes.
    free : int
        Bytes that must stay free on the file system of ``folders``.
    """

    timeout: float | None = None
    memory: int | None = None
    disk: int | None = None
    processes: int | None = 512
    folders: tuple[str, ...] = ()
    free: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Limits:
        """Return the limits that :meth:`to_json` made plain."""
        return cls(**{**plain, "folders": tuple(plain["folders"])})


Breach = tuple[Failure, str]


class LimitMonitor:
    """Says when a limit is passed by a process below the calling one, which must be their reaper.

    Parameters
    ----------
    limits : Limits
        The limits; time counts from now.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        now = time.monotonic()
        self._deadline = None if limits.timeout is None else now + limits.timeout
        self._checks: list[_Check] = [_Check(self._processes, _LEAST_PAUSE), _Check(self._disk, _DISK_PAUSE)]
        self._shares = _Shares()

    def due(self) -> float:
        """Return the seconds until the next check."""
        moments = [check.due for check in self._checks]
        if self._deadline is not None:
            moments.append(self._deadline)
        return max(0.0, min(moments) - time.monotonic())

    def breach(self) -> Breach | None:
        """Return the limit that was passed and the reason in words, or ``None``."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return Failure.TIMEOUT, f"it ran longer than its timeout of {self._limits.timeout:g} s"
        for check in self._checks:
            if (breach := check()) is not None:
                return breach
        return None

    def _processes(self) -> Breach | None:
        limits = self._limits
        pids = descendants(os.getpid(), limits.processes or math.inf)
        if limits.processes is not None and len(pids) > limits.processes:
            return Failure.PROCESSES, f"it had more processes than the {limits.processes} that it may have"
        if limits.memory is not None and (held := self._memory(pids, limits.memory)) > limits.memory:
            may = _megabytes(limits.memory)
            return Failure.MEMORY, f"it held {_megabytes(held)} in memory, and may hold {may}"
        return None

    def _memory(self, pids: Iterable[int], limit: int) -> int:
        """Return what processes hold together; shared pages are divided where the plain sum is too much."""
        held = [memory_held(pid) for pid in pids]
        if sum(held) <= limit:
            return sum(held)
        return max(held) if max(held) > limit else self._shares(tuple(pids))

    def _disk(self) -> Breach | None:
        limits = self._limits
        if limits.disk is not None and (used := disk_usage(limits.folders, limits.disk)) > limits.disk:
            return (
                Failure.DISK,
                f"it wrote {_megabytes(used)}, and may write {_megabytes(limits.disk)}",
            )
        for folder in limits.folders if limits.free else ():
            with suppress(OSError):
                if (free := disk_space(folder).free) < limits.free:
                    return (
                        Failure.DISK,
                        f"the disk has {_megabytes(free)} free, and must have {_megabytes(limits.free)}",
                    )
        return None


class _Shares:
    """What processes hold together, measured on a thread of its own, since the kernel may keep it waiting."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._sum = 0

    def __call__(self, pids: tuple[int, ...]) -> int:
        """Return the last sum, and begin to measure a new one."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._measure, args=(pids,), daemon=True)
            self._thread.start()
            self._thread.join(_KERNEL_TIMEOUT)
        return 0 if self._thread.is_alive() else self._sum

    def _measure(self, pids: tuple[int, ...]) -> None:
        # While one of them forks, shares change: a process measured before the fork counts whole, and its
        # child counts again. Measured a second time, both have their share.
        self._sum = min(sum(proportional_memory(pid) for pid in pids) for _ in range(_TIMES_MEASURED))


class _Check:
    """A check that is made now and then: rarely, where it takes long."""

    def __init__(self, check: Callable[[], Breach | None], pause: float) -> None:
        self._check, self._pause = check, pause
        self.due = time.monotonic() + pause

    def __call__(self) -> Breach | None:
        if time.monotonic() < self.due:
            return None
        # Not the clock's time: a plugin that takes all of the CPU must not be checked less often.
        before = time.thread_time()
        breach = self._check()
        self.due = time.monotonic() + max(self._pause, _SHARE * (time.thread_time() - before))
        return breach


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"
