"""What the service manager is told, over the socket that it names."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.cli.service import tell_service_manager


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a socket that is bound to nothing yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        yield made


def test_a_state_arrives_at_the_socket(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each state is one datagram, as sd_notify(3) has it."""
    monkeypatch.chdir(tmp_path)  # the name of such a socket has 107 bytes at most
    listener.bind("n")
    monkeypatch.setenv("NOTIFY_SOCKET", "n")
    tell_service_manager("READY=1")
    tell_service_manager("STOPPING=1")
    assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_the_socket_may_be_in_the_abstract_namespace(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that begins with ``@`` stands for one that begins with a null byte."""
    name = f"dicomnode-{uuid.uuid4()}"
    listener.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    tell_service_manager("READY=1")
    assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_service_manager_no_socket_is_made(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """Nothing happens where no variable names a socket."""
    made: list[object] = []
    monkeypatch.setattr("dicomnode.cli.service.socket.socket", lambda *arguments: made.append(arguments))
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_service_manager("READY=1")
    assert made == []


def test_a_manager_that_is_gone_keeps_nothing_from_running(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error is raised where nobody listens, nor for a name that is too long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", "n")
    tell_service_manager("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "n" * 200)
    tell_service_manager("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "n")
    listener.bind("n")
    tell_service_manager("READY=1")
    assert listener.recv(100) == b"READY=1"
