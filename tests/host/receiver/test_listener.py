"""Closed by default: who may connect and associate, and where the receiver listens."""

from __future__ import annotations

import ipaddress
import socket
import threading
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.receiver_settings import AllowedPeer, ReceiverSettings, TLSSettings
from dicomnode.host.receiver.allowed_peers import AllowedPeers, plain_address
from raw_peer import ABORTED, ACCEPTED, REJECTED, RawPeer, command, p_data
from receiving import encoded, receiving, small_dataset

HERE = ipaddress.ip_network("127.0.0.2/32")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "hospital.example"])
def test_a_network_address_needs_a_reason(host: str) -> None:
    """Without peers, mutual TLS or `insecure` only a loopback address can be bound to."""
    with pytest.raises(ConfigurationError, match="insecure = true"):
        ReceiverSettings(host=host)
    with pytest.raises(ConfigurationError, match="insecure = true"):
        ReceiverSettings(host=host, tls=TLSSettings(Path("a"), Path("b")))
    ReceiverSettings(host=host, insecure=True)
    ReceiverSettings(host=host, peers=(AllowedPeer("A"),))
    ReceiverSettings(host=host, tls=TLSSettings(Path("a"), Path("b"), Path("c")))
    ReceiverSettings(host="::1")


@pytest.mark.parametrize(
    "wrong", [{"max_pdu_length": 100}, {"max_associations": 0}, {"idle_timeout": 0}, {"pdu_timeout": -1}]
)
def test_nonsense_is_refused(wrong: dict[str, int]) -> None:
    """Settings that cannot work are an error that names them."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ReceiverSettings(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_an_address_that_is_not_listed_is_closed_at_once(tmp_path: Path) -> None:
    """A connection from elsewhere is closed before it can say anything."""
    with receiving(tmp_path, peers=(AllowedPeer(network=HERE),)) as (receiver, _store_handler, _spool):
        with RawPeer(receiver.address, "127.0.0.3") as peer:
            assert peer.receive()[0] == 0
        with RawPeer(receiver.address, "127.0.0.2") as peer:
            assert peer.associate() == ACCEPTED


def test_title_and_address_belong_together(tmp_path: Path) -> None:
    """A listed title from another peer's address is rejected as unknown."""
    peers = (AllowedPeer("CT", HERE), AllowedPeer("MR", ipaddress.ip_network("127.0.0.3/32")))
    with receiving(tmp_path, peers=peers) as (receiver, _store_handler, _spool):
        for source, title, answer in (
            ("127.0.0.2", b"CT", ACCEPTED),
            ("127.0.0.3", b"MR", ACCEPTED),
            ("127.0.0.3", b"CT", REJECTED),
            ("127.0.0.2", b"XX", REJECTED),
        ):
            with RawPeer(receiver.address, source) as peer:
                assert peer.associate(calling=title) == answer


def test_addresses_in_other_clothes() -> None:
    """IPv4 in IPv6 is IPv4; families do not mix."""
    assert plain_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert not AllowedPeers([AllowedPeer(network=HERE)]).may_connect("::1")


def test_ipv6(tmp_path: Path) -> None:
    """The receiver listens on an IPv6 address as well."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with (
        receiving(tmp_path, host="::1") as (receiver, _store_handler, _spool),
        RawPeer(receiver.address, "::1") as peer,
    ):
        assert peer.associate() == ACCEPTED


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """A second receiver on the same port does not start."""
    with (
        receiving(tmp_path / "one") as (receiver, _store_handler, _spool),
        pytest.raises(OSError, match="in use"),
        receiving(tmp_path / "two", port=receiver.address[1]),
    ):
        pass


def test_stopping_lets_a_message_finish(tmp_path: Path) -> None:
    """An association in the midst of a message goes on; an idle one is aborted; nobody new gets in."""
    data = encoded(small_dataset(SOPInstanceUID="1.2.3"))
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address) as busy, RawPeer(receiver.address) as idle:
            assert busy.associate() == idle.associate() == ACCEPTED
            busy.send(p_data(1, 3, command(1, "1.2.840.10008.5.1.4.1.1.4", data_set=True, instance="1.2.3")))
            stopping = threading.Thread(target=receiver.stop, args=(300,))
            stopping.start()
            assert idle.receive()[0] == ABORTED
            with pytest.raises(OSError, match="refused"):
                RawPeer(receiver.address)
            busy.send(p_data(1, 2, data))
            assert busy.status() == 0
            stopping.join(20)
            assert not stopping.is_alive()
        assert len(store_handler.ended) == 2
        assert len(store_handler.kept) == 1


def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    """After the grace a message that goes nowhere is aborted, and nothing of it is left."""
    with receiving(tmp_path) as (receiver, store_handler, _spool), RawPeer(receiver.address) as peer:
        assert peer.associate() == ACCEPTED
        peer.send(p_data(1, 3, command(1, "1.2.840.10008.5.1.4.1.1.4", data_set=True, instance="1.2.3")))
        receiver.stop(grace=1)
        assert peer.receive()[0] == ABORTED
        assert [released for _association, released in store_handler.ended] == [False]
    assert not list((tmp_path / "spool" / "incoming").iterdir())
