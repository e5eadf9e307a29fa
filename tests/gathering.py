"""A node between its spool and its jobs, without network, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from pydicom.dataset import Dataset

from dicomnode import AbstractPipeline
from dicomnode.host.configuration.config import HostTable, PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, StoreRequest
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.reception import Reception
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.ledger_writes import job_built, transition_job
from dicomnode.host.ledger.states import InstanceState, JobState
from dicomnode.host.ledger.unprocessed_ledger import (
    UnprocessedSeries,
    unprocessed_counts,
    unprocessed_series,
)
from dicomnode.host.parsing.file_meta import FileMeta
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.recovery import Recovered, Recovery
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from raw_peer import EXPLICIT, MR
from receiving import encoded, small_dataset

NAME, TITLE = "gathering", "GATHERING"
SETTLE, OPEN_WAIT = 5.0, 120.0


class Node:
    """Spool, ledger, trees, jobs, gatherer and reception of one pipeline; nothing runs its jobs.

    What is due is done on the thread of the test, when it lets time pass.

    Parameters
    ----------
    root : pathlib.Path
        Where its data directory is, or is made.
    pipeline : type of AbstractPipeline
    **table
        What the configuration says of the pipeline.
    """

    def __init__(self, root: Path, pipeline: type[AbstractPipeline], **table: Any) -> None:
        self.root, self._kind, self._table = root, pipeline, table
        self.now = 1000.0
        self.events: list[Event] = []
        self.changed: list[JobRecord] = []
        self.came: list[str] = []
        self.asked: list[tuple[str, str]] = []
        """Peer and series of each question how many images there are."""
        self.peer_counts: dict[str, int] = {}
        """Series -> what every peer answers; nothing of others."""
        self.unanswered: list[Callable[[], None]] | None = None
        """Answers that are kept back, where it is a list."""
        self.data = DataDirectory(root / "data").lock()
        self._start()

    def _start(self) -> None:
        registration: Any = SimpleNamespace(name=NAME, distribution=NAME, version="1")
        self.configured = ConfiguredPipeline(
            name=NAME,
            pipeline=self._kind(),
            ae_title=TITLE,
            destinations=(),
            table=PipelineTable(**self._table),
            registration=registration,
            host=HostTable(settle=SETTLE, open_association_wait=OPEN_WAIT),
        )
        self.ledger = Ledger(self.data.ledger, durable=False)
        self.spool = Spool(self.data.spool, "process")
        self.waiting = WaitingImages(self.configured, Hooks(Registry(only=())), self.clock)
        self.timer = TimerThread("test", self.clock)
        events = Events()
        events.listen(self.events.append)
        self.jobs = Jobs(
            ledger=self.ledger,
            spool=self.spool,
            outbox=self.data.outbox,
            trees={NAME: self.waiting},
            events=events,
            job_events=JobEvents(),
            job_changed=self.changed.append,
        )
        self.gatherer = Gatherer(
            [self.waiting],
            self.jobs,
            events,
            self.timer,
            image_came=lambda waiting, container_key: self.came.append(container_key),
            ask_count=self._ask_count,
        )
        self.reception = Reception(
            [self.waiting],
            host_title="HOST",
            spool=self.spool,
            ledger=self.ledger,
            gatherer=self.gatherer,
            events=events,
        )

    def close(self) -> None:
        """Let go of the data directory."""
        self.reception.close()
        self.ledger.close()
        self.data.unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restart(self) -> Recovered:
        """Start anew on what is in the ledger and on the disk; associations that are open stay so."""
        self.reception.close()
        self.ledger.close()
        self.events.clear()
        self._start()
        trees = {NAME: self.waiting}
        found = Recovery(self.data, self.ledger, self.spool, trees, self.reception.wanted).run()
        for key in self.waiting.keys():  # noqa: SIM118 - it is no mapping
            container = self.waiting, key
            interrupted, sender = found.interrupted.get(container), found.senders.get(container, "")
            self.gatherer.restored(*container, interrupted=interrupted, sender=sender)
        self.reception.resume(found.unsorted)
        self.reception.flush()
        self.timer.run_due()
        return found

    def _ask_count(
        self, peer: str, study: str, series: str, answered: Callable[[int | None, str], None]
    ) -> None:
        self.asked.append((peer, series))
        answer = partial(answered, self.peer_counts.get(series), "it does not know the series")
        if self.unanswered is None:
            answer()
        else:
            self.unanswered.append(answer)

    # -- time ---------------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def let_pass(self, seconds: float = 0.0) -> None:
        """Let time pass, and do each thing when it is due."""
        end = self.now + seconds
        while (wait := self.timer.run_due()) is not None and self.now + wait <= end:
            self.now += wait
        self.now = end
        self.timer.run_due()

    # -- senders ------------------------------------------------------------------------------------------

    def send(self, *images: Dataset, association: str = "a") -> list[int]:
        """Send images over an association; return the statuses."""
        return [int(self.answer(image, association).status) for image in images]

    def answer(self, image: Dataset, association: str = "a") -> StoreResponse:
        """Send an image over an association; return the answer."""
        uid = str(image.SOPInstanceUID)
        writer = self.spool.new(FileMeta(MR, uid, EXPLICIT, "SENDER", TITLE))
        writer.write([encoded(image)])
        spooled = writer.finish()
        _, index = self.spool.read_index(spooled.path, self.reception.wanted)
        request = StoreRequest(self.association(association), 1, MR, uid, EXPLICIT)
        try:
            response = self.reception.received(request, index, spooled)
        finally:
            spooled.discard()
        return response

    def association(self, name: str) -> AssociationInfo:
        """Return what the receiver says of an association."""
        return AssociationInfo(name, "SENDER", TITLE, "127.0.0.1", datetime.now(UTC))

    def release(self, *names: str) -> None:
        """Release associations."""
        for name in names or ("a",):
            self.reception.release_requested(self.association(name))
            self.reception.association_ended(self.association(name), AssociationEnd.RELEASED)
        self.timer.run_due()

    def abort(self, name: str = "a") -> None:
        """Abort an association."""
        self.reception.association_ended(self.association(name), AssociationEnd.ABORTED)
        self.timer.run_due()

    def deliver(self, number: int) -> None:
        """End a job as if its result had been built and delivered."""
        self.ledger.write(transition_job(number, JobState.RUNNING, ""))
        self.ledger.write(job_built(number, "", []))
        self.jobs.settle(number)

    def fail(self, number: int) -> None:
        """Let a job fail for good."""
        self.ledger.write(transition_job(number, JobState.RUNNING, ""))
        self.ledger.write(transition_job(number, JobState.FAILED, "it raised"))

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key of the only container that waits."""
        (key,) = self.waiting.keys()
        return key

    def job_images(self) -> list[set[str]]:
        """Return the SOP Instance UIDs of each job, the oldest first."""
        return [
            {row.SOPInstanceUID for row in self.ledger.instances(job=job.id)} for job in self.ledger.jobs()
        ]

    def states(self) -> dict[str, str]:
        """Return SOP Instance UID -> state, of all rows."""
        self.ledger.flush()
        return {row.SOPInstanceUID: row.state.value for row in self.ledger.instances(*InstanceState)}

    def held(self) -> dict[str, str]:
        """Return container key -> why it is held, of those that are."""
        views = self.gatherer.views(self.waiting).values()
        return {view.container_key: view.hold.why for view in views if view.hold is not None}

    def messages(self, level: int) -> list[str]:
        """Return what was told at a level."""
        return [event.message for event in self.events if event.level == level]

    def counted(self) -> dict[str, int]:
        """Return outcome -> number of the images that no job gets, without zeros."""
        self.ledger.flush()
        with self.ledger.snapshot() as connection:
            counts = unprocessed_counts(connection).get(NAME, {})
        return {outcome.value: count for outcome, count in counts.items() if count}

    def unprocessed(self) -> list[UnprocessedSeries]:
        """Return the series that no job gets."""
        self.ledger.flush()
        with self.ledger.snapshot() as connection:
            return unprocessed_series(connection)


def series(count: int, uid: str = "1.2.3", patient: str = "P1", **values: Any) -> list[Dataset]:
    """Return the images of a series: SOP Instance UIDs end in .0, .1 and so on."""
    made = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": uid, "PatientID": patient}
    return [
        small_dataset(**{**made, "SOPInstanceUID": f"{uid}.{number}", "InstanceNumber": number, **values})
        for number in range(count)
    ]


def uids(images: Iterable[Dataset]) -> set[str]:
    """Return the SOP Instance UIDs of images."""
    return {str(image.SOPInstanceUID) for image in images}


__all__ = ["NAME", "OPEN_WAIT", "SETTLE", "TITLE", "Node", "series", "uids"]
