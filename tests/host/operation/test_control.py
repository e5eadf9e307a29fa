"""Orders to a running host: one JSON object a line, over a socket in its data directory."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import DicomnodeError
from dicomnode.host.operation.control import ControlServer, NotRunningError, ask

Handlers = Mapping[str, Callable[[Mapping[str, Any]], Any]]


@contextmanager
def serving(path: Path, handlers: Handlers) -> Iterator[Path]:
    """Answer orders at a path as long as the block lasts."""
    server = ControlServer(path, handlers)
    server.start()
    try:
        yield path
    finally:
        server.stop()


def raising(error: Exception) -> Callable[[Mapping[str, Any]], Any]:
    """Return a handler that raises an error."""

    def handler(_order: Mapping[str, Any]) -> Any:
        raise error

    return handler


def test_an_order_is_answered(tmp_path: Path) -> None:
    """The handler is given the order with its details, and what it returns is the answer."""
    with serving(tmp_path / "control.sock", {"replay": lambda order: {"got": dict(order)}}) as path:
        answer = ask(path, "replay", job=7, rerun=True)
        assert answer == {"got": {"order": "replay", "job": 7, "rerun": True}}
        assert ask(path, "replay")["got"] == {"order": "replay"}


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """The socket is closed to others, and is gone once the server has stopped."""
    with serving(tmp_path / "control.sock", {}) as path:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) & 0o077 == 0
    assert not path.exists()


def test_what_an_earlier_host_left_is_replaced(tmp_path: Path) -> None:
    """A file under the socket's name hinders no start."""
    path = tmp_path / "control.sock"
    path.touch()
    with serving(path, {"status": lambda _order: "here"}):
        assert ask(path, "status") == "here"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DicomnodeError("job 3 is running"), "job 3 is running"),
        (ValueError("not a number"), "not a number"),
        (RuntimeError("it broke"), "RuntimeError: it broke"),
        (KeyError("reason"), "KeyError: 'reason'"),
    ],
)
def test_an_error_is_told_to_who_asked(tmp_path: Path, error: Exception, text: str) -> None:
    """An expected error in its own words, another with its kind; the next order is answered all the same."""
    with serving(tmp_path / "control.sock", {"a": raising(error), "b": lambda _order: 1}) as path:
        with pytest.raises(DicomnodeError) as raised:
            ask(path, "a")
        assert str(raised.value) == text
        assert ask(path, "b") == 1


def test_an_order_that_is_not_known(tmp_path: Path) -> None:
    """It is refused by its name; an object without an order has none."""
    with serving(tmp_path / "control.sock", {}) as path:
        with pytest.raises(DicomnodeError, match=r"^this host knows no order 'dance'$"):
            ask(path, "dance")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            client.sendall(b'{"job": 1}\n')
            with client.makefile(encoding="utf-8") as answers:
                assert json.loads(answers.readline()) == {"error": "this host knows no order None"}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"no json\n", "JSONDecodeError"),
        (b"\n", "JSONDecodeError"),
        (b"", "JSONDecodeError"),
        (b"\xff\n", "UnicodeDecodeError"),
        (b"[" * 100_000 + b"\n", "RecursionError"),
    ],
    ids=["text", "empty line", "nothing", "bytes", "nested"],
)
def test_what_is_no_order_ends_only_its_connection(
    tmp_path: Path, line: bytes, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets no answer, is logged without its content, and the next order is answered."""
    with serving(tmp_path / "control.sock", {"status": lambda _order: "here"}) as path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
        assert ask(path, "status") == "here"
    assert f"an order could not be taken: {kind}" in caplog.text
    assert "no json" not in caplog.text


def test_no_host_runs(tmp_path: Path) -> None:
    """Without a socket, or with one that nobody listens on, the directory is named."""
    path = tmp_path / "control.sock"
    with pytest.raises(NotRunningError) as raised:
        ask(path, "status")
    assert str(raised.value) == f"no host runs on {tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with pytest.raises(NotRunningError):
        ask(path, "status")
    with pytest.raises(NotRunningError):
        ask(tmp_path / "nowhere" / "control.sock", "status")


def test_a_host_that_gives_no_answer(tmp_path: Path) -> None:
    """An answer that JSON cannot hold is none; whoever asked is told, and the next order is answered."""
    with serving(tmp_path / "control.sock", {"a": lambda _order: {1, 2}, "b": lambda _order: 1}) as path:
        with pytest.raises(DicomnodeError, match=r"^the host gave no answer$"):
            ask(path, "a")
        assert ask(path, "b") == 1


def test_a_directory_of_any_length_will_do(tmp_path: Path) -> None:
    """The path may be longer than an address of a socket."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    with serving(folder / "control.sock", {"status": lambda _order: "here"}) as path:
        assert ask(path, "status") == "here"


def test_a_server_that_was_not_started_can_be_stopped(tmp_path: Path) -> None:
    """Nothing is removed by that."""
    path = tmp_path / "control.sock"
    path.touch()
    ControlServer(path, {}).stop()
    assert path.exists()
