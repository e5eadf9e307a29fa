"""The program of a receiver process: how it starts, what it takes over its control socket, how it ends."""

from __future__ import annotations

import logging
import marshal
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel
from dicomnode.host.receiver.receiver_pool import READY, ProcessSettings
from dicomnode.host.receiver.store_handler_proxy import CallResult, HostMethod
from raw_peer import ACCEPTED, EXPLICIT, MR, RELEASE, RELEASED, RawPeer, associate_request, store_message
from receiving import dataset_bytes, encoded, small_dataset

RETURNED = int(CallResult.RETURNED)
UID = "1.2.3"


class Process:
    """A receiver process, with the test in the place of the host."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.prefix = f"{directory}/one-"
        values = {
            "settings": ReceiverSettings(port=0),
            "wanted": frozenset({0x00100020}),
            "incoming_prefix": self.prefix,
            "durable": False,
            "commitments": False,
            "log_level": logging.INFO,
            "prevalidator_factory": None,
        }
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(30)
        with theirs:
            command = [sys.executable, "-P", "-m", "dicomnode.host.receiver.receiver_process"]
            self.program = subprocess.Popen([*command, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        self.control.send(pickle.dumps(ProcessSettings(**{**values, **settings})))

    def logged(self) -> tuple[str, int, str, str]:
        """Return logger, level, text and association of the next message."""
        name, level, text, association = marshal.loads(self.control.recv(65_536))
        return name, level, text, association

    def connect(self) -> tuple[RawPeer, ProcessChannel]:
        """Give the process a connection; return its peer, and what the process calls the host with."""
        ours, theirs = socket.socketpair()
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = RawPeer(server.getsockname())
            accepted, _address = server.accept()
        with accepted, theirs:
            message = marshal.dumps(("connection", "10.1.2.3"))
            socket.send_fds(self.control, [message], [accepted.fileno(), theirs.fileno()])
        return peer, ProcessChannel(ours)


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Process]:
    """Run a process; it ends when its control socket is closed."""
    process = Process(directory, **settings)
    try:
        yield process
    finally:
        process.control.close()
        try:
            assert process.program.wait(20) == 0
        finally:
            process.program.kill()
            process.program.wait(20)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """Return a process that is ready."""
    with running(tmp_path) as made:
        assert made.control.recv(65_536) == READY
        yield made


def answer(channel: ProcessChannel, value: Any) -> tuple[HostMethod, tuple[Any, ...]]:
    """Answer the next call; return what was called, with which arguments."""
    method, *arguments = channel.receive()
    channel.send((RETURNED, value))
    return HostMethod(method), tuple(arguments)


def associate(peer: RawPeer, channel: ProcessChannel) -> None:
    """Associate, with all that the host is asked for it."""
    peer.send(associate_request({1: (MR, EXPLICIT)}))
    assert answer(channel, True) == (HostMethod.MAY_ASSOCIATE, ("RAW", "10.1.2.3", None))
    assert answer(channel, True) == (HostMethod.ACCEPTS_CALLED_AE, ("DICOMNODE", "RAW", "10.1.2.3"))
    assert peer.receive()[0] == ACCEPTED


def test_a_connection_from_its_start_to_its_end(process: Process) -> None:
    """The host is asked for each decision, the file lies under the given prefix, what is logged is sent."""
    data = encoded(small_dataset(SOPInstanceUID=UID, PatientID="P1"))
    peer, channel = process.connect()
    with peer:
        associate(peer, channel)
        peer.send(store_message(UID, data))
        method, (association, _number, _sop_class, uid, _syntax) = answer(channel, None)
        assert (method, uid) == (HostMethod.ADMIT, UID)
        method, arguments = answer(channel, (0, None, ""))
        _none, _number, _sop_class, uid, _syntax, index, file, size, _offset, prevalidation = arguments
        assert (method, uid, index[0x00100020], prevalidation) == (HostMethod.RECEIVED, UID, "P1", None)
        assert peer.status() == 0
        assert file.startswith(process.prefix)
        assert dataset_bytes(Path(file)) == data
        assert Path(file).stat().st_size == size
        peer.send(RELEASE)
        # Before it is answered: a sender that has finished is not waited for, whenever the host is killed.
        assert answer(channel, None) == (HostMethod.RELEASE_REQUESTED, (association,))
        assert peer.receive()[0] == RELEASED
        assert answer(channel, None) == (HostMethod.ASSOCIATION_ENDED, (association, "released"))
    with pytest.raises(ChannelClosedError):
        channel.receive()
    logger = "dicomnode.host.receiver.connection"
    assert process.logged() == (logger, logging.INFO, "association from RAW at 10.1.2.3", association[0])
    name, _level, text, associated = process.logged()
    assert (name, associated) == (logger, association[0])
    assert "1 stored, 0 refused" in text


def test_a_stop_ends_what_is_open(process: Process) -> None:
    """At the moment of a stop an open association is aborted, and reported as cut off."""
    peer, channel = process.connect()
    with peer:
        associate(peer, channel)
        process.control.send(marshal.dumps(("stop", 0.0)))
        assert peer.receive()[0] == 7
        method, (_association, end) = answer(channel, None)
        assert (method, end) == (HostMethod.ASSOCIATION_ENDED, "cut off")


def test_a_connection_without_its_channel_is_closed(process: Process) -> None:
    """Where not both descriptors came, the one that came is closed, and the process goes on."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours:
        with theirs:
            message = marshal.dumps(("connection", "10.1.2.3"))
            socket.send_fds(process.control, [message], [theirs.fileno()])
        assert ours.recv(1) == b""
    peer, channel = process.connect()
    with peer:
        associate(peer, channel)
        channel.close()


def test_signals_to_the_group_are_the_hosts(process: Process) -> None:
    """SIGINT, SIGTERM and SIGHUP do not end the process: the host says when it stops."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.program.send_signal(number)
    peer, channel = process.connect()
    with peer:
        associate(peer, channel)
        channel.close()


def test_rules_that_cannot_be_loaded_are_left_to_the_host(tmp_path: Path) -> None:
    """A prevalidator that cannot be made is a warning with the type only, and the process is ready."""
    with running(tmp_path, prevalidator_factory=partial(int, "PatientName^Secret")) as process:
        name, level, text, association = process.logged()
        assert (name, level, association) == ("__main__", logging.WARNING, "")
        assert text == "the host will ask the pipelines' rules: ValueError at " + text.partition(" at ")[2]
        assert "Secret" not in text
        assert process.control.recv(65_536) == READY


def test_a_host_that_ends_before_it_has_read_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines that were not read make no difference to the end: exit code 0, and no traceback."""
    with running(tmp_path) as process:
        peer, channel = process.connect()
        with peer:
            associate(peer, channel)
        method, (_association, end) = answer(channel, None)
        assert (method, end) == (HostMethod.ASSOCIATION_ENDED, "aborted")
    assert process.program.returncode == 0
    assert capfd.readouterr().err == ""
