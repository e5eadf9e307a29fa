"""Recovery: whatever the host was doing when it stopped, disk, ledger, trees and outbox agree afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.config import PipelineTable, RetentionTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.store_handler import AssociationEnd
from dicomnode.host.foundation.events import Events
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    begin_association,
    come_again,
    create_job,
    end_association,
    end_job,
    job_built,
    remove_quarantined,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import InstanceState, JobState
from dicomnode.host.parsing.file_meta import FileMeta
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.recovery import Recovered, Recovery
from dicomnode.host.upkeep.retention import Retention
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.outputs import NoOutput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from raw_peer import EXPLICIT, MR
from route_under_fault import Instance, images_of

WAITING, IN_JOB, RELEASED = InstanceState.WAITING, InstanceState.IN_JOB, InstanceState.RELEASED
QUARANTINED, LOST = InstanceState.QUARANTINED, InstanceState.LOST


class Images(AbstractInput):
    """Two images."""

    expected_images = 2


class Other(AbstractInput):
    """What our images are not."""

    required_values = {"Modality": "CT"}


def configured(name: str = "three", **inputs: type[AbstractInput]) -> ConfiguredPipeline:
    """Return a pipeline, called by its name in capitals."""
    kind = type(
        "Pipeline",
        (AbstractPipeline,),
        {
            "inputs": inputs or {"images": Images},
            "gather_by": "patient",
            "process": lambda self, inputs: NoOutput(),
        },
    )
    return ConfiguredPipeline(
        name=name,
        pipeline=kind(),
        ae_title=name.upper(),
        destinations=(),
        table=PipelineTable(),
        registration=SimpleNamespace(name=name, distribution=name, version="1"),  # type: ignore[arg-type]  # as much of it as is looked at
    )


class Stopped:
    """A data directory whose host has stopped, in whatever state the test makes."""

    def __init__(self, directory: Path) -> None:
        self.data = DataDirectory(directory / "data").lock()
        self.ledger = Ledger(self.data.ledger, durable=False)
        self.spool = Spool(self.data.spool, "process")

    def close(self) -> None:
        """Let go of it."""
        self.ledger.close()
        self.data.unlock()

    def keep(self, image: Instance, called: str = "THREE") -> Path:
        """Put an image into the spool."""
        writer = self.spool.new(FileMeta(MR, image.uid, EXPLICIT, "SENDER", called))
        writer.write([image.data])
        return Path(writer.finish().keep("three", image.uid))

    def enter(self, image: Instance, path: Path, **values: Any) -> InstanceRecord:
        """Enter an image in the ledger."""
        record = InstanceRecord(
            **{
                "path": self.spool.name_of(path),
                "pipeline": "three",
                "container_key": image.patient,
                "inputs": ("images",),
                "SOPInstanceUID": image.uid,
                "index": self.spool.read_index(path, frozenset({0x00080060}))[1],
                "received": 1000.0,
                "association": "a",
                **values,
            }
        )
        self.ledger.write(add_instance(record))
        return record

    def kept_and_entered(self, image: Instance, **values: Any) -> Path:
        """Put an image into the spool and enter it."""
        path = self.keep(image)
        self.enter(image, path, **values)
        return path

    def association(
        self, name: str, end: AssociationEnd | None, started: float = 1000.0, ended: float | None = None
    ) -> None:
        """Enter an association, which has ended now unless something else is said."""
        self.ledger.write(begin_association(name, "SENDER", "THREE", "127.0.0.1", started))
        if end is not None:
            self.ledger.write(end_association(name, end))
        if ended is not None:
            query = "UPDATE association SET ended = ? WHERE id = ?"
            self.ledger.write(lambda connection: connection.execute(query, (ended, name)).rowcount)

    def job(self, images: list[Instance]) -> int:
        """Put images into the spool and make a job of them."""
        paths = [self.spool.name_of(self.kept_and_entered(image)) for image in images]
        return self.ledger.write(create_job("identity", "three", images[0].patient, paths)).id

    def recover(
        self, *configured_pipelines: ConfiguredPipeline, **options: bool
    ) -> tuple[Recovered, WaitingImages]:
        """Start; return what was found, and the first pipeline's tree."""
        hooks = Hooks(Registry(only=()))
        trees = {each.name: WaitingImages(each, hooks) for each in (configured_pipelines or (configured(),))}
        wanted = frozenset({0x00080060})
        found = Recovery(self.data, self.ledger, self.spool, trees, wanted, **options).run()
        return found, next(iter(trees.values()))

    def states(self) -> dict[str, InstanceState]:
        """Return SOP Instance UID -> state, of all rows."""
        return {row.SOPInstanceUID: row.state for row in self.ledger.instances(*InstanceState)}


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Stopped]:
    made = Stopped(tmp_path)
    yield made
    made.close()


# -- files and rows -------------------------------------------------------------------------------------


def test_a_file_that_the_ledger_does_not_know(stopped: Stopped) -> None:
    """It was acknowledged before its row was committed: it waits, and nobody knows if more was to come."""
    image = images_of(1)[0]
    path = stopped.keep(image)
    found, tree = stopped.recover()
    assert (found.waiting, found.entered, found.quarantined) == (1, 1, 0)
    assert tree.counts() == {image.patient: {"images": 1}}
    assert whole(found) == set()
    (row,) = stopped.ledger.instances(WAITING)
    assert (row.path, row.container_key, row.inputs) == (
        stopped.spool.name_of(path),
        image.patient,
        ("images",),
    )
    assert row.index[0x00080060] == "MR"


def test_a_ledger_that_was_deleted_is_rebuilt(stopped: Stopped) -> None:
    """Every file of the spool is in a tree and in a new ledger, whatever was there before."""
    images = [image for number in range(20) for image in images_of(number)[:2]]
    for image in images:
        stopped.keep(image)
    found, tree = stopped.recover()
    assert found.entered == found.waiting == 40
    assert tree.counts() == {image.patient: {"images": 2} for image in images}
    assert stopped.states() == {image.uid: WAITING for image in images}
    assert all(tree.missing(key) is None for key in tree.keys())  # noqa: SIM118 - a tree is no mapping


def lose_ledger(stopped: Stopped) -> None:
    """Delete the ledger, as an operator may."""
    stopped.ledger.close()
    stopped.data.ledger.unlink()
    stopped.ledger = Ledger(stopped.data.ledger, durable=False)


def jobs_of(stopped: Stopped) -> Jobs:
    """Return the jobs of a host that keeps inputs for a while."""
    return Jobs(
        ledger=stopped.ledger, spool=stopped.spool, outbox=stopped.data.outbox, trees={}, events=Events(),
        job_events=JobEvents(),        keep_inputs=True,
    )  # fmt: skip


def test_kept_inputs_of_what_is_over_stay_so_without_the_ledger(stopped: Stopped) -> None:
    """A rebuilt ledger has them as released: nothing runs again, and retention removes them in time."""
    over, waits = images_of(1)[:2], images_of(2)[0]
    jobs_of(stopped).discard(stopped.job(over), "test images")
    stopped.kept_and_entered(waits)
    lose_ledger(stopped)
    found, tree = stopped.recover(keep_inputs=True)
    assert (found.waiting, found.entered) == (1, 1)
    assert tree.counts() == {waits.patient: {"images": 1}}
    assert stopped.states() == {waits.uid: WAITING, **{image.uid: RELEASED for image in over}}
    settings = RetentionTable(inputs=60.0)
    retention = Retention(settings, stopped.ledger, stopped.spool, jobs_of(stopped), TimerThread("never"))
    retention.sweep(time.time() + 30)
    assert len(list(stopped.spool.iterate())) == 3
    retention.sweep(time.time() + 90)
    assert [path.name for path in stopped.spool.iterate()] == [
        stopped.spool.path_of(row.path).name for row in stopped.ledger.instances(WAITING)
    ]
    assert list(stopped.spool.released.notes()) == []


def test_kept_inputs_that_are_not_wanted_any_more(stopped: Stopped) -> None:
    """Where inputs are not kept any more they are removed, and not entered in a rebuilt ledger."""
    jobs_of(stopped).discard(stopped.job(images_of(1)[:2]), "test images")
    lose_ledger(stopped)
    stopped.recover()
    assert (stopped.states(), list(stopped.spool.iterate())) == ({}, [])
    assert list(stopped.spool.released.notes()) == []


def test_stopped_between_note_and_ledger(stopped: Stopped) -> None:
    """The ledger says that the job goes on: the note is wrong, and goes at the next start."""
    number = stopped.job(images_of(1)[:2])
    stopped.spool.released.note((row.path for row in stopped.ledger.instances(job=number)), 1000.0)
    stopped.recover(keep_inputs=True)
    assert list(stopped.spool.released.notes()) == []
    lose_ledger(stopped)
    assert stopped.recover(keep_inputs=True)[0].waiting == 2


def test_inputs_that_an_older_host_released_get_their_note(stopped: Stopped) -> None:
    """What is released and kept without a note is noted at start, with the time when its job ended."""
    number = stopped.job(images_of(1)[:2])
    stopped.ledger.write(end_job(number, JobState.DISCARDED, "before there were notes"))
    stopped.recover(keep_inputs=True)
    (note,) = stopped.spool.released.notes()
    job = stopped.ledger.job(number)
    assert job is not None
    assert note.ended == job.changed
    assert note.files == {row.path for row in stopped.ledger.instances(job=number)}


def test_a_file_that_cannot_be_read(stopped: Stopped) -> None:
    """Bytes that are no instance any more are quarantined, with the reason, on disk and in the ledger."""
    path = stopped.keep(images_of(1)[0])
    path.write_bytes(path.read_bytes()[:500])
    found, tree = stopped.recover()
    assert (found.quarantined, tree.counts()) == (1, {})
    (row,) = stopped.ledger.instances(QUARANTINED)
    assert "cannot be read" in row.reason
    assert stopped.spool.path_of(row.path).exists()
    assert "cannot be read" in stopped.spool.reason_of(stopped.spool.path_of(row.path))


def test_stopped_while_what_lay_aside_was_removed(stopped: Stopped) -> None:
    """The ledger says that it is removed: the file goes at the next start."""
    path = stopped.keep(images_of(1)[0])
    path.write_bytes(path.read_bytes()[:500])
    stopped.recover()
    (row,) = stopped.ledger.instances(QUARANTINED)
    stopped.ledger.write(remove_quarantined([row.path], "tidy"))
    stopped.recover()
    assert not any((stopped.spool.root / "quarantine").iterdir())


def test_a_file_that_was_to_be_dropped(stopped: Stopped) -> None:
    """No input wants it, and the pipeline discards such: it is removed, not quarantined."""
    stopped.keep(images_of(1)[0])
    choosy = replace(configured(other=Other), table=PipelineTable(on_unwanted="discard"))
    found, _ = stopped.recover(choosy)
    assert (found.entered, found.quarantined, stopped.states()) == (0, 0, {})
    assert not list(stopped.spool.root.rglob("*.dcm"))


def test_a_file_for_a_title_that_nobody_has(stopped: Stopped) -> None:
    """Its pipeline is not configured any more: quarantined, and not lost."""
    stopped.keep(images_of(1)[0], called="GONE")
    found, _ = stopped.recover()
    assert found.quarantined == 1
    assert stopped.states() == {images_of(1)[0].uid: QUARANTINED}


def test_a_second_file_of_an_instance(stopped: Stopped) -> None:
    """The one that the ledger knows stays; the other is quarantined."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image)
    stopped.keep(image)
    found, tree = stopped.recover()
    assert (found.waiting, found.quarantined) == (1, 1)
    assert tree.counts() == {image.patient: {"images": 1}}


def test_stopped_while_an_image_was_replaced(stopped: Stopped) -> None:
    """Both are entered as waiting: the newer one waits, and the older one is quarantined."""
    image = images_of(1)[0]
    newer = replace(image, data=image.data.replace(b"TOSHIBA", b"PHILIPS"))
    stopped.kept_and_entered(image, received=1000.0)
    path = stopped.keep(newer)
    stopped.enter(newer, path, received=2000.0)
    found, tree = stopped.recover()
    assert (found.waiting, found.quarantined) == (1, 1)
    assert tree.known.file_of(image.uid) == path
    assert [row.path for row in stopped.ledger.instances(WAITING)] == [stopped.spool.name_of(path)]
    (row,) = stopped.ledger.instances(QUARANTINED)
    assert (row.reason, row.path != stopped.spool.name_of(path)) == (
        "replaced by a newer one of the same SOP Instance UID",
        True,
    )


def test_a_row_whose_file_has_gone(stopped: Stopped) -> None:
    """It is lost, is said to be, and waits nowhere; the instance may come again."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image).unlink()
    found, tree = stopped.recover()
    assert (found.lost, found.waiting, tree.counts()) == (1, 0, {})
    assert stopped.states() == {image.uid: LOST}
    with tree.known.storing(image.uid) as held:
        assert held is None


def test_a_file_that_was_moved_aside_before_the_ledger_knew(stopped: Stopped) -> None:
    """It is quarantined, and not lost: the host was stopped between disk and ledger."""
    image = images_of(1)[0]
    path = stopped.kept_and_entered(image)
    quarantined = stopped.spool.quarantine(path, "replaced by a newer one")
    found, tree = stopped.recover()
    assert (found.lost, tree.counts()) == (0, {})
    (row,) = stopped.ledger.instances(QUARANTINED)
    assert (row.path, row.reason) == (stopped.spool.name_of(quarantined), "replaced by a newer one")


def test_a_file_aside_that_the_ledger_does_not_know(stopped: Stopped) -> None:
    """What lies in quarantine is in the ledger afterwards, once, readable or not."""
    image = images_of(1)[0]
    stopped.spool.quarantine(stopped.keep(image), "validation raised ValueError")
    broken = stopped.keep(images_of(1)[1])
    broken.write_bytes(b"")
    stopped.spool.quarantine(broken, "")
    for _ in range(2):
        stopped.recover()
        rows = sorted(stopped.ledger.instances(QUARANTINED), key=lambda row: row.SOPInstanceUID)
        assert [(row.SOPInstanceUID, row.reason) for row in rows] == [
            ("", ""),
            (image.uid, "validation raised ValueError"),
        ]


@pytest.mark.parametrize("keep_inputs", [False, True])
@pytest.mark.parametrize("state", [RELEASED, InstanceState.EXPIRED])
def test_files_that_are_over_are_removed(stopped: Stopped, state: InstanceState, keep_inputs: bool) -> None:
    """The host was stopped between the ledger and the disk; inputs of jobs stay where they are to be kept."""
    path = stopped.kept_and_entered(images_of(1)[0], state=state)
    stopped.recover(keep_inputs=keep_inputs)
    assert path.exists() == (keep_inputs and state is RELEASED)


def test_strange_things_in_the_spool_are_left_alone(tmp_path: Path) -> None:
    """A file system's or an operator's own directory neither stops the host nor is touched."""
    strange = tmp_path / "data" / "spool" / "kept" / "lost+found"
    strange.mkdir(parents=True)
    (strange / "a.dcm").write_bytes(b"?")
    (strange.parent / "note.txt").write_text("do not delete")
    stopped = Stopped(tmp_path)
    found, _ = stopped.recover()
    stopped.close()
    assert found.entered == 0
    assert (strange / "a.dcm").exists()
    assert (strange.parent / "note.txt").exists()


# -- associations ---------------------------------------------------------------------------------------


def whole(found: Recovered) -> set[Any]:
    """Return the containers of which everything was sent."""
    return {key for key, cut in found.interrupted.items() if not cut}


RELEASE, ABORT, CUT = AssociationEnd.RELEASED, AssociationEnd.ABORTED, AssociationEnd.CUT_OFF


@pytest.mark.parametrize(("end", "released"), [(None, False), (RELEASE, True), (CUT, False), (ABORT, False)])
def test_only_a_release_completes_anything(
    stopped: Stopped, end: AssociationEnd | None, released: bool
) -> None:
    """Nobody knows what an association was still to bring that was open, cut off or aborted."""
    image = images_of(1)[0]
    stopped.association("a", end)
    stopped.kept_and_entered(image)
    found, tree = stopped.recover()
    assert whole(found) == ({(tree, image.patient)} if released else set())


@pytest.mark.parametrize(
    ("came", "released"),
    [
        ({"aborted": 1500.0, "released": 2500.0}, True),
        ({"aborted": 1500.0, "released": 1900.0}, False),
        ({"aborted": 1500.0, "released": 2500.0, "open": 1400.0}, False),
        ({"aborted": 1500.0, "later": 1100.0}, True),
        ({"aborted": 1500.0, "later": 1100.0, "cut off": 1200.0}, False),
        ({"released": 1100.0, "later": 1200.0}, True),
    ],
)
def test_what_makes_up_for_an_abort(stopped: Stopped, came: dict[str, float], released: bool) -> None:
    """An association that brought an image after every abort, and was released; whatever order rows have.

    Those here began at 1000 and the last one at 3000; "aborted" was so at 2000 and "cut off" at 4000. An
    image that "later" brought may have come before: then it came again.
    """
    outcomes = {"aborted": ABORT, "released": RELEASE, "later": RELEASE, "cut off": CUT}
    ended = {"aborted": 2000.0, "released": 5000.0, "later": 3500.0, "cut off": 4000.0}
    for image, (name, received) in zip(images_of(1, len(came)), came.items(), strict=True):
        outcome = outcomes.get(name)
        stopped.association(name, outcome, 3000.0 if name == "later" else 1000.0, ended.get(name))
        stopped.kept_and_entered(image, association=name, received=received)
    found, tree = stopped.recover()
    assert whole(found) == ({(tree, images_of(1)[0].patient)} if released else set())


def test_an_association_that_was_open_is_over(stopped: Stopped) -> None:
    """After the next start its end is known, so that a release after it makes up for it."""
    one, two = images_of(1)[:2]
    stopped.association("open", None)
    stopped.kept_and_entered(one, association="open")
    stopped.recover()
    assert stopped.ledger.associations()["open"].outcome == CUT
    now = time.time()
    stopped.association("again", RELEASE, now, now + 1)
    stopped.kept_and_entered(two, association="again", received=now)
    found, tree = stopped.recover()
    assert whole(found) == {(tree, one.patient)}


def test_a_file_without_a_row_is_made_up_for(stopped: Stopped) -> None:
    """What was sent after such a file, and released, makes up for the association that brought it."""
    one, two = images_of(1)[:2]
    stopped.keep(one)
    stopped.recover()
    now = time.time()
    stopped.association("again", RELEASE, now, now + 1)
    stopped.kept_and_entered(two, association="again", received=now)
    found, tree = stopped.recover()
    assert whole(found) == {(tree, one.patient)}


def test_images_that_were_not_sorted(stopped: Stopped) -> None:
    """They are sorted by the host that starts, and are known when they are sent again meanwhile."""
    one, two = images_of(1)[:2]
    stopped.association("aborted", ABORT)
    stopped.kept_and_entered(one, state=InstanceState.RECEIVED, container_key="", inputs=())
    stopped.kept_and_entered(
        two, state=InstanceState.RECEIVED, container_key="", inputs=(), association="aborted"
    )
    found, tree = stopped.recover()
    assert {row.SOPInstanceUID: association.outcome for row, association in found.unsorted} == {
        one.uid: CUT,
        two.uid: ABORT,
    }
    with tree.known.storing(one.uid) as held:
        assert held is not None


# -- how long patients have been quiet ------------------------------------------------------------------

NOW = 1_000_000.0


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the wall clock."""
    monkeypatch.setattr("dicomnode.host.upkeep.recovery.time.time", lambda: NOW)


@pytest.mark.usefixtures("stopped_clock")
@pytest.mark.parametrize(
    ("received", "quiet"),
    [
        ((NOW - 500,), 500),
        ((NOW - 500, NOW - 40), 40),
        ((NOW - 40, NOW - 500), 40),
        ((NOW + 9000,), 0),
        ((NOW + 9000, NOW - 500), 0),
    ],
)
def test_the_last_image_keeps_its_age(stopped: Stopped, received: tuple[float, ...], quiet: float) -> None:
    """A patient has been quiet since its last image came; since one that is still to come, for no time."""
    stopped.association("a", None)
    for image, moment in zip(images_of(1), received, strict=False):
        stopped.kept_and_entered(image, received=moment)
    _, tree = stopped.recover()
    assert tree.quiet_for(images_of(1)[0].patient) == pytest.approx(quiet, abs=5)


@pytest.mark.usefixtures("stopped_clock")
def test_an_image_that_came_again_counts(stopped: Stopped) -> None:
    """An instance that was sent once more came when the association began that brought it last."""
    image = images_of(1)[0]
    path = stopped.kept_and_entered(image, received=NOW - 500)
    stopped.ledger.write(begin_association("b", "SENDER", "THREE", "127.0.0.1", NOW - 60))
    stopped.ledger.write(come_again(stopped.spool.name_of(path), "b"))
    _, tree = stopped.recover()
    assert tree.quiet_for(image.patient) == pytest.approx(60, abs=5)


@pytest.mark.usefixtures("stopped_clock")
def test_the_age_of_a_file_that_the_ledger_does_not_know(stopped: Stopped) -> None:
    """After the loss of the ledger, the time of the file counts."""
    image = images_of(1)[0]
    os.utime(stopped.keep(image), (NOW - 300, NOW - 300))
    _, tree = stopped.recover()
    assert tree.quiet_for(image.patient) == pytest.approx(300, abs=5)


@pytest.mark.usefixtures("stopped_clock")
def test_the_age_where_the_inputs_have_changed(stopped: Stopped) -> None:
    """An image that goes to another input than before the restart is as old as it was."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image, received=NOW - 500, inputs=("gone",))
    _, tree = stopped.recover()
    assert tree.counts() == {image.patient: {"images": 1}}
    assert tree.quiet_for(image.patient) == pytest.approx(500, abs=5)


# -- jobs -----------------------------------------------------------------------------------------------


def test_a_job_that_ran_runs_again(stopped: Stopped) -> None:
    """It is queued, without an attempt the less, and its inputs are held; what it left is cleared away."""
    images = images_of(1)[:2]
    number = stopped.job(images)
    stopped.ledger.write(transition_job(number, JobState.RUNNING, "", attempts=1))
    for folder in (stopped.data.outbox / f".job-{number}-1.building", stopped.data.work / "worker-x"):
        folder.mkdir()
        (folder / "half").write_text("half")
    found, tree = stopped.recover()
    job = stopped.ledger.job(number)
    assert job is not None
    assert (found.jobs, job.state, job.attempts) == (1, JobState.QUEUED, 0)
    assert list(stopped.data.outbox.iterdir()) == list(stopped.data.work.iterdir()) == []
    assert tree.counts() == {}
    with tree.known.storing(images[0].uid) as held:
        assert held is not None


@pytest.mark.parametrize("there", [True, False])
def test_a_result_that_waits_for_delivery(stopped: Stopped, there: bool) -> None:
    """A result in the outbox stays there; a job whose result has gone runs again."""
    number = stopped.job(images_of(1)[:2])
    stopped.ledger.write(transition_job(number, JobState.RUNNING, "", attempts=1))
    stopped.ledger.write(job_built(number, "job-1-1", []))
    if there:
        (stopped.data.outbox / "job-1-1").mkdir()
    stopped.recover()
    job = stopped.ledger.job(number)
    assert job is not None
    assert job.state is (JobState.BUILT if there else JobState.QUEUED)
    assert (stopped.data.outbox / "job-1-1").exists() == there


@pytest.mark.parametrize("keep_results", [False, True])
def test_a_result_that_is_over(stopped: Stopped, keep_results: bool) -> None:
    """The host was stopped before it removed the folder of a delivered job."""
    number = stopped.job(images_of(1)[:2])
    stopped.ledger.write(transition_job(number, JobState.RUNNING, "", attempts=1))
    stopped.ledger.write(job_built(number, "job-1-1", []))
    stopped.ledger.write(end_job(number, JobState.DELIVERED, ""))
    (stopped.data.outbox / "job-1-1").mkdir()
    stopped.recover(keep_results=keep_results)
    assert (stopped.data.outbox / "job-1-1").exists() == keep_results


def test_an_input_of_a_job_has_gone(stopped: Stopped) -> None:
    """The row says so, and the job keeps it: it must not run without."""
    images = images_of(1)[:2]
    number = stopped.job(images)
    rows = list(stopped.ledger.instances(job=number))
    stopped.spool.path_of(rows[0].path).unlink()
    found, _ = stopped.recover()
    assert found.lost == 1
    assert sorted(row.state for row in stopped.ledger.instances(job=number)) == [IN_JOB, LOST]


# -- a pipeline that was changed ------------------------------------------------------------------------


def test_waiting_images_go_to_the_inputs_that_there_are_now(stopped: Stopped) -> None:
    """An input was renamed by an upgrade: its images are placed anew, and the ledger knows."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image, inputs=("old",))
    found, tree = stopped.recover(configured(images=Images, other=Other))
    assert (found.waiting, found.quarantined) == (1, 0)
    assert tree.counts() == {image.patient: {"images": 1, "other": 0}}
    (row,) = stopped.ledger.instances(WAITING)
    assert row.inputs == ("images",)


def test_waiting_images_that_no_input_wants_any_more(stopped: Stopped) -> None:
    """An upgrade left no input for them: quarantined, with the reason."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image, inputs=("old",))
    found, tree = stopped.recover(configured(other=Other))
    assert (found.waiting, found.quarantined, tree.counts()) == (0, 1, {})
    (row,) = stopped.ledger.instances(QUARANTINED)
    assert "Modality is MR, not CT" in row.reason
    assert (stopped.spool.root / row.path).exists()


def test_jobs_of_inputs_that_there_are_no_more(stopped: Stopped) -> None:
    """A queued job whose inputs were renamed is given up, and its images wait for a new one."""
    images = images_of(1)[:2]
    stopped.association("a", RELEASE)
    number = stopped.job(images)
    found, tree = stopped.recover(configured(renamed=Images))
    job = stopped.ledger.job(number)
    assert job is not None
    assert (job.state, found.waiting) == (JobState.DISCARDED, 2)
    assert tree.counts() == {images[0].patient: {"renamed": 2}}
    assert whole(found) == {(tree, images[0].patient)}


def test_images_of_a_pipeline_that_is_not_configured(stopped: Stopped) -> None:
    """They wait in the ledger for its return."""
    image = images_of(1)[0]
    stopped.kept_and_entered(image, pipeline="gone")
    found, tree = stopped.recover()
    assert (found.waiting, found.lost, found.quarantined, tree.counts()) == (0, 0, 0, {})
    assert stopped.states() == {image.uid: WAITING}


# -- all of it ------------------------------------------------------------------------------------------


def test_a_second_start_changes_nothing(stopped: Stopped) -> None:
    """Recovery is done with after one start: the next one finds nothing to do."""
    for number in range(3):
        stopped.keep(images_of(number)[0])
    stopped.spool.quarantine(stopped.keep(images_of(3)[0]), "why not")
    lost = stopped.kept_and_entered(images_of(4)[0])
    lost.unlink()
    stopped.job(images_of(5)[:2])
    stopped.ledger.write(transition_instances([], WAITING, ""))
    stopped.recover()
    before = stopped.states()
    found, _ = stopped.recover()
    assert (found.entered, found.quarantined, found.lost, found.jobs) == (0, 0, 0, 0)
    assert stopped.states() == before


def test_a_handle_answers_from_the_ledger(stopped: Stopped) -> None:
    """An image that waits again answers the indexed tags without its file being opened."""
    image = images_of(1)[0]
    path = stopped.kept_and_entered(image)
    _, tree = stopped.recover()
    path.unlink()
    handle = tree.first_image(image.patient)
    assert isinstance(handle, LazyDataset)
    assert handle.Modality == "MR"
    assert not handle.was_read
