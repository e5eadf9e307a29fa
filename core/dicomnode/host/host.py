"""The running node: the one place where its parts are put together.

::

    receiver -> reception -> spool, trees, ledger -> gatherer -> jobs -> scheduler -> worker pool
             -> outbox -> destinations -> confirmed: inputs released
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.errors import ConfigurationError, ListenError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, configure_pipelines
from dicomnode.host.configuration.receiver_building import receiver_settings
from dicomnode.host.configuration.references import FILE_SCHEME
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.host.delivery.outbox import Outbox
from dicomnode.host.delivery.peer_destination import PeerDestination
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.file_trees import TreeRemover
from dicomnode.host.foundation.free_space import jobs_reserve
from dicomnode.host.foundation.notifier import Notifier
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.prevalidation import PrevalidatorFactory
from dicomnode.host.gathering.reception import Reception
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.history.get_scu import RetrieveReception
from dicomnode.host.history.history import History, history_peers
from dicomnode.host.history.series_counts import SeriesCounts, peers_with_address
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.host.jobs.describing import describe_job
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.jobs.running_jobs import end_executor
from dicomnode.host.jobs.scheduler import Scheduler
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.operation.container_orders import container_orders
from dicomnode.host.operation.control import ControlServer
from dicomnode.host.operation.explanation import explain
from dicomnode.host.operation.live_status import live_status
from dicomnode.host.operation.operations import job_orders
from dicomnode.host.receiver.scp import Receiver
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.checksums import Checksums
from dicomnode.host.upkeep.quarantine import Quarantine, quarantine_orders
from dicomnode.host.upkeep.recovery import Recovered, Recovery
from dicomnode.host.upkeep.retention import Retention
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.pipeline.destination import Destination
from dicomnode.pipeline.outputs import PipelineOutput
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.hookspecs import hookimpl
from dicomnode.plugins.registry import Registry, host_version

_LOG = logging.getLogger(__name__)
_LAST_SENDS = 10.0
_LAST_REMOVALS = 5.0
"""Seconds for what is to be removed at the end; the next start goes on with it."""


class Host:
    """A node: receives, gathers, runs pipelines, delivers.

    Parameters
    ----------
    config : Config
        The configuration.
    registry : Registry, optional
        The installed plugins; read from the environment when not given.
    events : Events, optional
        Publishes what happens.

    Raises
    ------
    ConfigurationError
        When the configuration asks for what is not there.

    Examples
    --------
    >>> with Host(load_config(None)) as host:  # doctest: +SKIP
    ...     print(host.address)
    """

    def __init__(
        self, config: Config, registry: Registry | None = None, events: Events | None = None
    ) -> None:
        self.config = config
        self.events = events or Events()
        self.registry = registry or Registry(config.plugins.disabled, config.plugins.only)
        self.hooks = Hooks(self.registry)
        self.hooks.register(_OwnExecutor(self._worker_pool), "dicomnode-host")
        self.data = DataDirectory(Path(config.host.data).expanduser().absolute())
        self.isolation = Isolation.of(config)
        configured_pipelines = _all_checked(config, self.registry, self.isolation)
        self.configured_pipelines = {configured.name: configured for configured in configured_pipelines}
        self.destinations = _destinations(config, self.configured_pipelines.values())
        self.trees: Mapping[str, WaitingImages] = {
            name: WaitingImages(configured, self.hooks)
            for name, configured in self.configured_pipelines.items()
        }
        self.recovered = Recovered()
        self.started = 0.0
        self._remover = TreeRemover()
        self._running = ExitStack()
        self._stopped = threading.Event()

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the data directory, make everything agree, and receive.

        Raises
        ------
        DataDirectoryError
            When the data directory cannot be used, or another host holds it.
        ListenError
            When the address is taken.
        ConfigurationError
            When the receiver cannot be set up as configured.
        """
        with ExitStack() as starting:
            self._start(starting)
            self._running = starting.pop_all()
        self.started = time.time()
        self._tell(f"listening on {self.address[0]}:{self.address[1]}")
        self.hooks.host_started(self)

    def _start(self, starting: ExitStack) -> None:
        """Start the parts from the end of the route to its beginning; they stop in the other order."""
        config, host, retention = self.config, self.config.host, self.config.retention
        starting.callback(self.isolation.close)
        starting.enter_context(self.data)
        durable = host.durability == "power"
        starting.callback(self._remover.wait, _LAST_REMOVALS)
        settings = receiver_settings(config)
        self.spool = Spool(self.data.spool, host.durability)
        self.ledger = Ledger(self.data.ledger, durable=durable)
        starting.callback(self.ledger.close)
        job_events = JobEvents()
        image_entered: Notifier[WaitingImages, str] = Notifier()
        self.jobs = Jobs(
            ledger=self.ledger,
            spool=self.spool,
            outbox=self.data.outbox,
            trees=self.trees,
            events=self.events,
            job_events=job_events,
            job_changed=self.hooks.job_changed,
            keep_inputs=retention.inputs > 0,
            keep_results=retention.results > 0,
            remove=self._remover.remove,
        )
        clock = TimerThread("gathering")
        self._counts = SeriesCounts(peers_with_address(config))
        self.gatherer = Gatherer(
            self.trees.values(),
            self.jobs,
            self.events,
            clock,
            image_came=image_entered.notify,
            ask_count=self._counts.ask,
        )
        self.reception = Reception(
            self.trees.values(),
            host_title=host.ae_title,
            spool=self.spool,
            ledger=self.ledger,
            gatherer=self.gatherer,
            events=self.events,
            reserve=host.reserve,
        )
        receiver = Receiver(
            settings,
            self.reception,
            self.spool,
            self._committed,
            prevalidator_factory=PrevalidatorFactory.of(
                self.configured_pipelines.values(), config.plugins, self.hooks
            ),
        )
        self.history = History(
            self.ledger,
            self.trees.values(),
            history_peers(config, self.configured_pipelines.values()),
            reception=RetrieveReception(self.reception, self.spool, settings),
            events=self.events,
            settled=self.gatherer.history_settled,
            image_entered=image_entered,
        )
        self.history.restore()
        self._recover()

        self.outbox = Outbox(
            self.data.outbox,
            self.ledger,
            self.destinations,
            self.output_class,
            events=self.events,
            settings=config.delivery,
            settled=self.jobs.settle,
            job_events=job_events,
        )
        starting.callback(self.outbox.stop, _LAST_SENDS)
        executor = self.hooks.executor(self.config)
        starting.callback(end_executor, executor)
        self.scheduler = Scheduler(
            ledger=self.ledger,
            jobs=self.jobs,
            configured_pipelines=self.configured_pipelines,
            executor=executor,
            data=self.data,
            spool=self.spool,
            destinations=self.destinations,
            output_class=self.output_class,
            events=self.events,
            job_events=job_events,
            resources=host.resources,
            workers=host.workers,
            least_free=self._least_free,
            describe=self.describe_job,
        )
        starting.callback(self.scheduler.stop, host.drain)
        starting.callback(clock.stop)
        starting.callback(self.reception.close)
        self._listen(receiver)
        starting.callback(receiver.stop)
        starting.callback(self.history.stop)
        starting.callback(self._counts.stop)
        self._counts.start()
        self.history.start()
        self.outbox.start()
        self.scheduler.start()
        clock.start()
        Retention(retention, self.ledger, self.spool, self.jobs, clock).start()
        checksums = Checksums(self.ledger, self.spool, host.checksum_after)
        checksums.start()
        starting.callback(checksums.stop)
        control = ControlServer(self.data.control, self._orders())
        control.start()
        starting.callback(control.stop)

    def stop(self) -> None:
        """Accept no more, let what is under way finish, and stop. Doing so twice does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self.hooks.host_stopping(self)
        self._tell("stopping")
        self._running.close()
        self._tell("stopped")

    def reload(self, config: Config) -> None:
        """Take peers from another configuration: who may associate, and where results are sent.

        Certificates are read again for every connection anyway. Everything else needs a restart.

        Raises
        ------
        ConfigurationError
            When the new configuration would let everybody in, or a peer that results are sent to has gone;
            nothing has changed then.
        """
        allowed = receiver_settings(config).peers
        peers = {name: each for name, each in self.destinations.items() if isinstance(each, PeerDestination)}
        for name in peers:
            if name not in config.peers:
                msg = f"peers.{name} has gone from the configuration, and results are sent to it"
                raise ConfigurationError(msg)
            PeerDestination(name, config.peers[name], config.host.ae_title)  # all can be used, or none is
        self.history.reconfigure(config.peers)
        self._counts.reconfigure(peers_with_address(config))
        for name, destination in peers.items():
            destination.reconfigure(config.peers[name])
        self._receiver.allow(allowed)
        self.outbox.retry_now(peers)  # what was wrong with a peer may be mended now
        self._tell("peers were read again")
        if others := self.config.changed_besides_peers(config):
            self._tell(f"{', '.join(others)} changed, too: that needs a restart", logging.WARNING)

    def __enter__(self) -> Host:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Where the host listens: address and port."""
        return self._receiver.address

    def describe(self) -> list[str]:
        """Return what an operator wants to see at the start: pipelines, their AE titles and destinations."""
        where = f"{self.address[0]}:{self.address[1]}"
        lines = [f"{self.config.host.ae_title} listens on {where}, data in {self.data.root}"]
        for configured in self.configured_pipelines.values():
            whose = f"{configured.registration.distribution} {configured.registration.version}"
            where = ", ".join(configured.destinations)
            lines.append(f"  {configured.ae_title:16} {configured.name} ({whose}) -> {where}")
        return lines

    # -- parts --------------------------------------------------------------------------------------------

    def output_class(self, name: str) -> type[PipelineOutput]:
        """Return the class of an output by the name of its entry point.

        Raises
        ------
        PluginError
            When no plugin registers it.
        """
        kind: type[PipelineOutput] = self.registry.load("outputs", name)
        return kind

    def describe_job(
        self, job: JobRecord, configured: ConfiguredPipeline, rows: Iterable[InstanceRecord]
    ) -> JobDescription:
        """Return a job as plain data, for whatever executes it."""
        return describe_job(job, configured, rows, config=self.config, spool=self.spool, data=self.data)

    @property
    def _least_free(self) -> int:
        return jobs_reserve(self.config.host.reserve)

    def _worker_pool(self) -> WorkerPool:
        workers = sum(configured.policy.concurrency for configured in self.configured_pipelines.values())
        if self.config.host.workers is not None:
            workers = min(workers, self.config.host.workers)
        limits = Limits(free=self._least_free)
        return WorkerPool(workers, limits=limits, scratch=self.data.work)

    def _recover(self) -> None:
        retention = self.config.retention
        found = Recovery(
            self.data,
            self.ledger,
            self.spool,
            self.trees,
            self.reception.wanted,
            keep_inputs=retention.inputs > 0,
            keep_results=retention.results > 0,
            remove=self._remover.remove,
        ).run()
        self.recovered = found
        for tree in self.trees.values():
            for key in tree.keys():  # noqa: SIM118 - it is no mapping
                self.gatherer.restored(
                    tree,
                    key,
                    interrupted=found.interrupted.get((tree, key)),
                    sender=found.senders.get((tree, key), ""),
                )
        self.reception.resume(found.unsorted)
        if found.waiting or found.entered or found.lost or found.jobs:
            self._tell(
                f"found {found.waiting} images waiting ({found.entered} not in the ledger,"
                f" {found.quarantined} quarantined, {found.lost} lost), {found.jobs} jobs cut off,"
                f" in {found.seconds:.1f} s"
            )

    def _committed(self, ae_title: str, event_information: Dataset) -> int:
        return self.outbox.take_report(ae_title, event_information)

    def _listen(self, receiver: Receiver) -> None:
        bind = self.config.host.bind
        try:
            receiver.start()
        except OSError as error:
            msg = (
                f"cannot listen on {bind}: {error.strerror}. Stop what uses the port, or set host.bind to"
                " another address"
            )
            raise ListenError(msg) from error
        self._receiver = receiver

    def _orders(self) -> dict[str, Any]:
        """Return what the command line may ask of a running host."""
        return {
            "status": lambda order: self._live_status(patients=bool(order.get("patients"))),
            "explain": lambda order: self._explain(Path(order["file"])),
            **job_orders(self.jobs),
            **container_orders(self.gatherer, self.trees, self.jobs),
            **quarantine_orders(Quarantine(self.ledger, self.spool)),
        }

    def _live_status(self, *, patients: bool) -> dict[str, Any]:
        return live_status(
            ae_title=self.config.host.ae_title,
            address=self.address,
            started=self.started,
            reserve=self.config.host.reserve,
            trees=self.trees.values(),
            gatherer=self.gatherer,
            backoffs=self.outbox.backoffs(),
            unstoppable=self.scheduler.unstoppable,
            patients=patients,
        )

    def _explain(self, file: Path) -> dict[str, Any]:
        return explain(file, self.trees.values(), self.config, self.reception.wanted)

    def _tell(self, message: str, level: int = logging.INFO) -> None:
        whole = f"{self.config.host.ae_title} {host_version()}: {message}"
        self.events.tell(Event(Station.HOST, whole, level=level))


def _all_checked(config: Config, registry: Registry, isolation: Isolation) -> list[ConfiguredPipeline]:
    """Return the configured pipelines, if the receiver can be set up, too: what is wrong is told at once."""
    problems: list[str] = []
    configured_pipelines: list[ConfiguredPipeline] = []
    try:
        configured_pipelines = configure_pipelines(config, registry, isolation)
    except ConfigurationError as error:
        problems.append(str(error))
    try:
        receiver_settings(config)
    except ConfigurationError as error:
        problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return configured_pipelines


class _OwnExecutor:
    """The host's own answer to ``dicomnode_executor``, which comes last."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make

    @hookimpl(trylast=True)
    def dicomnode_executor(self) -> Executor:
        """Make the pool of worker processes."""
        return self._make()


def _destinations(
    config: Config, configured_pipelines: Iterable[ConfiguredPipeline]
) -> dict[str, Destination]:
    """Return every destination that may be named: each peer with an address, and the folders of pipelines."""
    made: dict[str, Destination] = {
        name: PeerDestination(name, peer, config.host.ae_title)
        for name, peer in config.peers.items()
        if peer.address is not None
    }
    for configured in configured_pipelines:
        for name in configured.destinations:
            if name.startswith(FILE_SCHEME):
                made[name] = FolderDestination(name, Path(name.removeprefix(FILE_SCHEME)).expanduser())
    return made


__all__ = ["Host"]
