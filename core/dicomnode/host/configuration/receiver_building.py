"""From the configuration to the receiver's settings."""

from __future__ import annotations

import ipaddress

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config, PeerTable
from dicomnode.host.configuration.receiver_settings import (
    AllowedPeer,
    IPNetwork,
    ReceiverSettings,
    TLSSettings,
)


def receiver_settings(config: Config) -> ReceiverSettings:
    """Return how the receiver listens and what it bears.

    Raises
    ------
    ConfigurationError
        When everybody would be let in from a network.
    """
    host, tls = config.host, config.tls
    peers = tuple(_allowed(name, config) for name in host.allow)
    try:
        return ReceiverSettings(
            host=host.bind.host,
            port=host.bind.port,
            ae_title=host.ae_title,
            peers=peers,
            tls=None if tls is None else TLSSettings(tls.certificate, tls.key, tls.authorities),
            insecure=host.insecure,
            durability=host.durability,
            **config.receiver.model_dump(),
        )
    except ConfigurationError as error:
        msg = f"{config.label(('host', 'bind'))}: {error}"
        raise ConfigurationError(msg) from error


def _allowed(name: str, config: Config) -> AllowedPeer:
    if name in config.peers:
        peer = config.peers[name]
        return AllowedPeer(peer.ae_title, _network(peer), peer.certificate)
    return AllowedPeer(network=ipaddress.ip_network(name, strict=False))


def _network(peer: PeerTable) -> IPNetwork | None:
    """Return from where a peer may come: as configured, else its own address if that is a number."""
    if peer.network is not None:
        return ipaddress.ip_network(peer.network, strict=False)
    if peer.address is None:
        return None
    try:
        return ipaddress.ip_network(peer.address.host)
    except ValueError:
        return None
