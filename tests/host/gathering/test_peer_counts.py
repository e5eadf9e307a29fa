"""A peer says how many images a series has: who is asked, when, how often, and what the answer does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, AbstractThreadedPipeline, NoOutput
from gathering import OPEN_WAIT, SETTLE, Node, series, uids

SERIES = "1.2.3"


class Asked(AbstractInput):
    """Images whose number the peer says that has sent them."""

    expected_images = "peer"


class AskedElsewhere(AbstractInput):
    """Images whose number an archive says."""

    expected_images = "peer:ARCHIVE"


class Asking(AbstractPipeline):
    """A job a series."""

    inputs = {"images": Asked}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class AskingElsewhere(Asking):
    """The same, by what an archive says."""

    inputs = {"images": AskedElsewhere}


class AskingLater(AbstractThreadedPipeline):
    """The same, with images that are sorted after they were answered."""

    inputs = {"images": Asked}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


Made = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Made]:
    """Yield a maker of nodes; they are closed at the end."""
    nodes: list[Node] = []

    def make(kind: type[AbstractPipeline] = Asking, count: int | None = None) -> Node:
        nodes.append(Node(tmp_path / str(len(nodes)), kind))
        nodes[-1].peer_counts = {} if count is None else {SERIES: count}
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()


@pytest.mark.parametrize(
    ("kind", "peer"), [(Asking, "SENDER"), (AskingElsewhere, "ARCHIVE"), (AskingLater, "SENDER")]
)
def test_who_is_asked_when_an_association_ends(node: Made, kind: type[AbstractPipeline], peer: str) -> None:
    """The peer that sent the images, or the one that is named; what it says ends the waiting at once."""
    made, images = node(kind, 3), series(3)
    made.send(*images)
    made.reception.flush()
    made.let_pass()
    assert made.asked == []
    made.release()
    made.reception.flush()
    made.let_pass()
    assert made.asked == [(peer, SERIES)]
    assert made.job_images() == [uids(images)]
    (job,) = made.ledger.jobs()
    assert job.reason == "images: 3 of 3 images (the peer)"


def test_more_are_to_come(node: Made) -> None:
    """Nothing is started of a part; with the last image the job is, without another question."""
    made, images = node(count=4), series(4)
    made.send(*images[:3])
    made.release()
    made.let_pass(SETTLE)
    assert made.held() == {made.key: "images: 3 of 4 images"}
    asked = len(made.asked)
    made.send(images[3], association="b")
    made.let_pass()
    assert made.job_images() == [uids(images)]
    assert len(made.asked) == asked


def test_one_question_at_a_time(node: Made) -> None:
    """However many associations end before the peer has answered."""
    made, images = node(count=5), series(5)
    made.unanswered = []
    for number, image in enumerate(images[:4]):
        made.send(image, association=f"a{number}")
        made.release(f"a{number}")
    assert made.asked == [("SENDER", SERIES)]
    made.unanswered.pop()()
    made.let_pass(SETTLE)
    assert made.held() == {made.key: "images: 4 of 5 images"}


def test_it_is_asked_again_every_minute(node: Made) -> None:
    """As long as the series waits, and not more often for more associations: it may still be receiving."""
    made, images = node(), series(3)
    for number, image in enumerate(images):
        made.send(image, association=f"a{number}")
        made.release(f"a{number}")
    made.let_pass(SETTLE)
    assert made.held() == {made.key: "images: the peer does not say how many images there are"}
    told = "a peer did not say how many images a series has: it does not know the series"
    assert made.messages(logging.WARNING)[-1] == told
    asked = len(made.asked)
    made.let_pass(60 * 10)
    assert len(made.asked) - asked == 10
    made.peer_counts = {SERIES: 3}
    made.let_pass(60)
    assert made.job_images() == [uids(images)]
    asked = len(made.asked)
    made.let_pass(60 * 10)
    assert len(made.asked) == asked


@pytest.mark.parametrize("kind", [Asking, AskingLater])
def test_what_waited_before_a_restart(node: Made, kind: type[AbstractPipeline]) -> None:
    """Its sender is known by the ledger, and is asked at the start."""
    made, images = node(kind), series(3)
    made.send(*images)
    made.release()
    made.reception.flush()
    made.let_pass(SETTLE)
    made.asked.clear()
    made.peer_counts = {SERIES: 3}
    made.restart()
    made.let_pass()
    assert made.asked == [("SENDER", SERIES)]
    assert made.job_images() == [uids(images)]


def test_images_that_were_not_sorted_before_a_restart(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sender is known, too: by the association that brought them."""
    made, images = node(AskingLater, 3), series(3)
    for sorter in made.reception._sorters.values():
        monkeypatch.setattr(sorter, "_sort_for", lambda image, record, sender: None)
    made.send(*images)
    made.release()
    made.reception.flush()
    assert made.waiting.keys() == []
    made.restart()
    made.let_pass(OPEN_WAIT)
    assert made.asked == [("SENDER", SERIES)]
    assert made.job_images() == [uids(images)]
