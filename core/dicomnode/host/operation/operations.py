"""What an operator does to a node: through the host that runs, or on its data directory while none does.

Nothing here imports a plugin or anything of DICOM, so that a node can be looked after however broken a plugin
is, and at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dicomnode.errors import DataDirectoryError
from dicomnode.host.configuration.config import Config
from dicomnode.host.foundation.events import Events
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_schema import SCHEMA_VERSION
from dicomnode.host.operation.control import NotRunningError, ask
from dicomnode.host.operation.operator_name import operator_name
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.host.upkeep.quarantine import Quarantine, quarantine_orders


class Operations:
    """A node as its operator sees it from outside.

    Parameters
    ----------
    config : Config
        The configuration, which says where the data directory is.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data = DataDirectory(Path(config.host.data).expanduser().absolute())

    def ask(self, order: str, **details: Any) -> Any:
        """Give the running host an order; see :func:`~dicomnode.host.operation.control.ask`."""
        return ask(self.data.control, order, **details)

    def live_status(self, *, patients: bool = False) -> dict[str, Any] | None:
        """Return what only the running host knows, or ``None`` when none runs.

        Parameters
        ----------
        patients : bool
            Whether to name the patients that wait.
        """
        try:
            answer: dict[str, Any] = self.ask("status", patients=patients)
        except NotRunningError:
            return None
        return answer

    @contextmanager
    def ledger(self) -> Iterator[LedgerReader]:
        """Give the ledger for reading, whether a host runs or not.

        Raises
        ------
        DataDirectoryError
            When there is none, it cannot be read, or it is of another version than this command line's.
        """
        self._check_there()
        with closing_reader(LedgerReader(self.data.ledger)) as reader:
            version = reader.schema_version()
            if version == SCHEMA_VERSION:
                yield reader
                return
        if version > SCHEMA_VERSION:
            msg = (
                f"the ledger {self.data.ledger} was written by a newer dicomnode-host than this one: use the"
                " command line of that version"
            )
            raise DataDirectoryError(msg)
        with self._held(), closing(Ledger(self.data.ledger)) as ledger:  # brings it up to date
            yield ledger

    def replay(self, number: int, *, rerun: bool = False) -> dict[str, Any]:
        """Do a job again; see :meth:`Jobs.replay <dicomnode.host.jobs.jobs.Jobs.replay>`.

        Returns
        -------
        dict
            ``job``, ``state``, and whether a host is ``running`` to go on with it.

        Raises
        ------
        DicomnodeError
            When it cannot be done; the message says why.
        """
        return self._change("replay", {"job": number, "rerun": rerun})

    def discard(self, number: int, reason: str) -> dict[str, Any]:
        """Give a job up; see :meth:`Jobs.discard <dicomnode.host.jobs.jobs.Jobs.discard>`.

        Returns
        -------
        dict
            As :meth:`replay`.

        Raises
        ------
        DicomnodeError
            When it cannot be done; the message says why.
        """
        return self._change("discard", {"job": number, "reason": _by_operator("discarded", reason)})

    def release_container(self, pipeline: str, container_key: str, reason: str) -> dict[str, Any]:
        """Give up a patient that waits; see :meth:`.Jobs.release_container`.

        Returns
        -------
        dict
            ``pipeline``, ``container_key``, how many ``images`` were released, and whether a host is
            ``running``.

        Raises
        ------
        DicomnodeError
            When it cannot be done; the message says why.
        """
        named = {"pipeline": pipeline, "container_key": container_key}
        images, running = self._ordered("give-up", {**named, "reason": _by_operator("given up", reason)})
        return {**named, "images": images, "running": running}

    def process(
        self, pipeline: str, container_key: str, reason: str, *, series: str | None = None
    ) -> dict[str, Any]:
        """Start a container that waits as it is; see :meth:`.Gatherer.process`.

        Returns
        -------
        dict
            ``pipeline``, and the ``container_key`` of the container that was started.

        Raises
        ------
        DicomnodeError
            When it cannot be done, or no host runs; the message says why.
        """
        named = {"pipeline": pipeline, "container_key": container_key}
        try:
            why = _by_operator("started as it is", reason)
            started: str = self.ask("process", **named, reason=why, series=series)
        except NotRunningError as error:
            self._check_there()
            msg = (
                f"{error}: a container is started by a running host. Start it with `dicomnode-host run`, and"
                " give the order again"
            )
            raise NotRunningError(msg) from error
        return {"pipeline": pipeline, "container_key": started}

    def remove_quarantined(
        self, names: Iterable[str], reason: str, *, older: float | None = None
    ) -> dict[str, Any]:
        """Remove what is quarantined; see :class:`~dicomnode.host.upkeep.quarantine.Quarantine`.

        Parameters
        ----------
        names : iterable of str
            Which files.
        reason : str
            Why.
        older : float, optional
            Instead of names: all that are quarantined more than so many seconds ago.

        Returns
        -------
        dict
            How many were ``removed``, and whether a host is ``running``.

        Raises
        ------
        DicomnodeError
            When it cannot be done; the message says why.
        """
        details = {"names": list(names), "reason": reason, "older": older}
        removed, running = self._ordered("remove quarantined", details)
        return {"removed": removed, "running": running}

    # -- how ----------------------------------------------------------------------------------------------

    def _change(self, order: str, details: Mapping[str, Any]) -> dict[str, Any]:
        state, running = self._ordered(order, details)
        return {"job": details["job"], "state": state, "running": running}

    def _ordered(self, order: str, details: Mapping[str, Any]) -> tuple[Any, bool]:
        """Have an order carried out; return the answer, and whether it is a running host's."""
        try:
            return self.ask(order, **details), True
        except NotRunningError:
            self._check_there()
        with self._held(), closing(Ledger(self.data.ledger)) as ledger:
            quarantine = Quarantine(ledger, SpoolFiles(self.data.spool))
            orders = {**job_orders(self._jobs(ledger)), **quarantine_orders(quarantine)}
            return orders[order](details), False

    def _jobs(self, ledger: Ledger) -> Jobs:
        retention = self.config.retention
        return Jobs(
            ledger=ledger,
            spool=SpoolFiles(self.data.spool),
            outbox=self.data.outbox,
            trees={},
            events=Events(),
            job_events=JobEvents(),
            keep_inputs=retention.inputs > 0,
            keep_results=retention.results > 0,
        )

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the data directory, so that no host starts on it meanwhile."""
        try:
            self.data.lock()
        except DataDirectoryError as error:
            msg = f"{error}. (It takes no orders: it is just starting or stopping. Try again)"
            raise DataDirectoryError(msg) from error
        try:
            yield
        finally:
            self.data.unlock()

    def _check_there(self) -> None:
        if not self.data.ledger.is_file():
            msg = (
                f"there is no host, and no data of one, in {self.data.root}. Name the configuration of the"
                " host (--config FILE, or DICOMNODE_CONFIG); its host.data says where the data are"
            )
            raise DataDirectoryError(msg)


def _by_operator(done: str, reason: str) -> str:
    """Return a reason as it is recorded: what was done, by whom, and why."""
    return f"{done} by {operator_name()}: {reason}"


def job_orders(jobs: Jobs) -> dict[str, Any]:
    """Return what the operator may have done to a job, or to a patient that waits: order -> callable."""
    return {
        "replay": lambda order: jobs.replay(int(order["job"]), rerun=bool(order.get("rerun"))).state,
        "discard": lambda order: jobs.discard(int(order["job"]), str(order["reason"])).state,
        "give-up": lambda order: jobs.release_recorded(
            str(order["pipeline"]), str(order["container_key"]), str(order["reason"])
        ),
    }


@contextmanager
def closing_reader(reader: LedgerReader) -> Iterator[LedgerReader]:
    """Close this thread's connection to a ledger at the end."""
    try:
        yield reader
    finally:
        reader.close_reader()
