"""A host in a temporary directory, on a free port, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset

from dicomnode.host.configuration.config import Config
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.host import Host
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.states import JobState
from dicomnode.testing.faults import Faults
from dicomnode.testing.peer import ReceivingPeer
from dicomnode.testing.sending import send

_SETTLED = (JobState.DELIVERED, JobState.FAILED, JobState.UNDELIVERABLE, JobState.DISCARDED)


class LocalHost:
    """A running host and a peer that receives what it delivers.

    Jobs run in worker processes, as they do in a hospital: the pipeline must be installed.

    Parameters
    ----------
    folder : pathlib.Path
        Where its data go; a temporary one.
    pipelines : mapping of str to mapping
        The tables ``[pipelines.NAME]``. Results go to the peer unless a table says otherwise.
    tables : mapping, optional
        Further tables of the configuration.

    Attributes
    ----------
    peer : ReceivingPeer
        The peer ``PACS``. Its ``received`` is what has come so far.
    host : Host
        The host.
    events : list of Event
        What it has reported so far.

    Examples
    --------
    >>> with LocalHost(tmp_path, {"smooth": {"settings": {"sigma": 2.0}}}) as node:  # doctest: +SKIP
    ...     node.send(synthetic_series("CT"))
    ...     node.wait_for_jobs()
    ...     assert len(node.peer.received) == 5
    """

    def __init__(
        self,
        folder: Path,
        pipelines: Mapping[str, Mapping[str, Any]],
        tables: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.peer = ReceivingPeer(folder / "peer", "PACS")
        self.events: list[Event] = []
        self._pipelines = pipelines
        self._tables = tables or {}
        self._changed = threading.Condition()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.peer)
            events = Events()
            events.listen(self._event)
            self.host = Host(self._config(), events=events)
            starting.enter_context(self.host)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _config(self) -> Config:
        tables = {name: dict(table) for name, table in self._tables.items()}
        host = {"bind": "127.0.0.1:0", "data": self.folder / "data", "reserve": 0, "durability": "process"}
        tables["host"] = {**host, **tables.get("host", {})}
        peer = {"PACS": {"ae_title": self.peer.ae_title, "address": self.peer.address}}
        tables["peers"] = {**peer, **tables.get("peers", {})}
        ours = {"destinations": ["PACS"], "attempts": 1}
        tables["pipelines"] = {name: {**ours, **table} for name, table in self._pipelines.items()}
        return Config.model_validate(tables)

    def send(
        self,
        images: Dataset | Iterable[Dataset],
        pipeline: str | None = None,
        *,
        calling_ae_title: str = "SCANNER",
        faults: Faults | None = None,
    ) -> list[int]:
        """Send images to a pipeline (the first one if none is named) and return the C-STORE statuses."""
        name = pipeline or next(iter(self._pipelines))
        return send(
            images,
            self.host.address,
            self.host.configured_pipelines[name].ae_title,
            calling_ae_title=calling_ae_title,
            faults=faults,
        )

    def wait_for_jobs(self, count: int = 1, timeout: float = 60.0) -> list[JobRecord]:
        """Wait until so many jobs are over, and return all that there are.

        Raises
        ------
        AssertionError
            When they are not over in time, or one of them was not delivered; the message says why.
        """
        with self._changed:
            over = self._changed.wait_for(lambda: len(self.host.ledger.jobs(*_SETTLED)) >= count, timeout)
        jobs = self.host.ledger.jobs()
        states = "; ".join(
            f"job {job.id} of {job.pipeline} is {job.state.value}: {job.reason}" for job in jobs
        )
        assert over, f"{count} jobs are not over after {timeout:g} s: {states or 'there is none'}"  # noqa: S101 - a test asked, and pytest shows an assertion best
        assert all(job.state is JobState.DELIVERED for job in jobs[:count]), states  # noqa: S101 - a test asked, and pytest shows an assertion best
        return jobs

    def _event(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


__all__ = ["LocalHost"]
