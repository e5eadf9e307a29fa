"""TLS for the receiver: BCP 195 profile (PS3.15 annex B), certificates reloaded when they change."""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
from pathlib import Path
from typing import NamedTuple

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.receiver_settings import TLSSettings

_LOG = logging.getLogger(__name__)
# TLS 1.2 with forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class PeerCertificate(NamedTuple):
    """Who the peer has proved to be."""

    fingerprint: str
    """SHA-256 of the certificate, lower-case hexadecimal."""
    common_name: str


class ServerTLS:
    """Makes the context for each connection, anew whenever one of the files has changed.

    Parameters
    ----------
    settings : TLSSettings

    Raises
    ------
    ConfigurationError
        If the files cannot be used.
    """

    def __init__(self, settings: TLSSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp = self._stamped()
        try:
            self._context = self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"TLS cannot be used with {settings.certificate}, {settings.key}: {error}"
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection; the old one if renewed files cannot be used."""
        with self._lock:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._context = self._load()
                    _LOG.info("TLS certificates were renewed")
                except (OSError, ssl.SSLError) as error:
                    _LOG.error("renewed TLS certificates cannot be used, the old ones stay: %s", error)
            return self._context

    def _load(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.authorities is not None:
            context.load_verify_locations(settings.authorities)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        paths = (self._settings.certificate, self._settings.key, self._settings.authorities)
        return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def peer_certificate(sock: ssl.SSLSocket) -> PeerCertificate | None:
    """Return what is needed of the peer's verified certificate, None if there is none."""
    encoded = sock.getpeercert(binary_form=True)
    if not encoded:
        return None
    subject = (sock.getpeercert() or {}).get("subject", ())
    pairs = [pair for group in subject if isinstance(group, tuple) for pair in group]
    names = [str(pair[1]) for pair in pairs if pair[0] == "commonName"]
    return PeerCertificate(hashlib.sha256(encoded).hexdigest(), names[0] if names else "")
