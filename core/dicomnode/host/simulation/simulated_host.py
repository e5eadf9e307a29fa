"""The parts of a host for one pipeline, put together as the host does, but for network and time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.configuration.receiver_building import receiver_settings
from dicomnode.host.configuration.references import FILE_SCHEME
from dicomnode.host.delivery.outbox import Outbox
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.foundation.notifier import Notifier
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.reception import Reception
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.jobs.describing import describe_job
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.jobs.scheduler import Scheduler
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.simulation.parts import (
    InThisProcess,
    VirtualClock,
    WatchedImages,
    simulated_destinations,
)
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.outputs import DicomOutput, FileOutput, NoOutput, PipelineOutput
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry


class SimulatedHost:
    """Reception, gathering, jobs, scheduler and outbox of one pipeline, in a directory of their own.

    Parameters
    ----------
    config : Config
        The configuration; its data directory is where everything is.
    configured : ConfiguredPipeline
        The pipeline.
    registry : Registry
        The installed plugins.
    out : pathlib.Path, optional
        Where results are put.
    in_process : bool
        Whether jobs run in this process.
    hear : callable
        Called with every event.
    job_changed : callable
        Is given every job whose state changed.

    Attributes
    ----------
    clock : VirtualClock
        The time.
    due : TimerThread
        What is to be done at a time; nobody but its caller does it.
    """

    def __init__(
        self,
        config: Config,
        configured: ConfiguredPipeline,
        registry: Registry,
        *,
        out: Path | None,
        in_process: bool,
        hear: Callable[[Event], None],
        job_changed: Callable[[JobRecord], None],
    ) -> None:
        self.config, self.configured, self._registry = config, configured, registry
        self._out, self._in_process = out, in_process
        self._job_changed = job_changed
        self.events = Events()
        self.events.listen(hear)
        self.settings = receiver_settings(config)
        self.clock = VirtualClock()
        self.due = TimerThread("simulation", self.clock)
        self.tree = WatchedImages(configured, Hooks(registry), now=self.clock)
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._parts = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _start(self, starting: ExitStack) -> None:
        """Start the parts from the end of the route to its beginning, as :class:`~.host.Host` does."""
        self.data = starting.enter_context(DataDirectory(Path(self.config.host.data)))
        self.spool = Spool(self.data.spool, "process")
        self.ledger = Ledger(self.data.ledger, durable=False)
        starting.callback(self.ledger.close)
        job_events = JobEvents()
        image_entered: Notifier[WaitingImages, str] = Notifier()
        image_entered.subscribe(self._nothing_earlier)
        jobs = Jobs(
            ledger=self.ledger,
            spool=self.spool,
            outbox=self.data.outbox,
            trees={self.configured.name: self.tree},
            events=self.events,
            job_events=job_events,
            job_changed=self._job_changed,
            keep_results=True,
        )
        self.gatherer = Gatherer([self.tree], jobs, self.events, self.due, image_came=image_entered.notify)
        self.reception = Reception(
            [self.tree],
            host_title=self.config.host.ae_title,
            spool=self.spool,
            ledger=self.ledger,
            gatherer=self.gatherer,
            events=self.events,
        )
        destinations = simulated_destinations(
            dict.fromkeys(self.config.peers, False)
            | {name: name.startswith(FILE_SCHEME) for name in self.configured.destinations},
            self._out,
            self.configured.destinations,
        )
        outbox = Outbox(
            self.data.outbox,
            self.ledger,
            destinations,
            self._output_class,
            events=self.events,
            settings=self.config.delivery,
            settled=jobs.settle,
            job_events=job_events,
        )
        starting.callback(outbox.stop)
        executor: Executor = InThisProcess() if self._in_process else WorkerPool(1, scratch=self.data.work)
        starting.callback(executor.shutdown)
        scheduler = Scheduler(
            ledger=self.ledger,
            jobs=jobs,
            configured_pipelines={self.configured.name: self.configured},
            executor=executor,
            data=self.data,
            spool=self.spool,
            destinations=destinations,
            output_class=self._output_class,
            events=self.events,
            job_events=job_events,
            resources=self.config.host.resources,
            describe=lambda job, configured, rows: describe_job(
                job, configured, rows, config=self.config, spool=self.spool, data=self.data
            ),
        )
        starting.callback(scheduler.stop, 10.0)
        starting.callback(self.reception.close)
        outbox.start()
        scheduler.start()

    def _output_class(self, name: str) -> type[PipelineOutput]:
        own = {kind.name: kind for kind in (DicomOutput, FileOutput, NoOutput)}
        if name in own:
            return own[name]
        kind: type[PipelineOutput] = self._registry.load("outputs", name)
        return kind

    def _nothing_earlier(self, tree: WaitingImages, container_key: str) -> None:
        """Answer for the PACS that is not there: it has no earlier images of anybody."""
        for name, kind in self.configured.pipeline.inputs.items():
            if issubclass(kind, HistoricAbstractInput) and tree.history(container_key, name) is None:
                reason = "no PACS is asked in a simulation"
                tree.set_history(container_key, name, HistoryStatus(HistoryState.NOTHING, reason=reason))
