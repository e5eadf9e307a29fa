"""Help for tests of delivery: jobs whose results lie in an outbox, destinations that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicomnode.host.configuration.config import DeliveryTable, PeerTable
from dicomnode.host.delivery.outbox import Outbox
from dicomnode.host.delivery.peer_destination import PeerDestination
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import create_job, end_job, job_built, transition_job
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.pipeline.destination import Delivery, Destination, OutboxItem, Outcome
from dicomnode.pipeline.outputs import DicomOutput, FileOutput, PipelineOutput
from receiving import small_dataset

SHORT = DeliveryTable(first_retry=0.05, longest_retry=0.4)
"""Back-offs for tests: seconds where the field has minutes."""

CLASSES: Mapping[str, type[PipelineOutput]] = {"dicom": DicomOutput, "file": FileOutput}


class Double:
    """A destination that does as it is told, and remembers what it was given.

    Parameters
    ----------
    name : str
    answer : callable, optional
        Item -> outcome. It may raise. Everything is confirmed where it is not given.
    """

    takes_files = True

    def __init__(self, name: str = "double", answer: Callable[[OutboxItem], Outcome] | None = None) -> None:
        self.name, self.answer = name, answer or (lambda item: Outcome(Delivery.CONFIRMED))
        self.given: list[OutboxItem] = []
        self.rounds = 0
        self.broken_off = threading.Event()

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Answer each item."""
        self.rounds += 1
        for item in items:
            self.given.append(item)
            yield item, self.answer(item)

    def break_off(self) -> None:
        """Remember it."""
        self.broken_off.set()

    @property
    def uids(self) -> list[str]:
        """What was given, by SOP Instance UID or file name, in order."""
        return [item.SOPInstanceUID or item.file_name for item in self.given]


@dataclass
class Deliveries:
    """A ledger and an outbox folder, with jobs to deliver."""

    directory: Path
    ledger: Ledger
    events: list[Event] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    job_events: JobEvents = field(default_factory=JobEvents)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def root(self) -> Path:
        """The outbox."""
        return self.directory / "outbox"

    def job(self, output: PipelineOutput, *destinations: str) -> int:
        """Enter a job that was built, its output written, and return its number."""
        number = self.ledger.write(create_job("identity", "pipeline", "patient", ())).id
        folder = self.root / str(number)
        folder.mkdir(parents=True)
        items = [item.to_json(self.root) for item in output.write(folder)]
        self.ledger.write(transition_job(number, JobState.RUNNING, ""))
        plan = [(destination, item) for item in items for destination in destinations]
        self.ledger.write(job_built(number, str(number), plan))
        return number

    def images(self, count: int, *destinations: str, **values: Any) -> tuple[int, list[str]]:
        """Enter a job of so many images; return its number and their UIDs."""
        datasets = [small_dataset(**values) for _ in range(count)]
        return self.job(DicomOutput(datasets), *destinations), [each.SOPInstanceUID for each in datasets]

    def states(self, job: int | None = None) -> dict[DeliveryState, int]:
        """Count deliveries by state."""
        counts: dict[DeliveryState, int] = {}
        for record in self.ledger.deliveries(job=job):
            counts[record.state] = counts.get(record.state, 0) + 1
        return counts

    def settle(self, job: int) -> None:
        """End a job as the host does."""
        dead = self.ledger.deliveries(DeliveryState.DEAD, job=job)
        if dead:
            self.ledger.write(transition_job(job, JobState.UNDELIVERABLE, dead[0].reason))
        else:
            self.ledger.write(end_job(job, JobState.DELIVERED, "delivered"))
        with self.changed:
            self.settled.append(job)
            self.changed.notify_all()

    def note(self, event: Event) -> None:
        """Remember an event."""
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_settled(self, *jobs: int, seconds: float = 30) -> None:
        """Wait until jobs are settled."""
        with self.changed:
            assert self.changed.wait_for(lambda: set(jobs) <= set(self.settled), seconds), (
                self.settled,
                [(each.destination, each.state, each.reason) for each in self.ledger.deliveries()],
                self.events,
            )

    def wait_event(self, text: str, seconds: float = 30) -> Event:
        """Wait for an event whose message holds a text."""

        def found() -> list[Event]:
            return [event for event in self.events if text in event.message]

        with self.changed:
            assert self.changed.wait_for(found, seconds), self.events
            return found()[0]

    @contextmanager
    def outbox(
        self,
        *destinations: Destination,
        classes: Mapping[str, type[PipelineOutput]] = CLASSES,
        settings: DeliveryTable = SHORT,
        grace: float = 5.0,
    ) -> Iterator[Outbox]:
        """Run an outbox."""
        events = Events()
        events.listen(self.note)
        outbox = Outbox(
            self.root,
            self.ledger,
            {each.name: each for each in destinations},
            classes.__getitem__,
            events=events,
            settings=settings,
            settled=self.settle,
            job_events=self.job_events,
        )
        outbox.start()
        try:
            yield outbox
        finally:
            outbox.stop(grace)


@contextmanager
def deliveries(directory: Path) -> Iterator[Deliveries]:
    """Open a ledger."""
    ledger = Ledger(directory / "ledger.sqlite", durable=False)
    try:
        yield Deliveries(directory, ledger)
    finally:
        ledger.close()


def peer(port: int, ae_title: str = "PACS", name: str = "PACS", **values: Any) -> PeerDestination:
    """Return a peer on the loopback interface as a destination."""
    table = PeerTable(ae_title=ae_title, address=f"127.0.0.1:{port}", **{"timeout": 1, **values})
    return PeerDestination(name, table, "DICOMNODE")


def asked_with(request: bytes) -> Dataset:
    """Return the data set of an N-ACTION that asks for storage commitment."""
    return read_dataset(BytesIO(request), is_implicit_VR=False, is_little_endian=True)


def commitment_report(committed: Iterable[str], failed: Mapping[str, int], transaction: str) -> Dataset:
    """Return the Event Information of a report about storage commitment (PS3.4 table J.3-3)."""
    made = Dataset()
    made.TransactionUID = transaction
    made.ReferencedSOPSequence = [_reference(each) for each in committed]
    if failed:
        made.FailedSOPSequence = [_reference(each, reason) for each, reason in failed.items()]
    return made


def _reference(instance: str, reason: int | None = None) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", instance
    if reason is not None:
        made.FailureReason = reason
    return made


def deliver_until_killed(directory: str, port: int, ready: Any) -> None:
    """Run an outbox on what is in a directory, in a process of its own, towards Orthanc."""
    with deliveries(Path(directory)) as work, work.outbox(peer(port, "ORTHANC")):
        ready.set()
        time.sleep(60)
