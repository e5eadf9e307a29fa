"""Checks of the peers, by C-ECHO."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from acceptor import Acceptor, acceptor
from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import Config, PeerTable
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.operation import checking_peers
from dicomnode.host.operation.checking_peers import c_echo, check_peers
from dicomnode.host.operation.finding import Finding, Verdict
from raw_peer import VERIFICATION, element


class Echo:
    """A script of a peer that answers one C-ECHO with a status, and keeps the command of the request."""

    def __init__(self, status: int = 0, result: int = 0) -> None:
        self.status, self.result = status, result
        self.command = b""

    def __call__(self, pacs: Acceptor) -> None:
        """Answer one association."""
        pacs.accept(result=self.result)
        if self.result == 0:
            self.command = command_of(pacs)
            pacs.answer(self.status)
        kind, _body = pacs.pdu()
        if kind == 5:
            pacs.socket.sendall(b"\x06\0\0\0\0\x04\0\0\0\0")


def command_of(pacs: Acceptor) -> bytes:
    """Return the command of a message that has no data set."""
    kind, body = pacs.pdu()
    assert kind == 4
    return body[6:]


def config(**ports: int | None) -> Config:
    """Return a configuration of peers by name and port; one without a port has no address."""
    peers: dict[str, Any] = {
        name: {"ae_title": name.upper(), "timeout": 5}
        | ({} if port is None else {"address": f"127.0.0.1:{port}"})
        for name, port in ports.items()
    }
    return Config.model_validate({"peers": peers})


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def peer(port: int) -> Peer:
    """Return a peer at a port."""
    return Peer(
        "pacs", PeerTable.model_validate({"ae_title": "PACS", "address": f"127.0.0.1:{port}"}), "NODE"
    )


def test_an_echo_is_asked_for_and_its_status_returned() -> None:
    """The command is a C-ECHO-RQ of the verification class, without a data set."""
    for status in (0x0000, 0x0122):
        script = Echo(status)
        with acceptor(script) as port:
            assert c_echo(peer(port)) == status
        assert element(0x0100, b"\x30\0") in script.command
        assert VERIFICATION.encode() in script.command
        assert element(0x0800, b"\x01\x01") in script.command


def test_a_peer_that_does_not_offer_verification() -> None:
    """An error of its own says so."""
    with acceptor(Echo(result=3)) as port, pytest.raises(NoAcceptedContextError):
        c_echo(peer(port))


def test_a_peer_that_is_not_there() -> None:
    """It is a failed delivery."""
    with pytest.raises(DeliveryError):
        c_echo(peer(closed_port()))


def test_peers_without_an_address_are_not_asked() -> None:
    """Nothing can be sent to them, and there is nothing to find."""
    assert list(check_peers(config())) == []
    assert list(check_peers(config(scanner=None))) == []


def test_each_peer_is_a_finding_in_order_of_the_configuration() -> None:
    """One that answers, one that answers with an error, one that offers no echo, one that is not there."""
    gone = closed_port()
    with acceptor(Echo()) as good, acceptor(Echo(0x0122)) as bad, acceptor(Echo(result=3)) as mute:
        found = list(check_peers(config(good=good, bad=bad, scanner=None, mute=mute, gone=gone)))
    assert [each.what for each in found] == [
        f"{name} ({name.upper()} at 127.0.0.1:{port})"
        for name, port in (("good", good), ("bad", bad), ("mute", mute), ("gone", gone))
    ]
    assert {each.check for each in found} == {"peers"}
    verdicts = [each.verdict for each in found]
    assert verdicts == [Verdict.OK, Verdict.FAILED, Verdict.WARNING, Verdict.FAILED]
    assert found[0].message.startswith("it answers C-ECHO (")
    assert found[1].message == "it answers C-ECHO with 0x0122"
    assert found[2].message == "it associates, but offers no verification (C-ECHO)"
    assert found[3].message


@pytest.mark.parametrize(("configured", "waited"), [(60, 10.0), (3, 3.0)])
def test_a_silent_peer_is_not_waited_for_longer_than_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, configured: float, waited: float
) -> None:
    """However long its own timeout is; a shorter one holds."""
    asked: list[tuple[float, str]] = []

    def made(_name: str, table: PeerTable, calling: str) -> str:
        asked.append((table.timeout, calling))
        return "a peer"

    monkeypatch.setattr(checking_peers, "Peer", made)
    monkeypatch.setattr(checking_peers, "c_echo", lambda _peer: 0)
    peers = {"pacs": {"ae_title": "PACS", "address": "127.0.0.1:104", "timeout": configured}}
    (found,) = check_peers(Config.model_validate({"host": {"ae_title": "NODE"}, "peers": peers}))
    assert isinstance(found, Finding)
    assert found.verdict is Verdict.OK
    assert asked == [(waited, "NODE")]
