"""Jobs that are not wanted any more: what becomes of them in executors that can end them, and that cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dicomnode import TerminableExecutor
from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.running_jobs import RunningJobs, end_executor
from dicomnode.host.ledger.ledger_writes import requeue_job
from dicomnode.host.ledger.states import JobState
from dicomnode.host.workers.worker_pool import WorkerPool
from scheduling import Bench, ByHand, running, write_result

MAY_GO_ON = "it may go on running, and its result will be dropped"


class Threads(ThreadPoolExecutor):
    """Threads, as a plugin may provide them: what runs can only be waited for. A job ends when it may."""

    def __init__(self, root: Path, threads: int) -> None:
        super().__init__(threads)
        self.outbox = root / "data" / "outbox"
        self.begun: list[str] = []
        self.futures: dict[str, Future[Any]] = {}
        self.ends: dict[str, threading.Event] = {}
        self.changed = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a job."""
        job = args[0]["id"]
        future = super().submit(self._run, job)
        with self.changed:
            self.futures[job] = future
            self.changed.notify_all()
        return future

    def future_of(self, job: int) -> Future[Any]:
        """Wait until a job is submitted; return its future."""
        with self.changed:
            assert self.changed.wait_for(lambda: str(job) in self.futures, 10), self.futures
            return self.futures[str(job)]

    def _run(self, job: str) -> dict[str, str]:
        end = self._end_of(job)
        with self.changed:
            self.begun.append(job)
            self.changed.notify_all()
        assert end.wait(20)
        return write_result(self.outbox, job, len(self.begun))

    def _end_of(self, job: str) -> threading.Event:
        return self.ends.setdefault(job, threading.Event())

    def wait_for(self, *jobs: int) -> None:
        """Wait until these jobs have begun, in any order and no others."""
        with self.changed:
            assert self.changed.wait_for(lambda: sorted(self.begun) == sorted(map(str, jobs)), 10), self.begun

    def let_end(self, job: int) -> None:
        """Let a job end."""
        self._end_of(str(job)).set()


class Terminable(ByHand):
    """An executor that can end a job, if it is willing to."""

    def __init__(self, outbox: Path, ends: Callable[[Future[Any]], bool]) -> None:
        super().__init__(outbox)
        self.ends, self.terminated = ends, 0

    def terminate_job(self, future: Future[Any], reason: str) -> bool:
        """End a job."""
        return self.ends(future)

    def terminate(self) -> None:
        """Count."""
        self.terminated += 1


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[Threads]:
    """Provide two threads, and let everything end afterwards."""
    made = Threads(tmp_path, 2)
    yield made
    for end in made.ends.values():
        end.set()
    made.shutdown()


@pytest.fixture
def bench(tmp_path: Path, threads: Threads) -> Iterator[Bench]:
    """Run a scheduler on threads."""
    yield from running(Bench(tmp_path, executor=threads))


def test_a_result_that_nobody_wants_is_dropped(bench: Bench, threads: Threads) -> None:
    """What cannot be ended goes on, its place is taken until it ends, and then nothing of it is left."""
    bench.pipeline("one")
    unwanted = bench.job("one")
    bench.scheduler.start()
    threads.wait_for(unwanted)
    bench.jobs.discard(unwanted, "not wanted any more")
    assert bench.wait_event(MAY_GO_ON).job == str(unwanted)
    assert [job.id for job in bench.scheduler.unstoppable] == [unwanted]
    wanted = bench.job("one")
    threads.let_end(unwanted)
    bench.wait_event("what ran on has ended")
    threads.wait_for(unwanted, wanted)
    assert not list(bench.data.outbox.iterdir())
    assert not bench.scheduler.unstoppable
    assert bench.state(unwanted) is JobState.DISCARDED
    threads.let_end(wanted)
    bench.wait_for(wanted, JobState.BUILT)


def test_no_other_job_takes_the_place_of_one_that_goes_on(bench: Bench, threads: Threads) -> None:
    """It may hold the GPU: another job of the pipeline waits for it."""
    bench.pipeline("one")
    bench.pipeline("two")
    unwanted = bench.job("one")
    bench.scheduler.start()
    threads.wait_for(unwanted)
    bench.jobs.discard(unwanted, "not wanted any more")
    bench.wait_event(MAY_GO_ON)
    waiting, other = bench.job("one"), bench.job("two")
    threads.wait_for(unwanted, other)
    assert bench.state(waiting) is JobState.QUEUED


def test_what_has_not_begun_never_does(bench: Bench, threads: Threads) -> None:
    """A job that waits in the executor is cancelled, and nobody is told that it may go on."""
    bench.pipeline("three", concurrency=3)
    jobs = [bench.job("three") for _ in range(3)]
    bench.scheduler.start()
    threads.wait_for(*jobs[:2])
    cancelled = threading.Event()
    threads.future_of(jobs[2]).add_done_callback(lambda future: cancelled.set())
    bench.jobs.discard(jobs[2], "not wanted any more")
    assert cancelled.wait(10)
    for job in jobs[:2]:
        threads.let_end(job)
        bench.wait_for(job, JobState.BUILT)
    last = bench.job("three")
    threads.wait_for(*jobs[:2], last)
    assert not any(MAY_GO_ON in event.message for event in bench.events)


def test_a_replayed_job_waits_for_what_still_runs_of_it(bench: Bench, threads: Threads) -> None:
    """Two attempts of one job never run at once: they have one working folder."""
    bench.pipeline("one", concurrency=2)
    number = bench.job("one")
    bench.scheduler.start()
    threads.wait_for(number)
    bench.jobs.discard(number, "by mistake")
    bench.wait_event(MAY_GO_ON)
    bench.ledger.write(requeue_job(number, "replayed"))
    other = bench.job("one")
    threads.wait_for(number, other)
    assert bench.state(number) is JobState.QUEUED
    threads.let_end(number)
    threads.wait_for(number, other, number)
    bench.wait_for(number, JobState.BUILT)


def test_stopping_does_not_wait_for_what_nobody_wants(bench: Bench, threads: Threads) -> None:
    """The time that jobs have to end is for those whose results are wanted."""
    bench.pipeline("one")
    unwanted = bench.job("one")
    bench.scheduler.start()
    threads.wait_for(unwanted)
    bench.jobs.discard(unwanted, "not wanted any more")
    bench.wait_event(MAY_GO_ON)
    stopping = threading.Thread(target=bench.scheduler.stop, args=(3600,))
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive()


def ends_it(future: Future[Any]) -> bool:
    """End a job as a worker pool does."""
    future.set_exception(JobFailedError("withdrawn", Failure.ENDED))
    return True


def raises(future: Future[Any]) -> bool:
    """Fail, as a plugin may."""
    raise RuntimeError("no connection to the cluster")


@pytest.mark.parametrize(
    ("ends", "goes_on"), [(ends_it, False), (lambda future: False, True), (raises, True)]
)
def test_an_executor_that_can_end_jobs_is_asked_to(
    tmp_path: Path, ends: Callable[[Future[Any]], bool], goes_on: bool
) -> None:
    """Where it cannot after all, or fails, the job counts as one that goes on, and its result is dropped."""
    executor = Terminable(tmp_path / "data" / "outbox", ends)
    for bench in running(Bench(tmp_path, executor=executor)):
        bench.pipeline("one")
        unwanted = bench.job("one")
        bench.scheduler.start()
        executor.wait_for(1)
        bench.jobs.discard(unwanted, "not wanted any more")
        if goes_on:
            bench.wait_event(MAY_GO_ON)
            executor.finish(0)
        wanted = bench.job("one")
        assert executor.wait_for(2) == [str(unwanted), str(wanted)]
        assert goes_on == any(MAY_GO_ON in event.message for event in bench.events)
        assert not list(bench.data.outbox.iterdir())


def test_a_job_is_ended_once() -> None:
    """What was withdrawn is not withdrawn again, nor is what does not run."""
    asked = []
    executor = Terminable(Path("nowhere"), lambda future: not asked.append(future))
    jobs = RunningJobs(executor, lambda run: None)
    record: Any = type("Record", (), {"id": 7})()
    jobs.start(record, lambda: {"id": "7"})
    for number in (7, 7, 8):
        assert jobs.withdraw(number) is None
    assert len(asked) == 1


def test_what_ends_an_executor(tmp_path: Path) -> None:
    """One that can end everything does; of another what has not begun is cancelled."""
    executor = Terminable(tmp_path, ends_it)
    end_executor(executor)
    assert executor.terminated == 1
    go, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as plain:
        first, second = plain.submit(lambda: begun.set() or go.wait(20)), plain.submit(go.wait, 20)
        assert begun.wait(20)
        end_executor(plain)
        assert second.cancelled()
        go.set()
        assert first.result(20)


def test_the_worker_pool_can_end_jobs(tmp_path: Path) -> None:
    """The host's own executor is one of those that are asked."""
    with WorkerPool(scratch=tmp_path) as pool:
        terminable: TerminableExecutor = pool
        assert isinstance(terminable, TerminableExecutor)
    assert not isinstance(ThreadPoolExecutor(1), TerminableExecutor)
