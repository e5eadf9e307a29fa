"""Associations and what they bring: admitted, released durably, ended; images that were not sorted go on."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.host.dimse.store_handler import AssociationEnd, StoreRequest
from dicomnode.host.ledger import ledger as ledger_module
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.parsing.statuses import Status
from gathering import OPEN_WAIT, SETTLE, TITLE, Node, series, uids
from raw_peer import EXPLICIT, MR


class Images(AbstractInput):
    """MR images."""

    required_values = {"Modality": "MR"}


class Pipeline(AbstractPipeline):
    """A job a series."""

    inputs = {"images": Images}
    index_also = ("AccessionNumber",)

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class Deferred(Pipeline):
    """One that sorts after it has answered."""

    sorts_before_answer = False


Made = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Made]:
    """Yield a maker of nodes; they are closed at the end."""
    nodes: list[Node] = []

    def make(kind: type[AbstractPipeline] = Pipeline, **table: Any) -> Node:
        nodes.append(Node(tmp_path / str(len(nodes)), kind, **table))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()


@pytest.fixture
def patient_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ledger commit what is only posted when somebody waits, and not before."""
    monkeypatch.setattr(ledger_module, "_GATHER", 3600.0)


# -- what is asked before anything is received ---------------------------------------------------------------


def test_which_titles_are_called(node: Made) -> None:
    """Those of the pipelines, and the host's own, for C-ECHO."""
    reception = node().reception
    assert [reception.accepts_called_ae(each, "ANY", "127.0.0.1") for each in (TITLE, "HOST", "OTHER")] == [
        True,
        True,
        False,
    ]


def test_what_is_read_of_every_instance(node: Made) -> None:
    """What inputs and pipeline look at, what explains an image, and the stored bytes that make the key."""
    wanted = node().reception.wanted
    assert {
        0x00080060,
        0x00080050,
        0x0008103E,
        0x00100020 | STORED_BYTES,
        0x0020000E | STORED_BYTES,
    } <= wanted


def test_what_is_refused_before_it_is_read(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images for the host's own title, and all while ledger or disk take nothing."""
    made = node()
    info = made.association("a")
    request = StoreRequest(info, 1, MR, "1.2.3.0", EXPLICIT)
    assert made.reception.admit(request) is None
    own = StoreRequest(made.association("b"), 1, MR, "1.2.3.0", EXPLICIT)
    object.__setattr__(own.association, "called_ae_title", "HOST")
    answer = made.reception.admit(own)
    assert answer is not None
    assert (answer.status, answer.comment) == (Status.NOT_AUTHORISED, "send images to a pipeline: GATHERING")
    monkeypatch.setattr(made.reception, "_reserve", 2**60)
    full = made.reception.admit(request)
    assert full is not None
    assert (full.status, full.comment) == (Status.OUT_OF_RESOURCES, "disk reserve reached")
    monkeypatch.setattr(made.ledger, "_stuck", True)
    stuck = made.reception.admit(request)
    assert stuck is not None
    assert (stuck.status, stuck.comment) == (Status.OUT_OF_RESOURCES, "the ledger cannot be written")


# -- a release is durable before it is answered --------------------------------------------------------------


@pytest.mark.usefixtures("patient_ledger")
@pytest.mark.parametrize("kind", [Pipeline, Deferred])
def test_a_release_is_committed_with_all_that_was_brought(node: Made, kind: type[AbstractPipeline]) -> None:
    """When the requestor is answered, a kill leaves a ledger that knows of its images and its release."""
    made, images = node(kind), series(5)
    made.send(*images)
    reader = LedgerReader(made.data.ledger)
    try:
        assert not reader.associations()
        made.reception.release_requested(made.association("a"))
        assert reader.associations()["a"].outcome == "released"
        assert {row.SOPInstanceUID for row in reader.instances(*InstanceState)} == uids(images)
    finally:
        reader.close_reader()


@pytest.mark.usefixtures("patient_ledger")
def test_a_release_of_what_came_again(node: Made) -> None:
    """An association that brought known images only is known as released, too."""
    made, images = node(), series(2)
    made.send(*images, association="first")
    made.send(*images, association="again")
    reader = LedgerReader(made.data.ledger)
    try:
        made.reception.release_requested(made.association("again"))
        assert reader.associations()["again"].outcome == "released"
        assert {row.association for row in reader.instances(*InstanceState)} == {"again"}
    finally:
        reader.close_reader()


def test_an_association_that_brought_nothing_is_not_waited_for(
    node: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its release changes nothing: the ledger is not written for it."""
    made = node()
    made.send(*series(1, Modality="CT"))

    def written(_write: object) -> None:
        pytest.fail("the ledger was waited for")

    monkeypatch.setattr(made.ledger, "write", written)
    made.reception.release_requested(made.association("a"))
    made.reception.release_requested(made.association("echo"))


def test_a_release_is_entered_once(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end, which comes after it, is not entered a second time; an abort after it is."""
    made = node()
    posted: list[object] = []
    post = made.ledger.post
    made.send(*series(1), association="a")
    made.send(*series(1, "1.2.4"), association="b")
    made.reception.release_requested(made.association("a"))
    made.reception.release_requested(made.association("b"))
    monkeypatch.setattr(made.ledger, "post", lambda write: (posted.append(write), post(write)))
    made.reception.association_ended(made.association("a"), AssociationEnd.RELEASED)
    assert posted == []
    made.reception.association_ended(made.association("b"), AssociationEnd.ABORTED)
    made.ledger.flush()
    outcomes = {name: each.outcome for name, each in made.ledger.associations().items()}
    assert outcomes == {"a": "released", "b": "aborted"}


def test_a_release_while_the_ledger_cannot_be_written(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requestor need not wait for the disk: it is entered later, and what a kill would mean is said."""
    made, images = node(), series(2)
    made.send(*images)
    write = made.ledger.write

    def failing(_write: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(made.ledger, "write", failing)
    made.reception.release_requested(made.association("a"))
    monkeypatch.setattr(made.ledger, "write", write)
    made.ledger.flush()
    assert made.ledger.associations()["a"].outcome == "released"
    (warning,) = made.messages(logging.WARNING)
    assert "could not be entered yet" in warning
    made.reception.association_ended(made.association("a"), AssociationEnd.RELEASED)
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


# -- an association ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "jobs"),
    [(AssociationEnd.RELEASED, 1), (AssociationEnd.ABORTED, 0), (AssociationEnd.CUT_OFF, 0)],
)
@pytest.mark.parametrize("kind", [Pipeline, Deferred])
def test_how_an_association_ends(
    node: Made, kind: type[AbstractPipeline], end: AssociationEnd, jobs: int
) -> None:
    """It is entered as it is, and only a release completes what it brought."""
    made, images = node(kind), series(2)
    made.send(*images)
    made.reception.association_ended(made.association("a"), end)
    made.reception.flush()
    made.ledger.flush()
    assert made.ledger.associations()["a"].outcome == end
    made.let_pass(SETTLE)
    assert len(made.job_images()) == jobs
    assert any("by itself it completes nothing" in each for each in made.messages(logging.WARNING)) != bool(
        jobs
    )


def test_an_association_of_which_nothing_was_taken(node: Made) -> None:
    """It is told of once, and is not in the ledger."""
    made = node()
    made.send(*series(3, Modality="CT"))
    made.release()
    made.abort()
    assert made.ledger.associations() == {}
    assert made.messages(logging.INFO) == ["of this association: 3 images of 1 series refused"]


# -- images that were not sorted when the host stopped -------------------------------------------------------


def unsorted(made: Node, *names: str, **ends: AssociationEnd) -> None:
    """Leave images of a series that were answered and not sorted, one an association, in this order."""
    for number, name in enumerate(names):
        (image,) = series(1, SOPInstanceUID=f"1.2.3.{number}")
        made.send(image, association=name)
    made.reception.flush()
    made.ledger.write(
        lambda connection: (
            connection.execute(
                "UPDATE instance SET state = 'received', container_key = '', inputs = '[]'"
            ).rowcount
        )
    )
    for name, end in ends.items():
        made.reception.association_ended(made.association(name), end)
    made.reception.flush()
    made.ledger.flush()


@pytest.mark.parametrize(
    ("came", "ends", "jobs"),
    [
        (("a",), {"a": AssociationEnd.RELEASED}, 1),
        (("a",), {"a": AssociationEnd.ABORTED}, 0),
        (("a",), {}, 0),
        (("a", "b"), {"b": AssociationEnd.RELEASED}, 0),
    ],
)
def test_images_are_sorted_after_a_restart(
    node: Made, came: tuple[str, ...], ends: dict[str, AssociationEnd], jobs: int
) -> None:
    """They become a job if their association was released, and none else."""
    made = node(Deferred)
    unsorted(made, *came, **ends)
    made.restart()
    assert made.waiting.counts() == {made.key: {"images": len(came)}}
    made.let_pass(10 * OPEN_WAIT)
    assert len(made.job_images()) == jobs


@pytest.mark.parametrize(("released_brought_after", "jobs"), [(True, 1), (False, 0)])
def test_a_release_makes_up_for_an_abort_over_a_restart(
    node: Made, released_brought_after: bool, jobs: int
) -> None:
    """If it brought an image after it: images and ends are gone through in the order in which they came."""
    made = node(Deferred)
    unsorted(made, "aborted", "released", aborted=AssociationEnd.ABORTED, released=AssociationEnd.RELEASED)
    times = {"aborted": 2000.0, "released": 2500.0 if released_brought_after else 1500.0}
    for name, received in (("aborted", 1000.0), ("released", times["released"])):
        set_times(made, name, received, ended=times["aborted"] if name == "aborted" else 3000.0)
    made.restart()
    made.let_pass(10 * OPEN_WAIT)
    assert len(made.job_images()) == jobs


def set_times(made: Node, name: str, received: float, ended: float) -> None:
    """Let an association have begun at 500, brought its image and ended at a time."""
    for query, values in (
        ("UPDATE instance SET received = ? WHERE association = ?", (received, name)),
        ("UPDATE association SET started = 500, ended = ? WHERE id = ?", (ended, name)),
    ):
        made.ledger.write(
            lambda connection, query=query, values=values: connection.execute(query, values).rowcount
        )
