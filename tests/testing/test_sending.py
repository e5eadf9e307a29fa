"""Sending images over a real association to a peer on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from dicomnode.errors import DeliveryError
from dicomnode.testing import synthetic_series
from dicomnode.testing.faults import Faults
from dicomnode.testing.sending import send


class Peer:
    """A storage SCP for CT images that notes what it sees, and answers as a function says."""

    def __init__(self, answer: Callable[[Any, int], int]) -> None:
        self.seen: list[str] = []
        self.ends: list[str] = []
        self.titles: set[tuple[str, str]] = set()
        self._answer = answer

    @contextmanager
    def running(self) -> Iterator[tuple[str, int]]:
        """Run it, and yield where it listens."""
        ae = AE("PEER")
        ae.add_supported_context(CTImageStorage)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, lambda _: self.ends.append("released")),
            (evt.EVT_ABORTED, lambda _: self.ends.append("aborted")),
        ]
        server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield "127.0.0.1", server.socket.getsockname()[1]
            for association in server.active_associations:
                association.join()
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:
        self.seen.append(str(event.request.AffectedSOPInstanceUID))
        requestor, acceptor = event.assoc.requestor, event.assoc.acceptor
        self.titles.add((requestor.primitive.calling_ae_title, acceptor.primitive.called_ae_title))
        return self._answer(event, len(self.seen))


def success(event: Any, number: int) -> int:
    """Take every image."""
    return 0x0000


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    """Return three CT images."""
    return synthetic_series("CT", (3, 4, 4))


def uids(images: list[Dataset]) -> list[str]:
    """Return their SOP Instance UIDs."""
    return [str(image.SOPInstanceUID) for image in images]


def test_images_go_over_one_association_that_is_released(images: list[Dataset]) -> None:
    """In their order, each with its status, under the two AE titles."""
    peer = Peer(success)
    with peer.running() as address:
        assert send(iter(images), address, "CALLED", calling_ae_title="CALLING") == [0, 0, 0]
    assert peer.seen == uids(images)
    assert peer.ends == ["released"]
    assert peer.titles == {("CALLING", "CALLED")}


def test_one_image_needs_no_list(images: list[Dataset]) -> None:
    """A dataset is sent as a list of one."""
    peer = Peer(success)
    with peer.running() as address:
        assert send(images[0], address, "PEER") == [0]
    assert peer.seen == uids(images[:1])
    assert peer.titles == {("SCANNER", "PEER")}


def test_each_image_gives_the_status_that_the_peer_answered(images: list[Dataset]) -> None:
    """A refusal is a status and no error: the next image is sent all the same."""
    peer = Peer(lambda _, number: 0xA700 if number == 2 else 0x0000)
    with peer.running() as address:
        assert send(images, address, "PEER") == [0x0000, 0xA700, 0x0000]


def test_an_abort_ends_the_association_after_so_many_images(images: list[Dataset]) -> None:
    """Those that were answered have their status; the rest is never sent."""
    peer = Peer(success)
    with peer.running() as address:
        assert send(images, address, "PEER", faults=Faults(abort_after=2)) == [0, 0]
    assert peer.seen == uids(images[:2])
    assert peer.ends == ["aborted"]


def test_an_abort_may_come_before_the_first_image(images: list[Dataset]) -> None:
    """Nought images are not all of them."""
    peer = Peer(success)
    with peer.running() as address:
        assert send(images, address, "PEER", faults=Faults(abort_after=0)) == []
    assert peer.ends == ["aborted"]
    assert not peer.seen


def test_the_faults_decide_what_is_sent(images: list[Dataset]) -> None:
    """Dropped and doubled as they say."""
    peer = Peer(success)
    with peer.running() as address:
        send(images, address, "PEER", faults=Faults(drop=[0], duplicate=[2]))
    assert peer.seen == [uids(images)[index] for index in (1, 2, 2)]


def test_a_lost_association_is_an_error_that_counts(images: list[Dataset]) -> None:
    """With the peer's title, and how many images were answered before."""

    def second_aborts(event: Any, number: int) -> int:
        if number == 2:
            event.assoc.abort()
        return 0x0000

    with (
        Peer(second_aborts).running() as address,
        pytest.raises(DeliveryError, match="the association with PEER was lost after 1 images"),
    ):
        send(images, address, "PEER")


def test_a_peer_that_is_not_there_is_an_error(images: list[Dataset]) -> None:
    """With its title and address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
        message = f"no association with PEER at 127.0.0.1:{address[1]}"
        with pytest.raises(DeliveryError, match=message):
            send(images, address, "PEER")
