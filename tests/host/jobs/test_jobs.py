"""The life of jobs: made, run again, joined by late images, settled, dropped; ledger, tree, files agree."""

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
from dicomnode.host.gathering.messages import Drop, EarlierState, RunAgain, StartJob
from dicomnode.host.gathering.waiting_images import WaitingImages
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
from dicomnode.host.ledger.unprocessed_ledger import Outcome, unprocessed_series
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from receiving import small_dataset

P1, SERIES = "P1", "1.2.3"


class Images(AbstractInput):
    """Two images at least."""

    several_series = several_studies = True

    def validate(self) -> str | None:
        return None if len(self) >= 2 else "fewer than two"


class Marked(AbstractInput):
    """Those whose SOP Instance UID begins with a 3, and that the other input takes, too."""

    optional = several_series = several_studies = True

    def validate_image(self, image: Any) -> bool:
        return str(image.SOPInstanceUID).startswith("3")


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"images": Images, "marked": Marked}
    gather_by = "patient"

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
            table=PipelineTable(), registration=registration,
        )  # fmt: skip
        self.tree = WaitingImages(configured, Hooks(Registry(only=())), lambda: self.now)
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

    def image(self, uid: str, patient: str = P1, name: str = "") -> Path:
        """Let an image come, as a sender's association would bring it; under another name when again."""
        file = f"kept/{name or uid}.dcm"
        path = self.spool.path_of(file)
        dataset = small_dataset(SOPInstanceUID=uid, PatientID=patient, SeriesInstanceUID=SERIES)
        dataset.save_as(path)
        image = LazyDataset(path, {0x00080018: uid, 0x00100020: patient})
        placement = self.tree.place(image)
        record = InstanceRecord(
            path=file, pipeline="two", container_key=patient, inputs=placement.inputs, SOPInstanceUID=uid,
            index={0x00080018: uid, 0x0020000E: SERIES}, received=1.0, association="a1",
        )  # fmt: skip
        self.tree.insert(image, placement, lambda: self.ledger.write(add_instance(record)))
        return path

    def patient(self, *uids: str) -> str:
        """Let a whole patient come; return its key."""
        for uid in uids or ("1.1", "1.2"):
            self.image(uid)
        return self.tree.keys()[0]

    def start(self, key: str = P1, *left_out: str, **values: Any) -> StartJob:
        """Return the decision to make a job of all that waits for a patient, but for some."""
        uids = tuple(uid for uid in self.tree.members(key) if uid not in left_out)
        inputs = {"images": uids, "marked": tuple(uid for uid in uids if uid.startswith("3"))}
        return StartJob(key, inputs, frozenset(left_out), "every input is complete", **values)

    def create(self, key: str = P1, *left_out: str, **values: Any) -> JobRecord:
        """Make a job of all that waits for a patient, but for some."""
        return self.jobs.create(self.tree, self.start(key, *left_out, **values))

    def states(self) -> dict[str, InstanceState]:
        """Return the states of all instances by their UID."""
        return {row.SOPInstanceUID: row.state for row in self.ledger.instances(*InstanceState)}

    def discarded(self) -> list[tuple[str, str, int]]:
        """Return series, reason and number of the images that were discarded, as `status` shows them."""
        with self.ledger.snapshot() as connection:
            found = unprocessed_series(connection)
        assert {each.outcome for each in found} <= {Outcome.DISCARDED}
        return [(each.SeriesInstanceUID, each.reason, each.images) for each in found]

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


def test_a_container_becomes_a_job(bench: Callable[..., Bench]) -> None:
    """Its images are the job's in the ledger, out of the tree and still known; everybody is told."""
    on = bench()
    key = on.patient()
    record = on.create()
    assert (record.pipeline, record.container_key, record.state) == ("two", key, JobState.QUEUED)
    assert record.reason == record.summary == "every input is complete"
    assert record.identity == job_identity("two", key, ["1.1", "1.2"], on.tree.configured.content)
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB}
    assert {row.SOPInstanceUID for row in on.ledger.instances(job=record.id)} == {"1.1", "1.2"}
    assert on.tree.keys() == []
    assert on.tree.known.file_of("1.1") == on.spool.path_of("kept/1.1.dcm")
    assert on.notified == [("queued", None)]
    assert on.changed == [record]
    (event,) = on.told
    assert (event.station, event.message, event.level) == (Station.JOB, "queued with 2 images", logging.INFO)
    assert (event.pipeline, event.job, event.association) == ("two", str(record.id), "a1")


def test_a_job_gets_exactly_what_was_decided(bench: Callable[..., Bench]) -> None:
    """An image that came after the decision stays, and waits for a decision of its own."""
    on = bench()
    key = on.patient()
    decision = on.start()
    on.now += 10
    on.image("1.3")
    on.jobs.create(on.tree, decision)
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB, "1.3": WAITING}
    assert on.tree.members(key) == {"1.3": SERIES}
    assert on.tree.quiet_for(key) == 0


def test_a_job_of_what_is_not_there_any_more(bench: Callable[..., Bench]) -> None:
    """An image that went meanwhile makes no job of the rest: nothing has changed."""
    on = bench()
    key = on.patient()
    decision = on.start()
    on.jobs.drop(on.tree, Drop(key, frozenset({"1.2"}), "gone"))
    on.told.clear()
    with pytest.raises(InputsIncompleteError, match="have changed"):
        on.jobs.create(on.tree, decision)
    assert on.states() == {"1.1": WAITING, "1.2": EXPIRED}
    assert (on.tree.keys(), on.ledger.jobs(), on.told, on.notified) == ([key], [], [], [])


def test_a_series_that_was_not_chosen(bench: Callable[..., Bench]) -> None:
    """Its images go, with the reason, and may come again."""
    on = bench()
    on.patient("1.1", "1.2", "1.3")
    record = on.create(P1, "1.3")
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB, "1.3": EXPIRED}
    assert {row.SOPInstanceUID for row in on.ledger.instances(job=record.id)} == {"1.1", "1.2"}
    (row,) = on.ledger.instances(EXPIRED)
    assert row.reason == "another series was chosen for the job"
    assert on.discarded() == [(SERIES, "another series was chosen for the job", 1)]
    (event,) = on.told
    assert event.message == "queued with 2 images; 1 image of series that were not chosen discarded"
    assert (on.files(), on.tree.keys(), on.tree.known.file_of("1.3")) == (["1.1", "1.2"], [], None)


def test_a_job_on_the_operators_word(bench: Callable[..., Bench]) -> None:
    """His words are the job's reason, and not in what is told: they may name a patient."""
    on = bench()
    key = on.patient("1.1")
    words = StartJob(key, {"images": ("1.1",)}, frozenset(), "Mr Smith goes home", ordered=True)
    record = on.jobs.create(on.tree, words)
    assert (record.reason, record.summary) == ("Mr Smith goes home", "started as it is by the operator")
    (event,) = on.told
    assert (event.message, event.detail) == ("queued with 1 image", "Mr Smith goes home")


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
    """The images wait as before, each in the inputs that it was in, and with their age."""
    on = bench()
    key = on.patient("1.1", "1.2", "1.3", "3.1")
    before, known = on.tree.counts(), on.tree.known.file_of("1.3")
    assert before == {key: {"images": 4, "marked": 1}}
    on.now += 50
    on.fail_writes(monkeypatch, error)
    with pytest.raises(raised, match=said):
        on.create(P1, "1.3")
    assert on.tree.counts() == before
    assert on.tree.quiet_for(key) == 50
    assert (on.tree.known.file_of("1.3"), on.tree.known.where("1.1")) == (known, "waiting")
    assert len(on.files()) == 4
    assert (on.told, on.notified) == ([], [])


def test_the_age_of_what_came_meanwhile_counts(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are put back beside a newer one do not make the container older."""
    on = bench()
    key = on.patient()
    decision = on.start()
    on.now += 50
    on.image("1.3")
    on.now += 5
    on.fail_writes(monkeypatch, LOCKED)
    with pytest.raises(DataDirectoryError):
        on.jobs.create(on.tree, decision)
    assert (on.tree.counts()[key]["images"], on.tree.quiet_for(key)) == (3, 5)


def test_the_history_of_a_patient_ends_with_its_job(bench: Callable[..., Bench]) -> None:
    """What was fetched for it is over, in the ledger and in the tree."""
    on = bench()
    key = on.patient()
    status = HistoryStatus(HistoryState.FETCHED, "PACS", "", "P1", frozenset())
    on.ledger.write(begin_history("two", key, "images", status))
    on.tree.set_history(key, "images", status)
    on.create()
    with on.ledger.snapshot() as connection:
        assert open_histories(connection) == []
    assert on.tree.history(key, "images") is None


# -- the same again -----------------------------------------------------------------------------------------


def again(job: int, *uids: str) -> RunAgain:
    """Return the decision to run a job again."""
    return RunAgain(P1, job, frozenset(uids), f"the images of job {job} came again")


def test_a_delivered_job_runs_again(bench: Callable[..., Bench]) -> None:
    """The images that came again take the place of its own, which are gone; its number and identity stay."""
    on = bench()
    number = delivered(on)
    before = on.ledger.job(number)
    assert before is not None
    on.image("1.1", name="again-1")
    on.image("1.2", name="again-2")
    record = on.jobs.run_again(on.tree, again(number, "1.1", "1.2"))
    assert (record.id, record.identity, record.state) == (number, before.identity, JobState.QUEUED)
    assert (record.attempts, record.folder, record.reason) == (
        0,
        "",
        f"the images of job {number} came again",
    )
    rows = list(on.ledger.instances(job=number))
    assert {(row.SOPInstanceUID, row.path, row.state) for row in rows} == {
        ("1.1", "kept/again-1.dcm", IN_JOB),
        ("1.2", "kept/again-2.dcm", IN_JOB),
    }
    assert (on.files(), on.tree.keys()) == (["again-1", "again-2"], [])
    assert on.tree.known.where("1.1") == "in a job"
    assert on.notified[-1] == ("queued", None)
    assert on.told[-1].message == record.reason


def test_inputs_that_were_kept_make_way(bench: Callable[..., Bench]) -> None:
    """Of a job that runs again the files that came again are kept, not those of before, nor their notes."""
    on = bench(keep_inputs=True)
    number = delivered(on)
    for uid in ("1.1", "1.2"):
        on.image(uid, name=f"again-{uid}")
    on.jobs.run_again(on.tree, again(number, "1.1", "1.2"))
    assert on.files() == ["again-1.1", "again-1.2"]
    assert list(on.spool.released.notes()) == []


def test_images_of_a_series_that_was_not_chosen_run_nothing(bench: Callable[..., Bench]) -> None:
    """They came again with those of the job, go as they went before, and may come once more."""
    on = bench()
    number = delivered(on)
    for uid in ("1.1", "1.2", "1.3"):
        on.image(uid, name=f"again-{uid}")
    on.jobs.run_again(on.tree, again(number, "1.1", "1.2", "1.3"))
    assert {row.SOPInstanceUID for row in on.ledger.instances(job=number)} == {"1.1", "1.2"}
    assert on.states()["1.3"] is EXPIRED
    assert (on.files(), on.tree.keys()) == (["again-1.1", "again-1.2"], [])
    assert on.tree.known.file_of("1.3") is None


def test_a_failed_job_runs_again_with_its_own_files(bench: Callable[..., Bench]) -> None:
    """What came again of it is here already: nothing waits, and nothing is replaced."""
    on = bench()
    on.patient()
    number = on.create().id
    on.ledger.write(transition_job(number, JobState.RUNNING, ""))
    on.ledger.write(transition_job(number, JobState.FAILED, "segmentation fault"))
    assert on.jobs.failed_job_of("two", "1.1") == number
    record = on.jobs.run_again(on.tree, again(number, "1.1", "1.2"))
    assert record.state is JobState.QUEUED
    assert on.jobs.failed_job_of("two", "1.1") is None
    assert (on.files(), on.states()) == (["1.1", "1.2"], {"1.1": IN_JOB, "1.2": IN_JOB})


def test_a_run_that_cannot_be_entered(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The images wait as before, and the job is over as before."""
    on = bench()
    number = delivered(on)
    on.image("1.1", name="again-1")
    on.image("1.2", name="again-2")
    on.now += 7
    on.fail_writes(monkeypatch, LOCKED)
    with pytest.raises(DataDirectoryError, match="database is locked"):
        on.jobs.run_again(on.tree, again(number, "1.1", "1.2"))
    assert on.ledger.job(number).state is JobState.DELIVERED
    assert (on.tree.counts(), on.tree.quiet_for(P1)) == ({P1: {"images": 2, "marked": 0}}, 7)
    assert on.files() == ["again-1", "again-2"]


# -- late images --------------------------------------------------------------------------------------------


def test_a_job_without_a_result_gives_its_images_back(bench: Callable[..., Bench]) -> None:
    """It is discarded, and its images wait again: those that came late are the reason."""
    on = bench()
    on.patient("1.1", "3.1")
    number = on.create().id
    on.told.clear()
    images = on.jobs.reopen(number, "images came late and join it")
    assert {(image.SOPInstanceUID, image.path.stem, names) for image, names in images} == {
        ("1.1", "1.1", ("images",)),
        ("3.1", "3.1", ("images", "marked")),
    }
    assert on.states() == {"1.1": WAITING, "3.1": WAITING}
    assert on.ledger.job(number).state is JobState.DISCARDED
    assert ("withdrawn", number) in on.notified
    assert [event.message for event in on.told] == ["images came late and join it"]


def test_a_job_with_a_result_keeps_its_images(bench: Callable[..., Bench]) -> None:
    """A job that was built in the meantime goes on."""
    on = bench()
    number = built(on)
    with pytest.raises(JobStateError, match="built"):
        on.jobs.reopen(number, "late")
    assert on.ledger.job(number).state is JobState.BUILT
    assert on.states() == {"1.1": IN_JOB, "1.2": IN_JOB}
    assert ("withdrawn", number) not in on.notified


def test_the_images_of_a_job(bench: Callable[..., Bench]) -> None:
    """They are asked for before a job is ended for them: nothing changes."""
    on = bench()
    on.patient("1.1", "3.1")
    number = on.create().id
    assert {(image.SOPInstanceUID, names) for image, names in on.jobs.images(number)} == {
        ("1.1", ("images",)),
        ("3.1", ("images", "marked")),
    }
    assert on.ledger.job(number).state is JobState.QUEUED


def test_an_undeliverable_job_gives_its_images_back(bench: Callable[..., Bench]) -> None:
    """All came again, with more: its result, which no peer took, is removed."""
    on = bench()
    number = built(on, "PACS", "ARCHIVE")
    folder = on.outbox / on.ledger.job(number).folder
    assert folder.is_dir()
    on.ledger.write(transition_job(number, JobState.UNDELIVERABLE, "refused"))
    assert len(on.jobs.reopen(number, "they came again, with more")) == 2
    assert on.states() == {"1.1": WAITING, "1.2": WAITING}
    assert on.ledger.job(number).state is JobState.DISCARDED
    states = [delivery.state for delivery in on.ledger.deliveries(*DeliveryState, job=number)]
    assert states == [DeliveryState.DISCARDED] * 2
    assert not folder.exists()


def test_a_job_whose_images_wait_again_is_no_earlier_one(bench: Callable[..., Bench]) -> None:
    """What waits is not late for a job that was ended for it."""
    on = bench()
    on.patient()
    number = on.create().id
    on.tree.put_back(P1, on.jobs.reopen(number, "late"))
    assert on.jobs.earlier(on.tree, P1) == []


def test_a_job_that_takes_the_place_of_another(bench: Callable[..., Bench]) -> None:
    """The one that gave its images back says which one has them now, and is no earlier job any more."""
    on = bench()
    on.patient()
    first = on.create().id
    on.tree.put_back(P1, on.jobs.reopen(first, "late"))
    on.image("1.3")
    second = on.create().id
    assert on.ledger.job(first).reason == f"superseded by job {second}"
    assert [job.number for job in on.jobs.earlier(on.tree, P1)] == [second]


# -- what is remembered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "seen_as"),
    [
        ((), EarlierState.UNBUILT),
        ((JobState.RUNNING,), EarlierState.UNBUILT),
        ((JobState.RUNNING, JobState.BUILT), EarlierState.BUILT),
        ((JobState.RUNNING, JobState.BUILT, JobState.DELIVERED), EarlierState.ENDED),
        ((JobState.RUNNING, JobState.BUILT, JobState.UNDELIVERABLE), EarlierState.FAILED),
        ((JobState.RUNNING, JobState.FAILED), EarlierState.FAILED),
        ((JobState.DISCARDED,), EarlierState.ENDED),
    ],
)
def test_an_earlier_job(
    bench: Callable[..., Bench], states: tuple[JobState, ...], seen_as: EarlierState
) -> None:
    """What is known of a job of the same container: where it is, which images and series it had."""
    on = bench()
    on.patient()
    on.image("2.1", "P2")
    record = on.create()
    for state in states:
        on.ledger.write(transition_job(record.id, state, ""))
    (job,) = on.jobs.earlier(on.tree, P1)
    assert (job.number, job.state, job.identity) == (record.id, seen_as, record.identity)
    assert (job.uids, job.series) == ({"1.1", "1.2"}, {SERIES})
    assert on.jobs.earlier(on.tree, "P2") == []


def test_the_newest_earlier_job_comes_first(bench: Callable[..., Bench]) -> None:
    """They are compared in this order."""
    on = bench()
    numbers = []
    for uid in ("1.1", "1.2", "1.3"):
        on.image(uid)
        numbers.append(on.create().id)
    assert [job.number for job in on.jobs.earlier(on.tree, P1)] == numbers[::-1]


# -- the end ------------------------------------------------------------------------------------------------


def built(on: Bench, *destinations: str) -> int:
    """Make a job, and the result of it."""
    on.patient()
    number = on.create().id
    on.ledger.write(transition_job(number, JobState.RUNNING, ""))
    folder = on.outbox / f"job-{number}"
    folder.mkdir()
    on.ledger.write(job_built(number, folder.name, [(name, {"output": "dicom"}) for name in destinations]))
    on.told.clear()
    on.changed.clear()
    return number


def delivered(on: Bench) -> int:
    """Make a job, and have its result delivered."""
    number = built(on, "PACS")
    enter(on, number, DeliveryState.CONFIRMED)
    on.jobs.settle(number)
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
    assert (on.files(), list(on.outbox.iterdir()), on.tree.known.file_of("1.1")) == ([], [], None)
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
    assert on.tree.known.file_of("1.1") is None


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


def dropped(*uids: str, why: str = "no image came for 60 s", ordered: bool = False) -> Drop:
    """Return the decision to drop what waits for the patient."""
    return Drop(P1, frozenset(uids), why, ordered)


def test_what_waited_too_long_expires(bench: Callable[..., Bench]) -> None:
    """Its images are removed and may come again; its history is over; it is told with the time."""
    on = bench()
    key = on.patient("1.1")
    status = HistoryStatus(HistoryState.FAILED, "PACS", "", "P1", frozenset())
    on.ledger.write(begin_history("two", key, "images", status))
    on.tree.set_history(key, "images", status)
    assert on.jobs.drop(on.tree, dropped("1.1")) == 1
    assert on.states() == {"1.1": EXPIRED}
    (row,) = on.ledger.instances(*InstanceState)
    assert row.reason == "no image came for 60 s"
    assert on.discarded() == [(SERIES, "no image came for 60 s", 1)]
    assert (on.files(), on.tree.keys(), on.tree.known.file_of("1.1")) == ([], [], None)
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
    with pytest.raises(DataDirectoryError):
        on.jobs.drop(on.tree, dropped("1.1"))
    assert on.tree.quiet_for(key) == 60
    assert on.files() == ["1.1"]
    assert on.discarded() == []
    assert on.told == []


def test_what_is_given_up_on_the_operators_word(bench: Callable[..., Bench]) -> None:
    """The words are kept beside the message: they may name a patient."""
    on = bench()
    on.patient()
    assert on.jobs.drop(on.tree, dropped("1.1", "1.2", why="Mr Smith moved", ordered=True)) == 2
    assert on.states() == {"1.1": EXPIRED, "1.2": EXPIRED}
    assert {row.reason for row in on.ledger.instances(*InstanceState)} == {"Mr Smith moved"}
    assert on.discarded() == [(SERIES, "Mr Smith moved", 2)]
    assert on.files() == []
    (event,) = on.told
    assert (event.message, event.detail) == ("2 images given up by the operator", "Mr Smith moved")


def test_images_of_a_failed_job_that_came_again_are_not_dropped(bench: Callable[..., Bench]) -> None:
    """They are the job's, which the operator may still replay; of the container nothing is left to drop."""
    on = bench()
    on.patient()
    number = on.create().id
    on.ledger.write(transition_job(number, JobState.RUNNING, ""))
    on.ledger.write(transition_job(number, JobState.FAILED, "segmentation fault"))
    on.told.clear()
    assert on.jobs.drop(on.tree, dropped("1.1")) == 0
    assert (on.states(), on.files()) == ({"1.1": IN_JOB, "1.2": IN_JOB}, ["1.1", "1.2"])
    assert on.told == []


def test_a_container_is_given_up_without_a_host(bench: Callable[..., Bench]) -> None:
    """By the ledger alone: only what waits as this container of this pipeline is removed."""
    on = bench(tree=False)
    key = on.patient()
    on.image("2.1", "P2")
    for pipeline, patient in (("two", "P3"), ("other", key)):
        with pytest.raises(JobStateError, match=f"nothing waits as '{patient}' for the pipeline"):
            on.jobs.release_recorded(pipeline, patient, "why")
    assert on.jobs.release_recorded("two", key, "why") == 2
    assert on.states() == {"1.1": EXPIRED, "1.2": EXPIRED, "2.1": WAITING}
    assert on.discarded() == [(SERIES, "why", 2)]
    assert on.files() == ["2.1"]
