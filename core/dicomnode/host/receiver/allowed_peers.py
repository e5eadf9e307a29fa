"""Which peers may associate: by address when they connect, by AE title and certificate when they ask to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from dicomnode.host.configuration.receiver_settings import AllowedPeer
from dicomnode.host.dimse.tls import PeerCertificate


class AllowedPeers:
    """The allow-list. An empty one allows everybody (the settings see to it that nobody else can connect)."""

    def __init__(self, peers: Sequence[AllowedPeer]) -> None:
        self._peers = tuple(peers)

    def replace(self, peers: Sequence[AllowedPeer]) -> None:
        """Use another list from now on. Associations that are open go on."""
        self._peers = tuple(peers)

    def may_connect(self, address: str) -> bool:
        """Say whether any peer may come from this address."""
        return not self._peers or any(_comes_from_network(peer, address) for peer in self._peers)

    def may_associate(self, calling: str, address: str, certificate: PeerCertificate | None) -> bool:
        """Say whether one and the same peer has this title, address and certificate."""
        return not self._peers or any(
            (peer.ae_title is None or peer.ae_title.strip() == calling)
            and _comes_from_network(peer, address)
            and _shows_certificate(peer, certificate)
            for peer in self._peers
        )


def plain_address(address: str) -> str:
    """Return an address without its zone, and an IPv4-mapped IPv6 address as the IPv4 address that it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _comes_from_network(peer: AllowedPeer, address: str) -> bool:
    if peer.network is None:
        return True
    parsed = ipaddress.ip_address(address)
    return parsed.version == peer.network.version and parsed in peer.network


def _shows_certificate(peer: AllowedPeer, certificate: PeerCertificate | None) -> bool:
    if peer.certificate is None:
        return True
    if certificate is None:
        return False
    wanted = peer.certificate.strip()
    return wanted.replace(":", "").lower() == certificate.fingerprint or wanted == certificate.common_name
