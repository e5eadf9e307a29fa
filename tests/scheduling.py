"""A scheduler without a host: a ledger, pipelines made on the spot, and an executor of the test's choice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.job_folder import JobFolder
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.jobs.scheduler import Scheduler
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import create_job
from dicomnode.host.ledger.states import JobState
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.pipeline.outputs import DicomOutput, FileOutput

FOLDER = "file:results"


def write_result(outbox: Path, job: str, attempt: int, *, file_name: str = "") -> dict[str, str]:
    """Write the folder of a job that made nothing, or a file; return what its executor returns."""
    folder = outbox / f"job-{job}-{attempt}"
    with JobFolder(folder, outbox.parent / "work" / job, durable=False) as building:
        output = FileOutput({file_name: "text"} if file_name else {})
        items = output.write(building.output_folder(0)) if file_name else []
        building.finish({"job": job, "identity": job, "warnings": []}, items)
    return {"folder": str(folder)}


class ByHand(Executor):
    """An executor whose jobs end when the test says so."""

    def __init__(self, outbox: Path) -> None:
        self.outbox = outbox
        self.submitted: list[tuple[str, Future[Any]]] = []
        self.changed = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a job."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self.changed:
            self.submitted.append((args[0]["id"], future))
            self.changed.notify_all()
        return future

    def wait_for(self, count: int, timeout: float = 10) -> list[str]:
        """Wait until so many jobs were submitted; return their numbers."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.submitted) >= count, timeout), self.submitted
            return [job for job, _ in self.submitted]

    def finish(self, number: int, *, file_name: str = "") -> None:
        """End the n-th submitted job with an empty result, or with a file."""
        job, future = self.submitted[number]
        future.set_result(write_result(self.outbox, job, number, file_name=file_name))

    def fail(self, number: int, error: BaseException) -> None:
        """Let the n-th submitted job fail."""
        self.submitted[number][1].set_exception(error)


class Bench:
    """A scheduler with a ledger, a by-hand executor and pipelines made on the spot."""

    def __init__(
        self,
        directory: Path,
        resources: dict[str, int] | None = None,
        least_free: int = 0,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.data = DataDirectory(directory / "data").lock()
        self.ledger = Ledger(self.data.ledger, durable=False)
        self.spool = Spool(self.data.spool, "process")
        self.configured_pipelines: dict[str, ConfiguredPipeline] = {}
        self.executor = ByHand(self.data.outbox)
        events, self.job_events = Events(), JobEvents()
        self.events: list[Event] = []
        self.changed = threading.Condition()
        events.listen(self._note)
        self.jobs = Jobs(
            ledger=self.ledger,
            spool=self.spool,
            outbox=self.data.outbox,
            trees={},
            events=events,
            job_events=self.job_events,
        )
        self.scheduler = Scheduler(
            ledger=self.ledger,
            jobs=self.jobs,
            configured_pipelines=self.configured_pipelines,
            executor=executor or self.executor,
            data=self.data,
            spool=self.spool,
            destinations={FOLDER: FolderDestination(FOLDER, directory / "results")},
            output_class=lambda name: FileOutput if name == "file" else DicomOutput,
            events=events,
            job_events=self.job_events,
            resources=resources or {},
            least_free=least_free,
            workers=workers,
            describe=lambda job, configured, rows: SimpleNamespace(to_json=lambda: {"id": str(job.id)}),
        )

    def _note(self, event: Event) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_event(self, text: str) -> Event:
        """Wait for an event whose message holds a text."""

        def found() -> list[Event]:
            return [event for event in self.events if text in event.message]

        with self.changed:
            assert self.changed.wait_for(found, 10), self.events
            return found()[0]

    def pipeline(self, name: str, table: PipelineTable | None = None, **attributes: Any) -> None:
        """Configure a pipeline."""
        kind = type(
            name,
            (AbstractPipeline,),
            {"inputs": {"images": AbstractInput}, "process": lambda s, i: NoOutput(), **attributes},
        )
        self.configured_pipelines[name] = ConfiguredPipeline(
            name=name,
            pipeline=kind(),
            ae_title=name.upper(),
            destinations=(FOLDER,),
            table=table or PipelineTable(retry_after=0.05),
            registration=SimpleNamespace(name=name, distribution=name, version="1"),
        )

    def job(self, pipeline: str, patient: str = "patient") -> int:
        """Queue a job."""
        number = self.ledger.write(create_job(f"{pipeline}", pipeline, patient, [])).id
        self.job_events.queued.notify()
        return number

    def state(self, number: int) -> JobState:
        """Return a job's state."""
        job = self.ledger.job(number)
        assert job is not None
        return job.state

    def wait_for(self, number: int, state: JobState) -> None:
        """Wait until a job is in a state."""
        deadline = time.monotonic() + 10
        while self.state(number) is not state:
            assert time.monotonic() < deadline, self.ledger.job(number)
            threading.Event().wait(0.01)


def running(made: Bench) -> Iterator[Bench]:
    """Give a bench to a test, and end it."""
    yield made
    if made.scheduler._thread.ident is not None:
        made.scheduler.stop(0.2)
    made.ledger.close()
    made.data.unlock()
