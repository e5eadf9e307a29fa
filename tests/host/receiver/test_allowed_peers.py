"""The allow-list: title, address and certificate must be those of one and the same peer."""

from __future__ import annotations

import ipaddress

import pytest

from dicomnode.host.configuration.receiver_settings import AllowedPeer
from dicomnode.host.dimse.tls import PeerCertificate
from dicomnode.host.receiver.allowed_peers import AllowedPeers, plain_address

HOSPITAL = ipaddress.ip_network("10.1.0.0/16")
CERTIFICATE = PeerCertificate("ab" * 32, "scanner")


def test_an_empty_list_allows_everybody() -> None:
    """Without entries any address may connect, and any title may associate."""
    allowed = AllowedPeers([])
    assert allowed.may_connect("192.0.2.1")
    assert allowed.may_associate("ANY", "192.0.2.1", None)


@pytest.mark.parametrize(
    ("address", "may"), [("10.1.2.3", True), ("10.2.2.3", False), ("::1", False), ("::a01:203", False)]
)
def test_a_network_is_asked_at_the_connection(address: str, *, may: bool) -> None:
    """An address outside the network may not connect, nor may one of another IP version."""
    assert AllowedPeers([AllowedPeer(network=HOSPITAL)]).may_connect(address) is may


def test_one_entry_without_a_network_lets_any_address_connect() -> None:
    """Whether a peer may connect is only refused where no entry could fit the address."""
    allowed = AllowedPeers([AllowedPeer("ONE", HOSPITAL), AllowedPeer("TWO")])
    assert allowed.may_connect("192.0.2.1")
    assert not allowed.may_associate("ONE", "192.0.2.1", None)
    assert allowed.may_associate("TWO", "192.0.2.1", None)


def test_title_and_address_must_be_of_one_entry() -> None:
    """The title of one entry with the address of another is refused."""
    other = ipaddress.ip_network("10.2.0.0/16")
    allowed = AllowedPeers([AllowedPeer("ONE", HOSPITAL), AllowedPeer("TWO", other)])
    assert allowed.may_associate("ONE", "10.1.0.1", None)
    assert not allowed.may_associate("ONE", "10.2.0.1", None)
    assert not allowed.may_associate("TWO", "10.1.0.1", None)


@pytest.mark.parametrize(("calling", "may"), [("ONE", True), ("one", False), ("ONE2", False), ("", False)])
def test_a_title_is_compared_without_the_padding_of_the_list(calling: str, *, may: bool) -> None:
    """Spaces around a title of the list do not count; upper and lower case do."""
    assert AllowedPeers([AllowedPeer(" ONE ")]).may_associate(calling, "10.1.0.1", None) is may


@pytest.mark.parametrize(
    ("wanted", "shown", "may"),
    [
        ("scanner", CERTIFICATE, True),
        ("Scanner", CERTIFICATE, False),
        ("ab" * 32, CERTIFICATE, True),
        (" " + ":".join(["AB"] * 32) + "\n", CERTIFICATE, True),
        ("cd" * 32, CERTIFICATE, False),
        ("ab" * 31, CERTIFICATE, False),
        ("scanner", None, False),
    ],
)
def test_a_certificate_is_named_by_fingerprint_or_common_name(
    wanted: str, shown: PeerCertificate | None, *, may: bool
) -> None:
    """A fingerprint may have colons and capitals, a common name must be exact; no certificate is refused."""
    allowed = AllowedPeers([AllowedPeer(certificate=wanted)])
    assert allowed.may_associate("ANY", "10.1.0.1", shown) is may


def test_another_list_takes_the_place_of_the_first() -> None:
    """After `replace` only the new entries count, whatever becomes of the given sequence."""
    allowed = AllowedPeers([AllowedPeer("ONE")])
    peers = [AllowedPeer("TWO")]
    allowed.replace(peers)
    peers.append(AllowedPeer("ONE"))
    assert not allowed.may_associate("ONE", "10.1.0.1", None)
    assert allowed.may_associate("TWO", "10.1.0.1", None)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("no address", "no address"),
        ("", ""),
    ],
)
def test_an_address_in_its_plain_form(address: str, plain: str) -> None:
    """The zone goes, a mapped IPv4 address is that IPv4 address, and what is no address stays as it is."""
    assert plain_address(address) == plain
