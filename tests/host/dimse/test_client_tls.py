"""TLS towards a peer: whose certificate is believed, and what is shown."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certificates import make_certificate
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.dimse.client_tls import client_context

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Make an authority, two servers and a client of it, and a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_certificate(folder, "authority")
    return {
        "authority": authority,
        "stranger": make_certificate(folder, "stranger"),
        **{name: make_certificate(folder, name, authority[0]) for name in ("pacs", "node")},
    }


@contextmanager
def server(certificate: Pair, authority: Path | None = None) -> Iterator[tuple[int, list[Any]]]:
    """Accept TLS connections; yield the port and the certificates that clients show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    shown: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def work() -> None:
            try:
                sock, _address = listening.accept()
                with context.wrap_socket(sock, server_side=True) as connection:
                    shown.append(connection.getpeercert())
                    connection.sendall(b"hello")
            except OSError as error:
                shown.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield listening.getsockname()[1], shown
        thread.join(20)


def greeted(port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), 20) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as connection,
    ):
        return connection.recv(5)


def context_of(pinned: str | None = None, **tls: Any) -> ssl.SSLContext:
    table = PeerTable(ae_title="PACS", address="localhost:104", tls=tls, certificate=pinned)
    made = client_context("PACS", table)
    assert made is not None
    return made


def test_plain_tcp() -> None:
    """A peer without a table for TLS is spoken to without."""
    assert client_context("PACS", PeerTable(ae_title="PACS", address="localhost:104")) is None


def test_a_peer_that_the_authorities_know(files: dict[str, Pair]) -> None:
    """Its certificate is signed by them, and issued to its host; nothing older than TLS 1.2 is spoken."""
    context = context_of(authorities=files["authority"][0])
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    with server(files["pacs"]) as (port, _shown):
        assert greeted(port, context) == b"hello"


def test_a_peer_that_nobody_knows(files: dict[str, Pair]) -> None:
    """A certificate of another authority is not believed."""
    with server(files["stranger"]) as (port, _shown), pytest.raises(ssl.SSLCertVerificationError):
        greeted(port, context_of(authorities=files["authority"][0]))


def test_this_node_shows_its_certificate(files: dict[str, Pair]) -> None:
    """Where the table has one, and to a peer that asks for it."""
    certificate, key = files["node"]
    context = context_of(authorities=files["authority"][0], certificate=certificate, key=key)
    with server(files["pacs"], files["authority"][0]) as (port, shown):
        assert greeted(port, context) == b"hello"
    assert "node" in str(shown[0]["subject"])


@pytest.mark.parametrize("as_fingerprint", [True, False])
def test_one_certificate_alone(files: dict[str, Pair], as_fingerprint: bool) -> None:
    """Named by fingerprint (in any spelling) or common name, no other is spoken with, though it is signed."""
    encoded = ssl.PEM_cert_to_DER_cert(files["pacs"][0].read_text())
    digest = hashlib.sha256(encoded).hexdigest().upper()
    colons = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
    context = context_of(colons if as_fingerprint else " pacs ", authorities=files["authority"][0])
    with server(files["pacs"]) as (port, _shown):
        assert greeted(port, context) == b"hello"
    with (
        server(files["node"]) as (port, _shown),
        pytest.raises(ssl.SSLCertVerificationError, match="another"),
    ):
        greeted(port, context)


@pytest.mark.parametrize("broken", ["authorities", "certificate", "key"])
def test_files_that_cannot_be_used(files: dict[str, Pair], tmp_path: Path, broken: str) -> None:
    """The peer and its table are named, and why."""
    certificate, key = files["node"]
    tls = {"authorities": files["authority"][0], "certificate": certificate, "key": key}
    tls[broken] = tmp_path / "gone.pem"
    with pytest.raises(ConfigurationError, match=r"peers\.PACS\.tls: the certificate files cannot be used: "):
        context_of(**tls)
