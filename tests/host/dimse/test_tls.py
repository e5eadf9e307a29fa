"""TLS: strong only, mutual when told so, renewed without a restart, and no way to stop the listener."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import client_context, make_certificate
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.receiver_settings import AllowedPeer, TLSSettings
from raw_peer import ACCEPTED, REJECTED, RELEASED, RawPeer, check_echo
from receiving import dataset_bytes, encoded, receiving, run_tool, share_without_a_stall, small_dataset


@dataclass
class Certificates:
    """An authority, the server's, and one client's."""

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]

    def settings(self, *, mutual: bool) -> TLSSettings:
        return TLSSettings(*self.server, self.authority if mutual else None)

    def context(self, *, own: bool) -> ssl.SSLContext:
        return client_context(self.authority, self.client if own else None)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once for all tests here."""
    directory = tmp_path_factory.mktemp("certificates")
    authority, _key = make_certificate(directory, "authority")
    return Certificates(
        authority,
        make_certificate(directory, "server", authority),
        make_certificate(directory, "scanner", authority),
    )


@pytest.mark.parametrize("mutual", [False, True])
def test_an_instance_over_tls(tmp_path: Path, certificates: Certificates, mutual: bool) -> None:
    """An instance larger than a TLS record arrives byte for byte."""
    uid, data = "1.2.3", encoded(small_dataset(SOPInstanceUID="1.2.3", PixelData=os.urandom(500_000)))
    with receiving(tmp_path, tls=certificates.settings(mutual=mutual)) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address, tls=certificates.context(own=mutual)) as peer:
            assert peer.associate() == ACCEPTED
            assert peer.store(uid, data) == 0
            assert peer.echo() == 0
            assert peer.release() == RELEASED
        store_handler.wait_for_end()
    assert dataset_bytes(store_handler.kept[0][2]) == data
    assert store_handler.ended[0][0].peer_certificate == ("scanner" if mutual else None)


def test_a_peer_without_certificate_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """With mutual authentication, no certificate or one of a stranger ends the connection."""
    stranger = make_certificate(tmp_path, "stranger")
    contexts = [certificates.context(own=False), client_context(certificates.authority, stranger)]
    with receiving(tmp_path, tls=certificates.settings(mutual=True)) as (receiver, store_handler, _spool):
        for context in contexts:
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                check_echo(receiver.address, tls=context)
    assert not store_handler.ended


def test_old_protocols_are_refused(tmp_path: Path, certificates: Certificates) -> None:
    """TLS 1.1, and TLS 1.2 with a cipher without forward secrecy, are not spoken."""
    old = certificates.context(own=False)
    weak = certificates.context(own=False)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with receiving(tmp_path, tls=certificates.settings(mutual=False)) as (receiver, _store_handler, _spool):
        for context in (old, weak):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                RawPeer(receiver.address, tls=context)
        check_echo(receiver.address, tls=certificates.context(own=False))


def test_a_certificate_may_be_required_of_a_peer(tmp_path: Path, certificates: Certificates) -> None:
    """The allow-list binds an AE title to a certificate, by fingerprint or by name."""
    encoded_certificate = ssl.PEM_cert_to_DER_cert(certificates.client[0].read_text())
    fingerprint = hashlib.sha256(encoded_certificate).hexdigest().upper()
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2))
    expected = {"scanner": ACCEPTED, fingerprint: ACCEPTED, colons: ACCEPTED, "other": REJECTED}
    for number, (certificate, answer) in enumerate(expected.items()):
        peers = (AllowedPeer("RAW", certificate=certificate),)
        tls = certificates.settings(mutual=True)
        with (
            receiving(tmp_path / str(number), tls=tls, peers=peers) as (receiver, _store_handler, _spool),
            RawPeer(receiver.address, tls=certificates.context(own=True)) as peer,
        ):
            assert peer.associate() == answer


def test_renewed_certificates_are_used_at_once(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate replaced on disk is shown to the next peer; a broken one leaves the old in use."""
    authority, _key = make_certificate(tmp_path, "next-authority")
    current = tmp_path / "current.pem", tmp_path / "current.key"

    def put(source: tuple[Path, Path]) -> None:
        for target, path in zip(current, source, strict=True):
            target.with_suffix(".new").write_bytes(path.read_bytes())
            target.with_suffix(".new").rename(target)

    put(certificates.server)
    with receiving(tmp_path, tls=TLSSettings(*current)) as (receiver, _store_handler, _spool):
        check_echo(receiver.address, tls=certificates.context(own=False))
        put(make_certificate(tmp_path, "renewed", authority))
        check_echo(receiver.address, tls=client_context(authority))
        current[0].write_text("broken")
        check_echo(receiver.address, tls=client_context(authority))


def test_unusable_certificates_are_said(tmp_path: Path) -> None:
    """A missing file is a configuration error at the start that names it."""
    with (
        pytest.raises(ConfigurationError, match=r"nothing\.pem"),
        receiving(tmp_path, tls=TLSSettings(tmp_path / "nothing.pem", tmp_path / "nothing.key")),
    ):
        pass


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_silent_connections_stop_nobody(tmp_path: Path, certificates: Certificates, said: bytes) -> None:
    """Twelve connections that begin no handshake, or half of one, disturb nobody while they last."""
    tls, context = certificates.settings(mutual=False), certificates.context(own=False)
    with (
        receiving(tmp_path, tls=tls, acse_timeout=300) as (receiver, _store_handler, _spool),
        ExitStack() as stack,
    ):
        silent = [stack.enter_context(RawPeer(receiver.address, "127.0.0.2")) for _ in range(12)]
        for peer in silent:
            peer.send(said)
        check_echo(receiver.address, tls=context)
        if not said.startswith(b"GET"):  # which is no handshake, and is refused as soon as it is read
            assert all(peer.is_open for peer in silent)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_silent_connections_end(tmp_path: Path, certificates: Certificates, said: bytes) -> None:
    """A connection that begins no handshake, or half of one, ends at its deadline, and so does its thread."""
    tls = certificates.settings(mutual=False)
    with receiving(tmp_path, tls=tls, acse_timeout=1) as (receiver, _store_handler, _spool):
        threads = threading.active_count()
        with RawPeer(receiver.address, "127.0.0.2") as peer:
            peer.send(said)
            while peer.receive()[0]:
                pass  # an alert is read as a PDU of an odd type
            deadline = time.monotonic() + 20
            while threading.active_count() > threads:
                assert time.monotonic() < deadline


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Forty small images."""
    paths = [tmp_path / f"{number}.dcm" for number in range(40)]
    for path in paths:
        small_dataset().save_as(path)
    return paths


@pytest.mark.peers
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
@pytest.mark.parametrize("tool", ["echoscu", "storescu"])
def test_dcmtk_over_mutual_tls(
    tmp_path: Path, certificates: Certificates, images: list[Path], profile: str, tool: str
) -> None:
    """DCMTK's clients are served in each BCP 195 profile that they know (PS3.15 B.9, B.10)."""
    with receiving(tmp_path, tls=certificates.settings(mutual=True)) as (receiver, store_handler, _spool):
        certificate, key = certificates.client
        run_tool(
            tool, "+tls", key, certificate, "+cf", certificates.authority, profile, "-aec", "DICOMNODE",
            "127.0.0.1", str(receiver.address[1]), *(images if tool == "storescu" else []),
        )  # fmt: skip
        store_handler.wait_for_end()
    assert len(store_handler.kept) == (len(images) if tool == "storescu" else 0)
    assert store_handler.ended[0][1]


@pytest.mark.peers
def test_dcmtk_without_a_certificate(tmp_path: Path, certificates: Certificates, images: list[Path]) -> None:
    """An anonymous client is served where authentication is one-sided, and refused where it is mutual."""
    anonymous = ["+tla", "+cf", str(certificates.authority), "-aec", "DICOMNODE", "127.0.0.1"]
    for mutual in (False, True):
        tls = certificates.settings(mutual=mutual)
        with receiving(tmp_path / str(mutual), tls=tls) as (receiver, store_handler, _spool):
            port = str(receiver.address[1])
            done = run_tool("storescu", *anonymous, port, *images, expect=None)
            assert (done.returncode == 0) != mutual
            assert (run_tool("echoscu", *anonymous, port, expect=None).returncode == 0) != mutual
            assert len(store_handler.kept) == (0 if mutual else len(images))


@pytest.mark.peers
def test_dcmtk_does_not_stall_over_tls(
    tmp_path: Path, certificates: Certificates, images: list[Path]
) -> None:
    """Images from storescu do not wait for TCP's delayed acknowledgement of 40 ms each."""
    with receiving(tmp_path, tls=certificates.settings(mutual=False)) as (receiver, store_handler, _spool):
        run_tool(
            "storescu", "+tla", "+cf", certificates.authority, "-aec", "DICOMNODE",
            "127.0.0.1", str(receiver.address[1]), *images,
        )  # fmt: skip
    assert len(store_handler.kept) == len(images)
    assert share_without_a_stall(store_handler) > 0.25


@pytest.mark.peers
def test_dcmtk_meets_a_renewed_certificate(tmp_path: Path, certificates: Certificates) -> None:
    """A tool that trusts the next authority is served as soon as the file was replaced, without a restart."""
    authority, _key = make_certificate(tmp_path, "next-authority")
    current = tmp_path / "current.pem", tmp_path / "current.key"
    for target, path in zip(current, certificates.server, strict=True):
        target.write_bytes(path.read_bytes())
    with receiving(tmp_path, tls=TLSSettings(*current)) as (receiver, _store_handler, _spool):
        command = ["-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1])]
        assert run_tool("echoscu", "+tla", "+cf", authority, *command, expect=None).returncode != 0
        renewed = make_certificate(tmp_path, "renewed", authority)
        for target, path in zip(current, renewed, strict=True):
            path.replace(target)
        run_tool("echoscu", "+tla", "+cf", authority, *command)
        old = run_tool("echoscu", "+tla", "+cf", certificates.authority, *command, expect=None)
        assert old.returncode != 0
