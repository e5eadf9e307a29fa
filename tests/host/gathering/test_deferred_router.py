"""Images that are sorted after they were answered: no answer waits for a plugin, and nothing is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractThreadedPipeline, NoOutput
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.receiver.scp import Receiver
from gathering import SETTLE, TITLE, Node, series, uids
from raw_peer import ACCEPTED, RELEASED, RawPeer
from receiving import encoded

IMAGES = 200


class Slow(AbstractInput):
    """Images whose validation waits until the test lets it go on."""

    go_on = threading.Event()
    asked = 0

    def validate_image(self, image: Any) -> str | None:
        Slow.asked += 1
        if image.SeriesDescription == "Raises":
            raise ValueError("Doe^John")
        assert Slow.go_on.wait(60)
        return "not this one" if image.SeriesDescription == "Unwanted" else None


class Pipeline(AbstractThreadedPipeline):
    """A job a series."""

    inputs = {"images": Slow}
    index_also = ("SeriesDescription",)

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


Made = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Yield a maker of nodes; what waits in a validation goes on at the end, and the nodes are closed."""
    monkeypatch.setattr(Slow, "go_on", threading.Event())
    monkeypatch.setattr(Slow, "asked", 0)
    nodes: list[Node] = []

    def make(**table: Any) -> Node:
        nodes.append(Node(tmp_path / str(len(nodes)), Pipeline, **table))
        return nodes[-1]

    yield make
    Slow.go_on.set()
    for each in nodes:
        each.close()


def sort(made: Node) -> None:
    """Let validations go on, and wait until all that came is sorted."""
    Slow.go_on.set()
    made.reception.flush()
    made.timer.run_due()


# -- no answer waits for a validation ------------------------------------------------------------------------


@pytest.mark.parametrize("receivers", [1, 2])
def test_images_are_answered_while_a_validation_lasts(node: Made, receivers: int) -> None:
    """Two hundred are answered, sent again, and released, while the validation of the first goes on.

    No stop-watch: the validation does not return before every answer is there, so an answer that waited for
    one would never come.
    """
    made, images = node(), series(IMAGES, Rows=8, Columns=8, PixelData=bytes(128), SeriesDescription="")
    settings = ReceiverSettings(port=0, receivers=receivers)
    receiver = Receiver(settings, made.reception, made.spool)
    receiver.start()
    try:
        for name in ("first", "again"):
            with RawPeer(receiver.address) as peer:
                assert peer.associate(called=TITLE.encode()) == ACCEPTED
                for number, image in enumerate(images, 1):
                    assert peer.store(image.SOPInstanceUID, encoded(image), number=number) == 0, name
                assert peer.release() == RELEASED
    finally:
        receiver.stop(2)
    assert Slow.asked <= 1
    assert set(made.states().values()) == {"received"}
    sort(made)
    assert Slow.asked == IMAGES
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


def test_what_waits_can_be_looked_at_while_a_validation_lasts(node: Made) -> None:
    """Neither `status` nor the machine needs a lock that it holds."""
    made = node()
    made.send(*series(2, SeriesDescription=""))
    assert made.gatherer.views(made.waiting) == {}
    assert (made.waiting.counts(), made.waiting.keys()) == ({}, [])
    sort(made)
    assert made.gatherer.views(made.waiting)[made.key].images == 2


# -- what becomes of them ------------------------------------------------------------------------------------


def test_images_are_sorted_in_order_and_released_behind_them(node: Made) -> None:
    """A release that comes while they are not sorted yet completes all of them, not those before it alone."""
    made, images = node(), series(5, SeriesDescription="")
    made.send(*images)
    made.release()
    made.let_pass(10 * SETTLE)
    assert made.job_images() == []
    sort(made)
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


def test_an_image_that_comes_again_before_it_is_sorted(node: Made) -> None:
    """It is kept once, and counts for the association that brought it last."""
    made, images = node(), series(2, SeriesDescription="")
    made.send(*images, association="aborted")
    made.abort("aborted")
    made.send(*images, association="again")
    made.release("again")
    sort(made)
    assert made.waiting.counts() == {made.key: {"images": 2}}
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


def test_what_no_input_takes_is_quarantined(node: Made) -> None:
    """Its sender was told that it is stored, so it is kept; it may come again."""
    made = node()
    made.send(*series(1, SeriesDescription="Unwanted"))
    sort(made)
    assert made.states() == {"1.2.3.0": "quarantined"}
    (row,) = made.ledger.instances(InstanceState.QUARANTINED)
    assert row.reason == "images: not this one"
    assert (made.spool.root / row.path).exists()
    assert made.messages(logging.WARNING) == ["no input wants an image; it is quarantined"]
    assert made.waiting.known.file_of("1.2.3.0") is None


def test_what_no_input_takes_is_discarded(node: Made) -> None:
    """Where the site wants that, nothing of it is left but its number, told once when all is sorted."""
    made = node(on_unwanted="discard")
    made.send(*series(3, SeriesDescription="Unwanted"))
    made.release()
    assert made.messages(logging.INFO) == []
    sort(made)
    assert (made.states(), list(made.spool.iterate())) == ({}, [])
    assert made.counted() == {"discarded": 3}
    assert made.messages(logging.INFO) == ["of this association: 3 images of 1 series discarded"]
    made.restart()
    assert made.counted() == {"discarded": 3}


def test_a_check_that_raises(node: Made) -> None:
    """Its image is quarantined, also where others are discarded, and the next one is sorted."""
    made = node(on_unwanted="discard")
    made.send(*series(1, SeriesDescription="Raises"), *series(1, "1.2.4", SeriesDescription=""))
    sort(made)
    assert made.states() == {"1.2.3.0": "quarantined", "1.2.4.0": "waiting"}
    assert made.counted() == {}


def test_what_fails_does_not_stop_the_others(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on, and the failure is told by its type."""
    made = node()
    quarantine = made.spool.quarantine

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made.spool, "quarantine", full)
    made.send(*series(1, SeriesDescription="Unwanted"), *series(1, "1.2.4", SeriesDescription=""))
    sort(made)
    monkeypatch.setattr(made.spool, "quarantine", quarantine)
    assert made.states() == {"1.2.3.0": "received", "1.2.4.0": "waiting"}
    assert made.messages(logging.ERROR) == ["an image could not be sorted: OSError"]
