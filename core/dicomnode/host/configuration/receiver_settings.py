"""The settings of the receiver. Plain data: :mod:`.receiver_building` makes it of the configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from dicomnode.errors import ConfigurationError
from dicomnode.host.foundation.durability import Durability
from dicomnode.host.parsing.inspection import InspectionLimits

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_LEAST_PDU, _MOST_PDU = 4096, 16 * 2**20
_MOST_RECEIVERS = 64


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """Who may associate. What is None is not asked.

    Parameters
    ----------
    ae_title : str, optional
        The calling AE title.
    network : IPv4Network or IPv6Network, optional
        Where the connection must come from; one address is a network of one.
    certificate : str, optional
        The SHA-256 fingerprint of the peer's certificate (hexadecimal, colons allowed), or its common name.
    """

    ae_title: str | None = None
    network: IPNetwork | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Secure transport (PS3.15 annex B, BCP 195 profile): TLS 1.2 or newer, strong cipher suites only.

    The files are looked at again for every connection: renewed certificates are used without a restart.

    Parameters
    ----------
    certificate, key : Path
        This node's certificate chain and private key (PEM).
    authorities : Path, optional
        The certificates (PEM) that sign the peers'. When given, a peer without a valid certificate is refused
        (mutual authentication).
    """

    certificate: Path
    key: Path
    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How the receiver listens, and what it bears.

    Parameters
    ----------
    host : str
        The address to bind to.
    port : int
        0 takes a free one; :attr:`Receiver.address` says which.
    ae_title : str
        How this node calls itself. Which called AE titles are accepted is up to the store handler.
    peers : tuple of AllowedPeer
        Who may associate; empty is everybody, which is only allowed on a loopback address, with mutual TLS,
        or with `insecure`.
    tls : TLSSettings, optional
        None is plain TCP.
    insecure : bool
        Listen on a network address without an allow-list or mutual TLS.
    receivers : int
        Processes that receive. 1 is this process itself; with more, each receives on a core of its own, and
        this one decides.
    max_associations, max_associations_per_address : int
        Connections at a time, whatever state they are in; one more is closed at once.
    max_pdu_length : int
        In bytes; what this node announces. A longer PDU ends the association.
    max_object_size : int
        Of a data set, in bytes. A longer one ends the association.
    acse_timeout : float
        Seconds from the connection to a negotiated association, TLS handshake included.
    pdu_timeout : float
        Seconds from the first byte of a PDU to its last; also how long the peer may take to take an answer.
    message_timeout : float
        Seconds from the first byte of a message to its last.
    idle_timeout : float
        Seconds that an association may be silent between two messages.
    durability : {"power", "process"}
        See :class:`~dicomnode.host.spool.spool.Spool`; the receiver takes the spool's, this is for the one
        who makes both.
    deflated : bool
        Accept deflated transfer syntaxes. They are inflated (bounded) to be checked.
    extra_sop_classes, extra_transfer_syntaxes : tuple of str
        UIDs to accept besides the standard's storage classes and pydicom's transfer syntaxes.
    limits : InspectionLimits
        What a data set may not exceed.

    Raises
    ------
    ConfigurationError
        If the values contradict each other.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "DICOMNODE"
    peers: tuple[AllowedPeer, ...] = ()
    tls: TLSSettings | None = None
    insecure: bool = False
    receivers: int = 1
    max_associations: int = 100
    max_associations_per_address: int = 25
    max_pdu_length: int = 131_072
    max_object_size: int = 4 * 2**30
    acse_timeout: float = 10.0
    pdu_timeout: float = 30.0
    message_timeout: float = 1800.0
    idle_timeout: float = 300.0
    durability: Durability = "power"
    deflated: bool = False
    extra_sop_classes: tuple[str, ...] = ()
    extra_transfer_syntaxes: tuple[str, ...] = ()
    limits: InspectionLimits = field(default_factory=InspectionLimits)

    def __post_init__(self) -> None:
        if not _LEAST_PDU <= self.max_pdu_length <= _MOST_PDU:
            raise ConfigurationError(
                f"max_pdu_length is {self.max_pdu_length}: it must be from {_LEAST_PDU} to {_MOST_PDU} bytes"
            )
        if self.max_associations < 1 or self.max_associations_per_address < 1:
            raise ConfigurationError("max_associations and max_associations_per_address must be at least 1")
        if not 1 <= self.receivers <= _MOST_RECEIVERS:
            raise ConfigurationError(f"receivers is {self.receivers}: it must be from 1 to {_MOST_RECEIVERS}")
        for name in ("acse_timeout", "pdu_timeout", "message_timeout", "idle_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0 seconds")
        mutual = self.tls is not None and self.tls.authorities is not None
        if not (self.insecure or self.peers or mutual or is_loopback(self.host)):
            raise ConfigurationError(
                f"the receiver would listen on {self.host} for everybody. List the peers, use TLS with "
                "authorities (mutual), bind to 127.0.0.1, or say insecure = true"
            )


def is_loopback(host: str) -> bool:
    """Say whether binding to `host` is invisible from other machines."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
