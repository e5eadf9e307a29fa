"""With receiver processes everything is as without: answers, files, who is let in, what is logged."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pydicom
import pytest

from certificates import client_context, make_certificate
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.receiver_settings import AllowedPeer, ReceiverSettings, TLSSettings
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.receiver.scp import Receiver
from dicomnode.host.spool.spool import Spool
from raw_peer import ACCEPTED, MR, REJECTED, RELEASED, RawPeer, check_echo, command, p_data
from receiving import RecordingStoreHandler, dataset_bytes, encoded, receiving, run_tool, small_dataset

Running = tuple[Receiver, RecordingStoreHandler, Spool]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a receiver with two processes, for all tests that leave it as it is."""
    with receiving(tmp_path_factory.mktemp("shared"), receivers=2) as running:
        yield running


@pytest.fixture
def running(shared: Running) -> Running:
    """Give the shared receiver, having forgotten what it did before."""
    store_handler = shared[1]
    with store_handler.changed:
        store_handler.kept.clear()
        store_handler.ended.clear()
    store_handler.refusal, store_handler.answer = None, StoreResponse(0)
    return shared


def image(number: int, **values: object) -> tuple[str, bytes]:
    uid = f"1.2.3.4.{number}"
    return uid, encoded(small_dataset(SOPInstanceUID=uid, **values))


def children(receiver: Receiver) -> list[int]:
    assert receiver._pool is not None
    return [process.process.pid for process in receiver._pool._processes if process.alive]


def test_an_instance_arrives_as_sent(running: Running) -> None:
    """The bytes reach the disk as sent, the meta information names the sender, the index is handed on."""
    receiver, store_handler, _spool = running
    uid, data = image(1, PatientID="Ä\\1", SpecificCharacterSet="ISO_IR 100")
    with RawPeer(receiver.address) as peer:
        assert peer.associate() == ACCEPTED
        assert peer.store(uid, data) == 0
        assert peer.echo() == 0
        assert peer.release() == RELEASED
    store_handler.wait_for_end()
    ((request, index, path),) = store_handler.kept
    assert dataset_bytes(path) == data
    assert index[0x00100020] == ["Ä", "1"]
    assert request.association.calling_ae_title == "RAW"
    assert store_handler.ended == [(request.association, True)]
    meta = pydicom.filereader.read_file_meta_info(path)
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("RAW", "DICOMNODE")


def test_associations_are_spread(running: Running) -> None:
    """Associations at the same time are divided among the processes."""
    receiver, _store_handler, _spool = running
    assert receiver._pool is not None
    with ExitStack() as stack:
        for _ in range(6):
            assert stack.enter_context(RawPeer(receiver.address)).associate() == ACCEPTED
        assert [process.connections for process in receiver._pool._processes] == [3, 3]
    deadline = time.monotonic() + 5
    while any(process.connections for process in receiver._pool._processes):
        assert time.monotonic() < deadline


def test_many_at_once(running: Running) -> None:
    """Eight associations send a hundred instances at once: each is kept once, whole, under its own name."""
    receiver, store_handler, spool = running
    images = dict(image(number) for number in range(1000, 1104))
    uids = list(images)

    def work(part: int) -> None:
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            for uid in uids[part::8]:
                assert peer.store(uid, images[uid]) == 0
            assert peer.release() == RELEASED

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, part) for part in range(8)]:
            done.result(60)
    store_handler.wait_for_end(8)
    assert {
        request.AffectedSOPInstanceUID: dataset_bytes(path) for request, _i, path in store_handler.kept
    } == images
    assert not list((spool.root / "incoming").iterdir())


@pytest.mark.parametrize("answer", [StoreResponse(0x0124, "nobody wants it"), StoreResponse(0xA700, "full")])
def test_refusals_are_the_store_handlers(running: Running, answer: StoreResponse) -> None:
    """What the store handler refuses, before or after the body, is answered so, and nothing of it is left."""
    receiver, store_handler, spool = running
    uid, data = image(2)
    before = sorted(spool.iterate())
    for early in (False, True):
        store_handler.refusal, store_handler.answer = (answer if early else None), answer
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            assert peer.store(uid, data) == answer.status
            peer.release()
        time.sleep(0.3)  # an instance that was admitted is as good as an answer for a quarter of a second
    assert not store_handler.kept
    assert sorted(spool.iterate()) == before
    assert not list((spool.root / "incoming").iterdir())


def test_what_cannot_be_read_never_reaches_the_host(running: Running) -> None:
    """A broken data set is refused in the receiver process; the association goes on."""
    receiver, store_handler, _spool = running
    uid, data = image(3)
    with RawPeer(receiver.address) as peer:
        assert peer.associate() == ACCEPTED
        assert (peer.store(uid, data[:-10]) or 0) & 0xF000 == 0xC000
        assert peer.store(uid, data) == 0
        peer.release()
    assert len(store_handler.kept) == 1


@pytest.mark.parametrize(
    ("raised", "status"),
    [(RuntimeError("PatientName^Secret"), 0x0110), (OSError(errno.ENOSPC, "no space"), 0xA700)],
)
def test_a_store_handler_that_raises_costs_one_instance(
    tmp_path: Path, raised: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in the host is answered as without processes, and its text is not logged."""

    class Failing(RecordingStoreHandler):
        failures = 1

        def received(
            self, request: Any, index: Any, spooled: Any, prevalidation: Any = None
        ) -> StoreResponse:
            if self.failures:
                self.failures -= 1
                raise raised
            return super().received(request, index, spooled)

    caplog.set_level(logging.INFO)
    with receiving(tmp_path, Failing(), receivers=2) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            assert peer.store(*image(4)) == status
            assert peer.store(*image(4)) == 0
            peer.release()
        store_handler.wait_for_end()
    assert len(store_handler.kept) == 1
    assert "Secret" not in caplog.text
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_abort_is_told_apart(running: Running) -> None:
    """The store handler learns of a lost connection as of an abort."""
    receiver, store_handler, _spool = running
    with RawPeer(receiver.address) as peer:
        assert peer.associate() == ACCEPTED
        assert peer.store(*image(5)) == 0
    store_handler.wait_for_end()
    assert [released for _association, released in store_handler.ended] == [False]


def test_who_is_let_in_is_the_hosts_word(tmp_path: Path) -> None:
    """Called and calling AE titles are checked against the host's list, also after it has changed."""
    with receiving(tmp_path, receivers=2, peers=(AllowedPeer("ONE"),)) as (receiver, _store_handler, _spool):
        for calling, called, answer in ((b"ONE", b"DICOMNODE", ACCEPTED), (b"TWO", b"DICOMNODE", REJECTED),
                                        (b"ONE", b"NOBODY", REJECTED)):  # fmt: skip
            with RawPeer(receiver.address) as peer:
                assert peer.associate(calling=calling, called=called) == answer
        receiver.allow([AllowedPeer("TWO")])
        for calling, answer in ((b"ONE", REJECTED), (b"TWO", ACCEPTED)):
            with RawPeer(receiver.address) as peer:
                assert peer.associate(calling=calling) == answer


def test_caps_count_all_processes(tmp_path: Path) -> None:
    """The cap for an address holds for all processes together."""
    caps = {"max_associations": 8, "max_associations_per_address": 3}
    with receiving(tmp_path, receivers=2, **caps) as (receiver, _store_handler, _spool), ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(receiver.address, "127.0.0.2")) for _ in range(5)]
        assert [peer.receive()[0] for peer in peers[3:]] == [0, 0]
        assert [peer.associate() for peer in peers[:3]] == [ACCEPTED] * 3
        check_echo(receiver.address)


def test_a_process_that_is_killed_costs_its_associations_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Associations of a killed process end as aborted, others go on, and another process takes its place."""
    with receiving(tmp_path, receivers=2) as (receiver, store_handler, spool), ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(receiver.address)) for _ in range(4)]
        for number, peer in enumerate(peers):
            assert peer.associate() == ACCEPTED
            assert peer.store(*image(10 + number)) == 0
            peer.send(
                p_data(1, 3, command(1, MR, data_set=True, instance="1.2.3")) + p_data(1, 0, bytes(9000))
            )
        first, second = children(receiver)
        os.kill(first, signal.SIGKILL)
        store_handler.wait_for_end(2)
        assert [released for _association, released in store_handler.ended] == [False, False]
        lost = [peer for peer in peers if _is_over(peer)]
        assert len(lost) == 2
        for peer in peers:
            if peer not in lost:
                peer.send(p_data(1, 2, bytes(100)))
                assert (peer.status() or 0) & 0xF000 == 0xC000
                assert peer.store(*image(99)) == 0
                assert peer.release() == RELEASED
        store_handler.wait_for_end(4)
        deadline = time.monotonic() + 10
        while len(children(receiver)) < 2 or first in children(receiver):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert second in children(receiver)
        with ExitStack() as again:
            for number in range(4):
                peer = again.enter_context(RawPeer(receiver.address))
                assert peer.associate() == ACCEPTED
                assert peer.store(*image(20 + number)) == 0
        assert len(store_handler.kept) == 4 + 2 + 4
        assert not list((spool.root / "incoming").iterdir())
    assert "a receiver process ended (signal 9)" in caplog.text


def _is_over(peer: RawPeer) -> bool:
    peer.socket.settimeout(0.2)
    try:
        return not peer.socket.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        peer.socket.settimeout(15)


def test_stopping_lets_a_message_finish(tmp_path: Path) -> None:
    """An association in the midst of a message goes on; an idle one is aborted; no process is left."""
    uid, data = image(6)
    with receiving(tmp_path, receivers=2) as (receiver, store_handler, _spool):
        pids = children(receiver)
        with RawPeer(receiver.address) as busy, RawPeer(receiver.address) as idle:
            assert busy.associate() == idle.associate() == ACCEPTED
            busy.send(p_data(1, 3, command(1, MR, data_set=True, instance=uid)))
            stopping = threading.Thread(target=receiver.stop, args=(10,))
            stopping.start()
            assert idle.receive()[0] == 7
            busy.send(p_data(1, 2, data))
            assert busy.status() == 0
            stopping.join(20)
        assert len(store_handler.ended) == 2
        assert len(store_handler.kept) == 1
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_host_killed_takes_its_processes_along(tmp_path: Path) -> None:
    """When the host is killed, its receiver processes end by themselves."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1]); from receiving import receiving\n"
        "with receiving(Path(sys.argv[2]), receivers=2) as (receiver, store_handler, spool):\n"
        "    print(*[p.process.pid for p in receiver._pool._processes], flush=True)\n"
        "    time.sleep(60)\n"
    )
    tests = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", program, tests, tmp_path], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        pids = list(map(int, host.stdout.readline().split()))
        assert len(pids) == 2
        host.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_tls(tmp_path: Path) -> None:
    """The handshake is the receiver process's; the certificate counts for the host's list."""
    authority, _key = make_certificate(tmp_path, "authority")
    server = make_certificate(tmp_path, "server", authority)
    scanner = client_context(authority, make_certificate(tmp_path, "scanner", authority))
    stranger = client_context(authority, make_certificate(tmp_path, "stranger", authority))
    tls, peers = TLSSettings(*server, authority), (AllowedPeer("RAW", certificate="scanner"),)
    with receiving(tmp_path, receivers=2, tls=tls, peers=peers) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address, tls=scanner) as peer:
            assert peer.associate() == ACCEPTED
            assert peer.store(*image(7)) == 0
            peer.release()
        with RawPeer(receiver.address, tls=stranger) as peer:
            assert peer.associate() == REJECTED
        store_handler.wait_for_end()
    assert store_handler.ended[0][0].peer_certificate == "scanner"


def test_what_a_process_logs_is_the_hosts_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines of a receiver process are in the host's log, with their logger, level and association."""
    caplog.set_level(logging.INFO, "dicomnode")
    with receiving(tmp_path, receivers=2) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address) as peer:
            assert peer.associate(calling=b"LOGGED") == ACCEPTED
            peer.release()
        store_handler.wait_for_end()
    record = next(each for each in caplog.records if "association from LOGGED" in each.getMessage())
    assert record.levelno == logging.INFO
    assert record.name == "dicomnode.host.receiver.connection"
    assert record.__dict__["association"] == store_handler.ended[0][0].id


@pytest.mark.peers
def test_dcmtk(running: Running, tmp_path: Path) -> None:
    """DCMTK's tools notice no difference."""
    receiver, store_handler, _spool = running
    paths = [tmp_path / f"{number}.dcm" for number in range(20)]
    for path in paths:
        small_dataset().save_as(path)
    port = str(receiver.address[1])
    run_tool("echoscu", "-aec", "DICOMNODE", "127.0.0.1", port)
    run_tool("storescu", "-aec", "DICOMNODE", "127.0.0.1", port, *paths)
    run_tool("dcmsend", "-aec", "DICOMNODE", "127.0.0.1", port, *paths)
    assert len(store_handler.kept) == 40


def test_how_many_is_checked() -> None:
    """No process, or hundreds, are a configuration error that says so."""
    for wrong in (0, 1000):
        with pytest.raises(ConfigurationError, match="receivers"):
            ReceiverSettings(receivers=wrong)
