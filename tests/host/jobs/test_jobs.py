"""The life of jobs: made, joined by late images, settled, expired; ledger, tree and files agree."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import DataDirectoryError, InputsIncompleteError, JobStateError
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.job_identity import job_identity
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.history_ledger import begin_history, open_histories
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    begin_association,
    job_built,
    transition_delivery,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from receiving import small_dataset

P1 = "P1"


class Images(AbstractInput):
    """Two images at least."""

    several_series = several_studies = True

    def validate(self) -> str | None:
        return None if len(self) >= 2 else "fewer than two"


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"images": Images}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class Bench:
    """A ledger, a spool, a tree of one pipeline, and Jobs upon them."""

    def __init__(self, root: Path, *, tree: bool = True, **options: Any) -> None:
        self.root, self.now = root, 100.0
        self.spool = SpoolFiles(root / "spool", durable=False)
        (root / "spool" / "kept").mkdir(parents=True)
        self.outbox = root / "outbox"
        self.outbox.mkdir()
        self.ledger = Ledger(root / "ledger.sqlite", durable=False)
        self.ledger.write(begin_association("a1", "SCANNER", "TWO", "127.0.0.1", 1.0))
        registration: Any = SimpleNamespace(name="two", distribution="two", version="1")
        configured = ConfiguredPipeline(
            name="two", pipeline=Pipeline(), ae_title="TWO", destinations=(),
            table=PipelineTable(late_images=options.pop("late_images", "new")), registration=registration,
        )  # fmt: skip
        self.tree = PipelineTree(configured, Hooks(Registry(only=())), lambda: self.now)
        self.told: list[Event] = []
        self.changed: list[JobRecord] = []
        events = Events()
        events.listen(self.told.append)
        self.job_events = JobEvents()
        self.notified: list[tuple[str, object]] = []
        self.job_events.queued.subscribe(lambda: self.notified.append(("queued", None)))
        self.job_events.withdrawn.subscribe(lambda job: self.notified.append(("withdrawn", job)))
        self.jobs = Jobs(
            ledger=self.ledger, spool=self.spool, outbox=self.outbox, events=events,
            trees={"two": self.tree} if tree else {}, job_events=self.job_events,
            job_changed=self.changed.append, **options,
        )  # fmt: skip

    def image(self, uid: str, patient: str = P1) -> Path:
        """Let an image come, as a sender's association would bring it."""
        path = self.spool.path_of(f"kept/{uid}.dcm")
        dataset = small_dataset(SOPInstanceUID=uid, PatientID=patient)
        dataset.save_as(path)
        image = LazyDataset(path, {0x00080018: uid, 0x00100020: patient})
        record = InstanceRecord(
            path=f"kept/{uid}.dcm", pipeline="two", container_key=patient, inputs=("images",),
            SOPInstanceUID=uid, index={0x00080018: uid}, received=1.0, association="a1",
        )  # fmt: skip
        placement = self.tree.place(image)
        self.tree.insert(image, placement, lambda: self.ledger.write(add_instance(record)))
        return path

    def patient(self, *uids: str) -> str:
        """Let a whole patient come; return its key."""
        for uid in uids or ("1.1", "1.2"):
            self.image(uid)
        return self.tree.keys()[0]

    def states(self) -> dict[str, InstanceState]:
        """Return the states of all instances by their UID."""
        return {row.SOPInstanceUID: row.state for row in self.ledger.instances(*InstanceState)}

    def files(self) -> list[str]:
        """Return the names of the files in the spool."""
        return sorted(path.stem for path in (self.root / "spool" / "kept").iterdir())

    def fail_writes(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        """Let nothing be entered in the ledger."""

        def failing(_write: object) -> None:
            raise error

        monkeypatch.setattr(self.ledger, "write", failing)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Yield a maker of benches; their ledgers are closed at the end."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


WAITING, IN_JOB = InstanceState.WAITING, InstanceState.IN_JOB
RELEASED, EXPIRED = InstanceState.RELEASED, InstanceState.EXPIRED
LOCKED = sqlite3.OperationalError("database is locked")


# -- making -------------------------------------------------------------------------------------------------


def test_a_patient_becomes_a_job(bench: Callable[..., Bench]) -> None:
    """Its images are the job's in the ledger, out of the tree and still known; everybody is told."""
    on = bench()
    key = on.patient()
    record = on.jobs.create(on.tree, key)
    assert (record.pipeline, record.container_key, record.state) == ("two", key, JobState.QUEUED)
    assert record.identity == job_identity("two", key, ["1.1", "1.2"], on.tree.configured.content)
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB}
    assert {row.SOPInstanceUID for row in on.ledger.instances(job=record.id)} == {"1.1", "1.2"}
    assert on.tree.keys() == []
    assert on.tree.held("1.1") == on.spool.path_of("kept/1.1.dcm")
    assert on.notified == [("queued", None)]
    assert on.changed == [record]
    (event,) = on.told
    assert (event.station, event.message, event.level) == (Station.JOB, "queued with 2 images", logging.INFO)
    assert (event.pipeline, event.job, event.association) == ("two", str(record.id), "a1")


def test_a_patient_that_lacks_images_stays(bench: Callable[..., Bench]) -> None:
    """What is missing is said, and nothing has changed."""
    on = bench()
    key = on.patient("1.1")
    with pytest.raises(InputsIncompleteError, match="fewer than two"):
        on.jobs.create(on.tree, key)
    assert on.states() == {"1.1": WAITING}
    assert (on.tree.keys(), on.ledger.jobs(), on.told, on.notified) == ([key], [], [], [])


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (LOCKED, DataDirectoryError, "the ledger cannot be written: database is locked"),
        (ValueError("odd"), DataDirectoryError, "the ledger cannot be written: odd"),
        (ZeroDivisionError("a fault"), ZeroDivisionError, "a fault"),
    ],
)
def test_a_job_that_cannot_be_entered(
    bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    said: str,
) -> None:
    """The images wait as before, in their inputs and with their age."""
    on = bench()
    key = on.patient()
    on.now += 50
    on.fail_writes(monkeypatch, error)
    with pytest.raises(raised, match=said):
        on.jobs.create(on.tree, key)
    assert on.tree.keys() == [key]
    assert on.tree.quiet_for(key) == 50
    assert on.tree.missing(key) is None
    assert (on.told, on.notified) == ([], [])


def test_the_history_of_a_patient_ends_with_its_job(bench: Callable[..., Bench]) -> None:
    """What was fetched for it is over, in the ledger and in the tree."""
    on = bench()
    key = on.patient()
    status = HistoryStatus(HistoryState.FETCHED, "PACS", "", "P1", frozenset())
    on.ledger.write(begin_history("two", key, "images", status))
    on.tree.set_history(key, "images", status)
    on.jobs.create(on.tree, key)
    with on.ledger.snapshot() as connection:
        assert open_histories(connection) == []
    assert on.tree.history(key, "images") is None


# -- late images --------------------------------------------------------------------------------------------


def test_late_images_join_a_job_that_has_no_result(bench: Callable[..., Bench]) -> None:
    """The job is given up, and all its images wait again with the late one."""
    on = bench(late_images="join")
    key = on.patient()
    first = on.jobs.create(on.tree, key)
    on.image("1.3")
    on.told.clear()
    on.jobs.join_late(on.tree, key)
    assert on.states() == {"1.1": WAITING, "1.2": WAITING, "1.3": WAITING}
    assert on.ledger.job(first.id).state is JobState.DISCARDED
    assert ("withdrawn", first.id) in on.notified
    assert [event.message for event in on.told] == ["images that came late joined: a new job takes its place"]
    second = on.jobs.create(on.tree, key)
    assert {row.SOPInstanceUID for row in on.ledger.instances(job=second.id)} == {"1.1", "1.2", "1.3"}


def test_late_images_wait_where_the_pipeline_wants_that(bench: Callable[..., Bench]) -> None:
    """Without "join" the job stays, and so do those of another patient and those without a late image."""
    on = bench(late_images="new")
    key = on.patient()
    on.jobs.create(on.tree, key)
    on.image("1.3")
    on.jobs.join_late(on.tree, key)
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB, "1.3": WAITING}
    on = bench(late_images="join")
    key = on.patient()
    on.jobs.create(on.tree, key)
    on.jobs.join_late(on.tree, key)  # nothing came late
    on.image("2.1", "P2")
    on.jobs.join_late(on.tree, next(iter(on.tree.keys())))
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB, "2.1": WAITING}


def test_late_images_join_no_result(bench: Callable[..., Bench]) -> None:
    """A job that was built in the meantime is not given up, and its images are not put back."""
    on = bench(late_images="join")
    key = on.patient()
    first = on.jobs.create(on.tree, key)
    on.image("1.3")
    jobs = on.ledger.jobs(JobState.QUEUED)
    on.ledger.write(transition_job(first.id, JobState.RUNNING, ""))
    on.ledger.write(job_built(first.id, "job", []))
    on.ledger.jobs = lambda *states: jobs  # type: ignore[method-assign]  # read a moment earlier
    on.jobs.join_late(on.tree, key)
    assert on.ledger.job(first.id).state is JobState.BUILT
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB, "1.3": WAITING}
    assert ("withdrawn", first.id) not in on.notified


def test_late_images_that_do_not_fit_join_nothing(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an input cannot hold both, the job keeps its images."""
    on = bench(late_images="join")
    key = on.patient()
    first = on.jobs.create(on.tree, key)
    on.image("1.3")
    monkeypatch.setattr(on.tree, "fits", lambda container_key, images: False)
    on.jobs.join_late(on.tree, key)
    assert on.ledger.job(first.id).state is JobState.QUEUED


# -- the end ------------------------------------------------------------------------------------------------


def built(on: Bench, *destinations: str) -> int:
    """Make a job, and the result of it."""
    number = on.jobs.create(on.tree, on.patient()).id
    on.ledger.write(transition_job(number, JobState.RUNNING, ""))
    folder = on.outbox / f"job-{number}"
    folder.mkdir()
    on.ledger.write(job_built(number, folder.name, [(name, {"output": "dicom"}) for name in destinations]))
    on.told.clear()
    on.changed.clear()
    return number


def enter(on: Bench, job: int, *states: DeliveryState) -> None:
    for delivery, state in zip(on.ledger.deliveries(job=job), states, strict=True):
        on.ledger.write(transition_delivery(delivery.id, state, "why"))


def test_a_delivered_job_needs_nothing_any_more(bench: Callable[..., Bench]) -> None:
    """Inputs and result are removed, the tree forgets the images, which may come again."""
    on = bench()
    number = built(on, "PACS")
    enter(on, number, DeliveryState.CONFIRMED)
    on.jobs.settle(number)
    assert on.ledger.job(number).state is JobState.DELIVERED
    assert on.states() == {"1.1": RELEASED, "1.2": RELEASED}
    assert (on.files(), list(on.outbox.iterdir()), on.tree.held("1.1")) == ([], [], None)
    assert list(on.spool.released.notes()) == []
    (event,) = on.told
    assert event.message == "every destination confirmed; 2 inputs released"
    assert (event.station, event.level, event.detail) == (Station.DELIVERED, logging.INFO, "")
    assert [job.state for job in on.changed] == [JobState.DELIVERED]


def test_what_is_kept_of_a_delivered_job(bench: Callable[..., Bench]) -> None:
    """Inputs that are kept are noted as released, and a result that is kept stays."""
    on = bench(keep_inputs=True, keep_results=True)
    number = built(on, "PACS")
    enter(on, number, DeliveryState.CONFIRMED)
    on.jobs.settle(number)
    assert on.files() == ["1.1", "1.2"]
    assert [path.name for path in on.outbox.iterdir()] == [f"job-{number}"]
    (note,) = on.spool.released.notes()
    assert note.files == {"kept/1.1.dcm", "kept/1.2.dcm"}
    assert on.tree.held("1.1") is None


def test_a_note_that_cannot_be_written_is_no_reason_to_stop(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job ends, and the log says what the next start makes up for."""
    on = bench(keep_inputs=True)
    number = built(on, "PACS")
    enter(on, number, DeliveryState.CONFIRMED)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(on.spool.released, "note", full)
    on.jobs.settle(number)
    assert on.ledger.job(number).state is JobState.DELIVERED
    assert "could not be noted: No space left on device" in caplog.text


def test_a_job_with_dead_letters_waits_for_the_operator(bench: Callable[..., Bench]) -> None:
    """Inputs and result stay; who refused how many is said."""
    on = bench()
    number = built(on, "PACS", "ARCHIVE", "PACS", "OTHER")
    enter(on, number, DeliveryState.DEAD, DeliveryState.DEAD, DeliveryState.DEAD, DeliveryState.CONFIRMED)
    on.jobs.settle(number)
    job = on.ledger.job(number)
    assert (job.state, job.reason) == (JobState.UNDELIVERABLE, "3 refused for good by ARCHIVE, PACS")
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB}
    assert on.files() == ["1.1", "1.2"]
    assert len(list(on.outbox.iterdir())) == 1
    (event,) = on.told
    assert event.message == "dead letter: 3 refused for good by ARCHIVE, PACS"
    assert (event.station, event.level) == (Station.UNDELIVERED, logging.ERROR)


def test_words_of_the_operator_stay_out_of_the_message(bench: Callable[..., Bench]) -> None:
    """They may name a patient: they are the job's reason, and detail of what is told."""
    on = bench()
    number = built(on, "PACS")
    record = on.jobs.discard(number, "Mr Smith moved")
    assert record.reason == "Mr Smith moved"
    (event,) = on.told
    assert event.message == "discarded by the operator; 2 inputs released"
    assert (event.detail, event.station) == ("Mr Smith moved", Station.RELEASED)
    assert ("withdrawn", number) in on.notified


def test_a_state_that_changed_in_this_very_moment(bench: Callable[..., Bench]) -> None:
    """An order that came too late is refused in the words of the state, and nothing is removed."""
    on = bench()
    number = built(on, "PACS")
    stale = on.ledger.job(number)
    enter(on, number, DeliveryState.CONFIRMED)
    on.jobs.settle(number)
    on.ledger.job = lambda _number: stale  # type: ignore[method-assign]  # read a moment earlier
    with pytest.raises(JobStateError, match="may not go from delivered to discarded"):
        on.jobs.discard(number, "too late")


# -- patients that wait -------------------------------------------------------------------------------------


def test_a_patient_that_waited_too_long_expires(bench: Callable[..., Bench]) -> None:
    """Its images are removed and may come again; its history is over; it is told with the time."""
    on = bench()
    key = on.patient("1.1")
    status = HistoryStatus(HistoryState.FAILED, "PACS", "", "P1", frozenset())
    on.ledger.write(begin_history("two", key, "images", status))
    on.tree.set_history(key, "images", status)
    on.jobs.expire(on.tree, key, 60)
    assert on.states() == {"1.1": WAITING}
    on.now += 60
    on.jobs.expire(on.tree, key, 60)
    assert on.states() == {"1.1": EXPIRED}
    (row,) = on.ledger.instances(*InstanceState)
    assert row.reason == "no image came for 60 s"
    assert (on.files(), on.tree.keys(), on.tree.held("1.1")) == ([], [], None)
    assert on.tree.history(key, "images") is None
    with on.ledger.snapshot() as connection:
        assert open_histories(connection) == []
    (event,) = on.told
    assert event.message == "1 image expired: no image came for 60 s"
    assert (event.station, event.level, event.pipeline) == (Station.RELEASED, logging.WARNING, "two")


def test_an_expiry_that_cannot_be_entered(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images wait as before, with their age and their files."""
    on = bench()
    key = on.patient("1.1")
    on.now += 60
    on.fail_writes(monkeypatch, LOCKED)
    with pytest.raises(sqlite3.OperationalError):
        on.jobs.expire(on.tree, key, 60)
    assert on.tree.quiet_for(key) == 60
    assert on.files() == ["1.1"]
    assert on.told == []


def test_a_patient_is_given_up_on_the_operators_word(bench: Callable[..., Bench]) -> None:
    """However short it waited; the words are kept beside the message."""
    on = bench()
    key = on.patient()
    assert on.jobs.release_container("two", key, "Mr Smith moved") == 2
    assert on.states() == {"1.1": EXPIRED, "1.2": EXPIRED}
    assert {row.reason for row in on.ledger.instances(*InstanceState)} == {"Mr Smith moved"}
    assert on.files() == []
    (event,) = on.told
    assert (event.message, event.detail) == ("2 images given up by the operator", "Mr Smith moved")
    with pytest.raises(JobStateError, match="no patient 'P1' waits for the pipeline 'two'"):
        on.jobs.release_container("two", key, "again")


def test_a_patient_is_given_up_without_a_host(bench: Callable[..., Bench]) -> None:
    """By the ledger alone: only what waits for this patient and this pipeline is removed."""
    on = bench(tree=False)
    key = on.patient()
    on.image("2.1", "P2")
    for pipeline, patient in (("two", "P3"), ("other", key)):
        with pytest.raises(JobStateError, match="waits for the pipeline"):
            on.jobs.release_container(pipeline, patient, "why")
    assert on.jobs.release_container("two", key, "why") == 2
    assert on.states() == {"1.1": EXPIRED, "1.2": EXPIRED, "2.1": WAITING}
    assert on.files() == ["2.1"]
