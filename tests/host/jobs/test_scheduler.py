"""The scheduler: which jobs run when, what a failure does, and that nothing is forgotten."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.foundation.free_space import FreeSpace
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.ledger.ledger_writes import requeue_job
from dicomnode.host.ledger.states import JobState
from scheduling import Bench, running


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Run a scheduler."""
    yield from running(Bench(tmp_path, {"gpu": 1}))


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Bench]:
    """Run a scheduler of a host that runs two jobs at once."""
    yield from running(Bench(tmp_path, workers=2))


def test_one_at_a_time_in_order(bench: Bench) -> None:
    """A pipeline with concurrency 1 runs its jobs one after the other, the oldest first."""
    bench.pipeline("one")
    numbers = [bench.job("one") for _ in range(3)]
    bench.scheduler.start()
    for place, number in enumerate(numbers):
        assert bench.executor.wait_for(place + 1) == [str(each) for each in numbers[: place + 1]]
        bench.executor.finish(place)
        bench.wait_for(number, JobState.BUILT)


def test_files_of_two_patients_do_not_meet(bench: Bench) -> None:
    """What names no folder of its own goes into that of its pipeline and patient."""
    bench.pipeline("count", concurrency=2)
    bench.scheduler.start()
    numbers = [bench.job("count", patient) for patient in ("P1", "P2")]
    bench.executor.wait_for(2)
    for place, number in enumerate(numbers):
        bench.executor.finish(place, file_name="acc.txt")
        bench.wait_for(number, JobState.BUILT)
    filed = [bench.ledger.deliveries(job=number)[0].item for number in numbers]
    assert [each["folders"] for each in filed] == [["count", "P1"], ["count", "P2"]]


def test_concurrency(bench: Bench) -> None:
    """As many jobs run at once as the pipeline allows, and pipelines do not hold each other up."""
    bench.pipeline("two", concurrency=2)
    bench.pipeline("other")
    for name in ("two", "two", "two", "other"):
        bench.job(name)
    bench.scheduler.start()
    assert sorted(bench.executor.wait_for(3)) == ["1", "2", "4"]
    bench.executor.finish(0)
    assert "3" in bench.executor.wait_for(4)


def test_resources_and_priority(bench: Bench) -> None:
    """Jobs that share one GPU take turns, the higher priority first, however late it came."""
    bench.pipeline("low", resources={"gpu": 1}, concurrency=2)
    bench.pipeline("high", resources={"gpu": 1}, priority=5)
    bench.pipeline("free")
    first = bench.job("low")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.job("low")
    high = bench.job("high")
    free = bench.job("free")
    assert bench.executor.wait_for(2) == [str(first), str(free)]
    bench.executor.finish(0)
    assert bench.executor.wait_for(3)[2] == str(high)


def test_a_bound_over_all_pipelines(bounded: Bench) -> None:
    """No more jobs run at once than the host has workers; priority goes first, then age."""
    for name in "abcd":
        bounded.pipeline(name, concurrency=2)
    bounded.pipeline("urgent", priority=1)
    numbers = [str(bounded.job(name)) for name in "abcd"]
    bounded.scheduler.start()
    assert bounded.executor.wait_for(2) == numbers[:2]
    urgent = bounded.job("urgent")
    order = [*numbers[:2], str(urgent), *numbers[2:]]
    for place in range(3):
        bounded.executor.finish(place)
        assert bounded.executor.wait_for(place + 3) == order[: place + 3]


def test_no_pipeline_waits_for_ever_for_a_worker(bounded: Bench) -> None:
    """However many jobs of a higher priority come: a pipeline passed over often enough goes next."""
    bounded.pipeline("urgent", priority=1, concurrency=2)
    bounded.pipeline("patient")
    waits = str(bounded.job("patient"))
    urgent = [str(bounded.job("urgent")) for _ in range(100)]
    bounded.scheduler.start()
    ran = bounded.executor.wait_for(2)
    while waits not in ran:
        bounded.executor.finish(len(ran) - 2)
        ran = bounded.executor.wait_for(len(ran) + 1)
    before = ran[: ran.index(waits)]
    assert before == urgent[: len(before)]
    assert 2 <= len(before) < len(urgent)


def test_a_failure_is_tried_again_and_then_a_dead_letter(bench: Bench) -> None:
    """A job that fails runs again after a while, as often as configured, and then waits for the operator."""
    bench.pipeline("bad", PipelineTable(attempts=2, retry_after=0.05))
    number = bench.job("bad")
    bench.scheduler.start()
    for attempt in range(2):
        bench.executor.wait_for(attempt + 1)
        bench.executor.fail(attempt, JobFailedError("it raised", Failure.RAISED, log_tail="the log"))
    bench.wait_for(number, JobState.FAILED)
    job = bench.ledger.job(number)
    assert job is not None
    assert (job.reason, job.log, job.attempts) == ("it raised", "the log", 2)
    reasons = [(old, new) for old, new, _, _ in bench.ledger.transitions("job", number)]
    assert reasons == [
        ("", "queued"),
        ("queued", "running"),
        ("running", "queued"),
        ("queued", "running"),
        ("running", "failed"),
    ]


def test_what_the_configuration_says_of_order_and_resources(bench: Bench) -> None:
    """A table's `resources` and `in_order` hold in place of those of the class."""
    bench.pipeline("first", PipelineTable(resources={"gpu": 1}), concurrency=2)
    bench.pipeline("second", PipelineTable(in_order=True, retry_after=60, resources={}), concurrency=2)
    for name in ("first", "first", "second"):
        bench.job(name)
    bench.scheduler.start()
    assert bench.executor.wait_for(2) == ["1", "3"]
    bench.executor.fail(1, JobFailedError("it raised", Failure.RAISED))
    bench.wait_for(3, JobState.QUEUED)
    bench.job("second")
    bench.executor.finish(0)
    assert bench.executor.wait_for(3) == ["1", "3", "2"]


def test_in_order_waits_for_the_failed_one(bench: Bench) -> None:
    """Where order matters, a job does not overtake one that waits for its second attempt."""
    bench.pipeline("ordered", PipelineTable(attempts=2, retry_after=0.3), in_order=True)
    first, second = bench.job("ordered"), bench.job("ordered")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.executor.fail(0, JobFailedError("once", Failure.RAISED))
    assert bench.executor.wait_for(2) == [str(first), str(first)]
    bench.executor.finish(1)
    assert bench.executor.wait_for(3)[2] == str(second)


def test_cut_off_is_no_attempt(bench: Bench) -> None:
    """A job that the host itself ended is queued again, and the plugin is not blamed."""
    bench.pipeline("long", PipelineTable(attempts=1))
    number = bench.job("long")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.executor.fail(0, JobFailedError("the host stops", Failure.ENDED))
    bench.executor.wait_for(2)
    job = bench.ledger.job(number)
    assert job is not None
    assert job.attempts == 1


def test_a_full_disk_is_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is full no job begins; one that fails of it has lost no attempt, and runs again."""
    monkeypatch.setattr("dicomnode.host.jobs.scheduler._UNTIL_THERE_IS_ROOM", 0.05)
    free = [100]
    monkeypatch.setattr(FreeSpace, "__call__", lambda self: free[0])
    bench = Bench(tmp_path, least_free=50)
    try:
        bench.pipeline("one", PipelineTable(attempts=1))
        bench.scheduler.start()
        first = bench.job("one")
        bench.executor.wait_for(1)
        free[0] = 10
        bench.executor.fail(0, JobFailedError("no space left on device", Failure.DISK))
        bench.wait_for(first, JobState.QUEUED)
        job = bench.ledger.job(first)
        assert job is not None
        assert (job.attempts, job.reason) == (0, "no space left on device")
        assert len(bench.executor.submitted) == 1
        free[0] = 100
        bench.executor.wait_for(2)
        bench.executor.finish(1)
        bench.wait_for(first, JobState.BUILT)
    finally:
        bench.scheduler.stop(0.2)
        bench.ledger.close()
        bench.data.unlock()


def test_discarded_while_it_ran(bench: Bench) -> None:
    """The result of a job that was given up while it ran is thrown away."""
    bench.pipeline("slow")
    number = bench.job("slow")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.jobs.discard(number, "not wanted any more")
    bench.executor.finish(0)
    second = bench.job("slow")
    bench.executor.wait_for(2)
    assert bench.state(number) is JobState.DISCARDED
    assert not list(bench.data.outbox.iterdir())
    assert bench.state(second) is JobState.RUNNING


def test_discarded_and_replayed_while_it_ran(bench: Bench) -> None:
    """What is cut off of the first run changes nothing; the second begins when the first has ended."""
    bench.pipeline("one", PipelineTable(attempts=1))
    number = bench.job("one")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.jobs.discard(number, "by mistake")
    bench.ledger.write(requeue_job(number, "replayed"))
    bench.executor.fail(0, JobFailedError("given up", Failure.ENDED))
    assert bench.executor.wait_for(2) == [str(number)] * 2
    bench.executor.finish(1)
    bench.wait_for(number, JobState.BUILT)
    job = bench.ledger.job(number)
    assert job is not None
    assert job.attempts == 1


def test_a_ledger_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ledger cannot be written the result is kept and entered later: it is not computed again."""
    monkeypatch.setattr("dicomnode.host.jobs.scheduler._PAUSE", 0.05)
    bench.pipeline("one")
    number = bench.job("one")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    working, failures = bench.ledger.write, iter(range(3))

    def full(write: Any) -> Any:
        if next(failures, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        return working(write)

    monkeypatch.setattr(bench.ledger, "write", full)
    bench.executor.finish(0)
    bench.wait_for(number, JobState.BUILT)
    assert len(bench.executor.submitted) == 1


def test_a_clock_that_jumps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that goes back by a year does not keep a job waiting for a year."""
    bench.pipeline("bad", PipelineTable(attempts=2, retry_after=0.2))
    bench.job("bad")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    bench.executor.fail(0, JobFailedError("once", Failure.RAISED))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 365 * 86400)
    bench.scheduler.wake()
    bench.executor.wait_for(2)


def test_stop_waits_for_what_runs(bench: Bench) -> None:
    """Stopping starts nothing new and waits for the running job, up to its grace."""
    bench.pipeline("one")
    first, second = bench.job("one"), bench.job("one")
    bench.scheduler.start()
    bench.executor.wait_for(1)
    stopping = threading.Thread(target=bench.scheduler.stop, args=(20,))
    stopping.start()
    bench.executor.finish(0)
    stopping.join(10)
    assert not stopping.is_alive()
    assert bench.state(first) is JobState.BUILT
    assert bench.state(second) is JobState.QUEUED
