"""TLS towards a peer (PS3.15 annex B, BCP 195 profile)."""

from __future__ import annotations

import ssl
from typing import Any

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import PeerTable, PeerTLSTable
from dicomnode.host.dimse.tls import peer_certificate


def client_context(name: str, peer: PeerTable) -> ssl.SSLContext | None:
    """Return the context with which to connect to a peer; ``None`` where it is spoken to in plain TCP.

    The peer's certificate must be signed by the given authorities (the system's where there are none). It
    must be issued to the host of the peer's address or, where ``certificate`` names a fingerprint or common
    name, be that certificate.

    Parameters
    ----------
    name : str
        The peer's name in the configuration.
    peer : PeerTable
        The peer.

    Raises
    ------
    ConfigurationError
        When the files cannot be used.
    """
    if peer.tls is None:
        return None
    try:
        return _context(peer.tls, peer.certificate)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        msg = f"peers.{name}.tls: the certificate files cannot be used: {reason}"
        raise ConfigurationError(msg) from error


def _context(table: PeerTLSTable, certificate: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=table.authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if table.certificate is not None:
        password = None if table.key_password is None else table.key_password.get_secret_value
        context.load_cert_chain(table.certificate, table.key, password)
    if certificate is not None:
        context.check_hostname = False
        context.sslsocket_class = _pinned(certificate)
    return context


def _pinned(wanted: str) -> type[ssl.SSLSocket]:
    """Return a kind of socket that talks to the holder of one certificate only."""
    fingerprint = wanted.strip().replace(":", "").lower()

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, *arguments: Any, **options: Any) -> None:
            super().do_handshake(*arguments, **options)
            shown = peer_certificate(self)
            if shown is None or (shown.fingerprint != fingerprint and shown.common_name != wanted.strip()):
                raise ssl.SSLCertVerificationError(
                    "the peer shows another certificate than the configuration names"
                )

    return PinnedSocket
