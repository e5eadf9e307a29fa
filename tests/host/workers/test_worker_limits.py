"""The limits of a task, and the monitor that says which one a worker has passed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers import worker_limits
from dicomnode.host.workers.worker_limits import LimitMonitor, Limits


def test_a_process_that_forks_while_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was looked at before a fork, and in the child again, is not counted twice."""
    shares = iter([400, 200, 200, 200])  # the parent alone; then the child, the parent, and the child again
    monkeypatch.setattr(worker_limits, "memory_held", lambda pid: 400)
    monkeypatch.setattr(worker_limits, "proportional_memory", lambda pid: next(shares))
    monkeypatch.setattr(worker_limits, "descendants", lambda pid, most: {1, 2})
    monitor = LimitMonitor(Limits(memory=500))
    time.sleep(monitor.due())
    assert monitor.breach() is None
    assert list(shares) == []


def test_a_monitor_says_which_limit_was_passed(tmp_path: Path) -> None:
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
        monitor = LimitMonitor(limits)
        time.sleep(monitor.due() if limits.timeout is None and kind is None else 0.6)
        breach = monitor.breach()
        assert (breach and breach[0]) == kind, limits


def test_too_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are counted before their memory is measured, which takes long for many."""
    monkeypatch.setattr(worker_limits, "descendants", lambda pid, most: set(range(int(most) + 1)))
    monkeypatch.setattr(worker_limits, "memory_held", pytest.fail)
    monitor = LimitMonitor(Limits(memory=1, processes=3))
    time.sleep(monitor.due())
    assert monitor.breach() == (Failure.PROCESSES, "it had more processes than the 3 that it may have")


def test_one_process_that_holds_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is over the limit alone is found without dividing shared pages, which may take long."""
    monkeypatch.setattr(worker_limits, "descendants", lambda pid, most: {1, 2})
    monkeypatch.setattr(worker_limits, "memory_held", lambda pid: {1: 5 * 2**20, 2: 1}[pid])
    monkeypatch.setattr(worker_limits, "proportional_memory", pytest.fail)
    monitor = LimitMonitor(Limits(memory=4 * 2**20))
    time.sleep(monitor.due())
    assert monitor.breach() == (Failure.MEMORY, "it held 5 MB in memory, and may hold 4 MB")


@given(st.builds(Limits, timeout=st.none() | st.floats(0, 1e9), folders=st.lists(st.text()).map(tuple)))
def test_limits_survive_json(limits: Limits) -> None:
    """Limits come back from JSON as they were."""
    assert Limits.from_json(json.loads(json.dumps(limits.to_json()))) == limits
