"""Messages over a socket pair: whole, in order, without waiting."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.workers import worker_channel
from dicomnode.host.workers.worker_channel import Channel

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    messages=st.lists(st.dictionaries(st.text(), plain, max_size=3), max_size=5),
    cuts=st.lists(st.integers(1, 50)),
)
def test_messages_arrive_however_they_are_cut(messages: list[dict[str, object]], cuts: list[int]) -> None:
    """Messages come out as they went in, whatever pieces the socket makes of them."""
    data = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    ours, theirs = socket.socketpair()
    channel = Channel(ours, blocking=False)
    received = []
    for cut in [*cuts, len(data)]:
        theirs.sendall(data[:cut])
        data = data[cut:]
        received += list(channel.receive())
    theirs.close()
    received += list(channel.receive())
    ours.close()
    assert received == messages
    assert channel.closed


@pytest.mark.parametrize("data", [b"nonsense\n", b"[]\n", b"1\n", b"\xff\xfe\n", b"\n"])
def test_nonsense_is_told(data: bytes) -> None:
    """What is no JSON object raises, so that its sender is not believed any more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        with pytest.raises(ValueError, match=r".+"):
            list(Channel(ours, blocking=False).receive())


def test_a_channel_never_waits() -> None:
    """What the other side does not take yet is kept, and sent when it does."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours, blocking=False)
        message = {"text": "x" * 5_000_000}
        channel.send(message)
        assert channel.unsent
        other = Channel(theirs, blocking=False)
        received: list[object] = []
        while not received:
            channel.flush()
            received += list(other.receive())
        assert received == [message]
        assert not channel.unsent


def test_a_message_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of which no end comes is refused before it takes all memory."""
    monkeypatch.setattr(worker_channel, "LONGEST", 1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'"' + bytes(1500))
        with pytest.raises(ValueError, match="longer than 1000 bytes"):
            list(Channel(ours, blocking=False).receive())


def test_the_other_side_has_gone() -> None:
    """Sending to a peer that has closed its end raises nothing; the next receive marks the end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, blocking=False)
    theirs.close()
    channel.send({"task": "run_job"})
    assert not channel.unsent
    assert list(channel.receive()) == []
    assert channel.closed
    channel.close()
