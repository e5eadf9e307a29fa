"""A peer that this node connects to: its associations, and what can be done about one that it rejects."""

from __future__ import annotations

import threading

import pytest

from acceptor import Acceptor, acceptor, in_turn
from dicomnode.errors import ConfigurationError, DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.dimse.peer import Peer
from raw_peer import MR

EXPLICIT = "1.2.840.10008.1.2.1"


def table(port: int, **values: object) -> PeerTable:
    return PeerTable(**{"ae_title": "PACS", "address": f"127.0.0.1:{port}", "timeout": 5, **values})


def takes_and_releases(pacs: Acceptor) -> None:
    pacs.accept()
    pacs.release()


def test_an_association_is_opened_and_released() -> None:
    """To the configured address, under both AE titles, and released at the end of the block."""
    titles = []

    def script(pacs: Acceptor) -> None:
        original = pacs.pdu

        def pdu() -> tuple[int, bytes]:
            kind, body = original()
            if kind == 1:
                titles.append((body[4:20].strip(), body[20:36].strip()))
            return kind, body

        pacs.pdu = pdu  # type: ignore[method-assign]  # looks at the request
        takes_and_releases(pacs)

    with acceptor(script) as port:
        peer = Peer("PACS", table(port), "NODE")
        with peer.store_association([(MR, EXPLICIT)]) as association:
            assert association.established
        assert not association.established
    assert titles == [(b"PACS", b"NODE")]


def test_an_association_is_released_after_an_error() -> None:
    """What fails in the block leaves no association open."""
    with acceptor(takes_and_releases) as port:
        peer = Peer("PACS", table(port), "NODE")
        with pytest.raises(ZeroDivisionError), peer.service_association("1.2.840.10008.1.20.1"):
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("source", "diagnostic", "said"),
    [
        (
            1,
            7,
            r"Called AE title not recognised.*\. Correct peers\.PACS\.ae_title, 'PACS', or the peer's own",
        ),
        (1, 3, r"Calling AE title not recognised.*\. Make this node's AE title, 'NODE', known to the peer"),
        (3, 1, r"Temporary congestion$"),
    ],
)
def test_what_can_be_done_about_a_rejection(source: int, diagnostic: int, said: str) -> None:
    """The key of the configuration, or this node's name at the peer; where nothing is known, nothing."""

    def script(pacs: Acceptor) -> None:
        pacs.pdu()
        pacs.socket.sendall(bytes([3, 0, 0, 0, 0, 4, 0, 1, source, diagnostic]))

    with (
        acceptor(script) as port,
        pytest.raises(DeliveryError, match=f"^PACS: the association was rejected.*{said}"),
        Peer("PACS", table(port), "NODE").store_association([(MR, EXPLICIT)]),
    ):
        pass


def test_a_peer_that_is_not_there_is_named() -> None:
    """The name of the configuration stands before the reason."""
    said = r"^PACS: no association with 'PACS' at 127\.0\.0\.1:1: "
    peer = Peer("PACS", table(1), "NODE")
    with pytest.raises(DeliveryError, match=said), peer.store_association([(MR, EXPLICIT)]):
        pass


def test_breaking_off_ends_what_is_open_and_opens_nothing_more() -> None:
    """From another thread, while an answer is waited for."""
    waiting = threading.Event()

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        waiting.set()
        pacs.socket.recv(100)

    with acceptor(script) as port:
        peer = Peer("PACS", table(port, timeout=1000), "NODE")
        with peer.service_association("1.2.3") as association:
            assert waiting.wait(20)
            peer.break_off()
            association.serve(1000, until=lambda: False)  # ends at once
            assert not association.established
        with pytest.raises(DeliveryError, match="broken off"), peer.service_association("1.2.3"):
            pass


def test_another_configuration_counts_from_the_next_association() -> None:
    """The address is the new one then; one that cannot be used is refused, and the old one stays."""
    with acceptor(in_turn(takes_and_releases, takes_and_releases), connections=2) as port:
        peer = Peer("PACS", table(1), "NODE")
        peer.reconfigure(table(port))
        with peer.store_association([(MR, EXPLICIT)]):
            pass
        for wrong in (PeerTable(ae_title="X"), table(port, tls={"authorities": "/gone.pem"})):
            with pytest.raises(ConfigurationError):
                peer.reconfigure(wrong)
        with peer.store_association([(MR, EXPLICIT)]):
            pass


def test_a_peer_without_an_address() -> None:
    """Nothing can be sent to it; the key is named."""
    with pytest.raises(ConfigurationError, match=r"set peers\.PACS\.address"):
        Peer("PACS", PeerTable(ae_title="PACS"), "NODE")
