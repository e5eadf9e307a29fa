"""What becomes of one instance: new, here already, replaced, refused, discarded; disk, tree and ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.ledger.ledger_writes import note_checksums
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.parsing.statuses import Status
from gathering import SETTLE, Node, series, uids


class MR(AbstractInput):
    """MR images; an image named Raises makes its validation raise, and Breaks breaks the input."""

    required_values = {"Modality": "MR"}

    def validate_image(self, image: Any) -> str | None:
        if image.SeriesDescription == "Raises":
            raise ValueError("Doe^John")
        return "not this one, Doe^John" if image.SeriesDescription == "Unwanted" else None

    def _insert(self, image: Any) -> None:
        if image.get("SeriesDescription") == "Breaks":
            raise MemoryError("the input is full")
        super()._insert(image)


class Pipeline(AbstractPipeline):
    """A job a series."""

    inputs = {"mr": MR}
    index_also = ("SeriesDescription",)

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


Made = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Made]:
    """Yield a maker of nodes; they are closed at the end."""
    nodes: list[Node] = []

    def make(**table: Any) -> Node:
        nodes.append(Node(tmp_path / str(len(nodes)), Pipeline, **table))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()


def one(**values: Any) -> Dataset:
    """Return an image."""
    (image,) = series(1, **{"SeriesDescription": "", "ImageComments": "", **values})
    return image


def other(**values: Any) -> Dataset:
    """Return another image of the same SOP Instance UID."""
    return one(**{"ImageComments": "changed", **values})


def kept(made: Node) -> list[str]:
    """Return the comments in the files of the spool: what tells the images apart."""
    return sorted(str(_read(path).get("ImageComments", "")) for path in made.spool.iterate())


def quarantined(made: Node) -> list[str]:
    """Return the comments in the files that are quarantined."""
    return sorted(str(_read(path).get("ImageComments", "")) for path in made.spool.iterate_quarantine())


def _read(path: Path) -> Dataset:
    from pydicom import dcmread

    return dcmread(path)


# -- it is new -----------------------------------------------------------------------------------------------


def test_a_new_image(node: Made) -> None:
    """It is in the spool, in its container and in the ledger, with its association."""
    made = node()
    assert made.answer(one()).status == Status.SUCCESS
    assert made.waiting.counts() == {made.key: {"mr": 1}}
    assert (made.states(), kept(made)) == ({"1.2.3.0": "waiting"}, [""])
    (row,) = made.ledger.instances(InstanceState.WAITING)
    assert (row.container_key, row.inputs, row.association, row.pipeline) == (
        made.key,
        ("mr",),
        "a",
        "gathering",
    )
    assert made.waiting.known.file_of("1.2.3.0") == made.spool.path_of(row.path)
    assert made.ledger.associations()["a"].outcome == "open"


def test_an_image_that_its_input_cannot_hold(node: Made) -> None:
    """The sender is told that it failed, and nothing of it stays; it may come again."""
    made = node()
    with pytest.raises(MemoryError):
        made.send(one(SeriesDescription="Breaks"))
    assert (made.states(), kept(made), made.waiting.keys()) == ({}, [], [])
    assert made.send(one()) == [0]


# -- it is here already --------------------------------------------------------------------------------------


def test_the_same_again_is_kept_once(node: Made) -> None:
    """It is answered with Success; the file of before stays."""
    made = node()
    made.send(one())
    before = list(made.spool.iterate())
    assert made.send(one()) == [0]
    assert list(made.spool.iterate()) == before
    assert made.states() == {"1.2.3.0": "waiting"}


def test_a_resent_image_changes_its_association(node: Made) -> None:
    """The end of the one that brought it last counts, in the ledger and now: an abort is made up for."""
    made, image = node(), one()
    made.send(image, association="aborted")
    made.abort("aborted")
    made.send(image, association="again")
    made.ledger.flush()
    (row,) = made.ledger.instances(InstanceState.WAITING)
    assert row.association == "again"
    made.release("again")
    found = made.restart()
    assert found.interrupted == {(made.waiting, made.key): frozenset()}
    made.let_pass(SETTLE)
    assert made.job_images() == [uids([image])]


def test_a_resent_image_makes_its_container_younger(node: Made) -> None:
    """As a new one does."""
    made = node()
    made.send(one())
    made.let_pass(50)
    made.send(one())
    assert made.waiting.quiet_for(made.key) == 0


def test_another_image_of_the_same_uid_is_refused(node: Made) -> None:
    """What is here stays, in the tree, on disk and in the ledger; the sender is told, and it is counted."""
    made = node()
    made.send(one())
    answer = made.answer(other())
    assert (answer.status, answer.comment) == (
        Status.CONFLICT,
        "SOP instance is here with other content",
    )
    assert (kept(made), quarantined(made), made.states()) == ([""], [], {"1.2.3.0": "waiting"})
    assert made.waiting.counts() == {made.key: {"mr": 1}}
    assert made.counted() == {"refused": 1}
    assert "an image has the UID of another that is here" in made.messages(logging.WARNING)
    made.release()
    made.let_pass(SETTLE)
    assert made.send(other(), association="b") == [Status.CONFLICT]  # also where it is the input of a job


def test_another_image_takes_its_place(node: Made) -> None:
    """Where the site wants that: the newer one waits, and the older one is quarantined."""
    made = node(on_conflict="replace")
    made.send(one())
    assert made.send(other(), association="b") == [0]
    assert (kept(made), quarantined(made)) == (["changed"], [""])
    assert made.waiting.counts() == {made.key: {"mr": 1}}
    made.ledger.flush()
    (row,) = made.ledger.instances(InstanceState.WAITING)
    assert (made.spool.path_of(row.path), row.association) == (
        made.waiting.known.file_of(row.SOPInstanceUID),
        "b",
    )
    (old,) = made.ledger.instances(InstanceState.QUARANTINED)
    assert old.reason == "replaced by a newer one of the same SOP Instance UID"


@pytest.mark.parametrize(
    ("newer", "status"),
    [
        (other(Modality="CT"), Status.NOT_AUTHORISED),
        (other(SeriesDescription="Unwanted"), Status.NOT_AUTHORISED),
        (other(SeriesDescription="Raises"), Status.PROCESSING_FAILURE),
        (other(PatientID=""), Status.IDENTIFIER_MISSING),
    ],
)
def test_a_replacement_that_is_refused_leaves_the_old_image(node: Made, newer: Dataset, status: int) -> None:
    """It waits as before, with its file, and becomes a job."""
    made = node(on_conflict="replace")
    made.send(one())
    assert made.send(newer) == [status]
    assert kept(made) == [""]
    assert made.waiting.counts() == {made.key: {"mr": 1}}
    made.release()
    made.let_pass(SETTLE)
    assert made.job_images() == [{"1.2.3.0"}]
    assert made.counted() == {"refused": 1}


def test_a_replacement_that_fails_leaves_the_old_image(node: Made) -> None:
    """Its input cannot hold the newer one: the older one waits as before, and nothing of the newer stays."""
    made = node(on_conflict="replace")
    made.send(one())
    with pytest.raises(MemoryError):
        made.send(other(SeriesDescription="Breaks"))
    assert (kept(made), quarantined(made), made.states()) == ([""], [], {"1.2.3.0": "waiting"})
    made.restart()
    assert (made.waiting.counts(), quarantined(made)) == ({made.key: {"mr": 1}}, [])


def test_a_replacement_that_cannot_be_kept_leaves_the_old_image(
    node: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: the older one is not touched."""
    made = node(on_conflict="replace")
    made.send(one())

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made.spool, "keep", full)
    with pytest.raises(OSError, match="No space left"):
        made.send(other())
    assert (kept(made), made.waiting.counts()) == ([""], {made.key: {"mr": 1}})


def test_a_replacement_of_another_series(node: Made) -> None:
    """It goes to its own container, and the one that it leaves makes no job of nothing."""
    made = node(on_conflict="replace")
    made.send(one())
    made.let_pass()
    old = made.key
    assert made.send(other(SeriesInstanceUID="1.2.9"), association="b") == [0]
    made.let_pass()
    assert made.key != old
    made.release("a", "b")
    made.let_pass(SETTLE)
    assert made.job_images() == [{"1.2.3.0"}]
    assert [job.container_key for job in made.ledger.jobs()] == ["P1/1.2/1.2.9"]


@pytest.mark.parametrize("damage", ["gone", "damaged"])
@pytest.mark.parametrize("in_job", [False, True])
def test_a_file_that_has_suffered_is_replaced(node: Made, damage: str, in_job: bool) -> None:
    """The same image that comes again takes the place of its file, waiting or in a job; its row stays."""
    made = node()
    made.send(one())
    if in_job:
        made.release()
        made.let_pass(SETTLE)
    made.ledger.flush()
    (row,) = made.ledger.instances(InstanceState.WAITING, InstanceState.IN_JOB)
    path = made.spool.path_of(row.path)
    made.ledger.write(note_checksums({row.path: "0" * 64}))
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-2] + b"\0\1")
    assert made.send(one(), association="b") == [0]
    made.ledger.flush()
    (again,) = made.ledger.instances(InstanceState.WAITING, InstanceState.IN_JOB)
    assert (again.state, again.job, again.association) == (row.state, row.job, "b")
    assert again.reason == f"its file was {damage}; it came again"
    assert made.waiting.known.file_of("1.2.3.0") == made.spool.path_of(again.path)
    assert len(quarantined(made)) == (damage == "damaged")


# -- it is refused -------------------------------------------------------------------------------------------


def test_what_no_input_takes_is_refused(node: Made) -> None:
    """The sender is told why, nothing is kept, and it is counted with the reason; the log has no value."""
    made = node()
    answer = made.answer(one(Modality="CT"))
    assert (answer.status, answer.comment, answer.reason) == (
        Status.NOT_AUTHORISED,
        "mr: Modality is CT, not MR",
        "no input wants an image",
    )
    made.send(one(Modality="CT"), one(SeriesDescription="Unwanted"))
    assert (made.states(), kept(made), made.waiting.keys()) == ({}, [], [])
    assert made.counted() == {"refused": 3}
    assert {(each.SeriesInstanceUID, each.reason, each.images) for each in made.unprocessed()} == {
        ("1.2.3", "mr: Modality is CT, not MR", 2),
        ("1.2.3", "mr: not this one, Doe^John", 1),
    }
    made.release()
    assert made.messages(logging.INFO) == ["of this association: 3 images of 1 series refused"]
    assert made.messages(logging.WARNING) == []


def test_what_no_input_takes_is_discarded(node: Made) -> None:
    """Where the site wants that the sender hears Success; nothing is kept, and it is counted."""
    made = node(on_unwanted="discard")
    assert made.send(*series(4, "1.2.4", Modality="CT"), one()) == [0] * 5
    assert (made.states(), len(kept(made))) == ({"1.2.3.0": "waiting"}, 1)
    assert made.counted() == {"discarded": 4}
    made.restart()
    assert made.counted() == {"discarded": 4}
    assert made.send(*series(2, "1.2.4", Modality="CT")) == [0] * 2
    assert made.counted() == {"discarded": 6}


def test_the_same_image_gets_the_same_answer(node: Made) -> None:
    """Whatever waits: rules are asked of the image alone, in whatever order images come."""
    images = [*series(2), *series(2, "1.2.4", Modality="CT"), one(SOPInstanceUID="9", PatientID="")]
    answers = []
    for order in (images, images[::-1], images[2:] + images[:2]):
        made = node()
        sent = {image.SOPInstanceUID: made.send(image)[0] for image in order}
        answers.append(sent)
    assert answers[0] == answers[1] == answers[2]


def test_a_check_that_raises_keeps_the_image_aside(node: Made) -> None:
    """The operator gets it, quarantined; the log names the type of the exception only."""
    made = node(on_unwanted="discard")
    assert made.send(one(SeriesDescription="Raises")) == [Status.PROCESSING_FAILURE]
    assert (made.states(), kept(made), len(quarantined(made))) == ({"1.2.3.0": "quarantined"}, [], 1)
    assert made.counted() == {"refused": 1}
    (message,) = made.messages(logging.WARNING)
    assert message == "the validation of input 'mr' raised ValueError; the image is quarantined"
    assert made.send(one()) == [0]


def test_an_image_without_a_key_is_refused(node: Made) -> None:
    """What it lacks is said; it is nobody's, so it is not discarded as unwanted."""
    made = node(on_unwanted="discard")
    answer = made.answer(one(PatientID=""))
    assert answer.status == Status.IDENTIFIER_MISSING
    assert "PatientID" in (answer.comment or "")
    assert (made.states(), made.counted()) == ({}, {"refused": 1})
