"""The channel between receiver process and host: whole messages, and an error where there is no other end."""

from __future__ import annotations

import marshal
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


def framed(message: object) -> bytes:
    data = marshal.dumps(message)
    return struct.pack("<I", len(data)) + data


_plain = st.recursive(
    st.none() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_plain, min_size=1, max_size=5), st.integers(0, 300_000))
def test_messages_arrive_whole(messages: list[Any], padding: int) -> None:
    """Whatever plain data is asked and answered, of whatever size, arrives as it was."""
    ours, theirs = socket.socketpair()

    def echo() -> None:
        with theirs:
            channel = ProcessChannel(theirs)
            try:
                while True:
                    channel.send(channel.receive())
            except ChannelClosedError:
                return

    thread = threading.Thread(target=echo)
    thread.start()
    channel = ProcessChannel(ours)
    for message in messages:
        assert channel.call((message, bytes(padding))) == (message, bytes(padding))
    channel.close()
    thread.join(10)
    with pytest.raises(ChannelClosedError):
        channel.call(1)


def test_a_message_may_come_byte_by_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    """A message that comes in pieces of one byte, the length too, is put together."""
    ours, theirs = ends
    message = (1, "text", [2.5, None], {16: b"\0" * 300})

    def drip() -> None:
        for byte in framed(message):
            theirs.send(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert ProcessChannel(ours).receive() == message
    thread.join(10)


@pytest.mark.parametrize("sent", [0, 3, 4, 10])
def test_an_end_within_a_message_is_an_error(ends: tuple[socket.socket, socket.socket], sent: int) -> None:
    """Where the other end closes before a message is whole, what came of it is not returned."""
    ours, theirs = ends
    theirs.sendall(framed("a message of some length")[:sent])
    theirs.close()
    with pytest.raises(ChannelClosedError, match=r"^closed$"):
        ProcessChannel(ours).receive()


def test_a_length_that_cannot_be_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """A message that is announced as longer than 64 MiB is not waited for."""
    ours, theirs = ends
    theirs.sendall(struct.pack("<I", 64 * 2**20 - 3))
    with pytest.raises(ChannelClosedError, match="a message that is too long"):
        ProcessChannel(ours).receive()


def test_sending_to_nobody_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """A closed other end is reported with the system's words, as a kind of OSError."""
    ours, theirs = ends
    theirs.close()
    with pytest.raises(ChannelClosedError, match="Broken pipe") as caught:
        ProcessChannel(ours).send("anything")
    assert isinstance(caught.value, OSError)


def test_a_socket_with_a_timeout_is_made_blocking(ends: tuple[socket.socket, socket.socket]) -> None:
    """The channel waits for as long as it takes, whatever the socket was set to before."""
    ours, _theirs = ends
    ours.settimeout(0.001)
    ProcessChannel(ours)
    assert ours.gettimeout() is None


def test_closing_is_noticed_at_the_other_end(ends: tuple[socket.socket, socket.socket]) -> None:
    """A thread that waits at the other end gets the error; closing twice does no harm."""
    ours, theirs = ends
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            ProcessChannel(theirs).receive()
        except ChannelClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    channel = ProcessChannel(ours)
    channel.close()
    channel.close()
    thread.join(10)
    assert [str(error) for error in caught] == ["closed"]
