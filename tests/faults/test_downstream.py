"""Group F: what goes wrong behind us. Nothing is lost or stored twice, and no peer holds up another.

Back-offs are seconds here where the field has minutes. Each test prints its figures.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest

from delivering import SHORT, Deliveries, Double, deliver_until_killed, deliveries, peer
from dicomnode.host.configuration.config import DeliveryTable, PeerTable
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.host.dimse.store_handler import StoreRequest
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.host.parsing.statuses import StoreResponse
from file_systems import fill, small_tmpfs
from orthanc_peer import orthanc
from peer_programs import storescp
from receiving import RecordingStoreHandler, free_port, receiving
from slow_proxy import slow_proxy

peers = pytest.mark.peers


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Deliveries]:
    """Open a ledger and an empty outbox; print what became of everything."""
    with deliveries(tmp_path) as made:
        yield made


def figures(work: Deliveries, uids: list[str], stored: list[str], **more: object) -> dict[str, object]:
    """Print the figures of a test, and return them."""
    states = work.states()
    told = {
        "sent": len(uids),
        "confirmed": states.get(DeliveryState.CONFIRMED, 0),
        "dead letters": states.get(DeliveryState.DEAD, 0),
        "pending": states.get(DeliveryState.PENDING, 0),
        "lost": len(set(uids) - set(stored)) if not states.get(DeliveryState.DEAD) else None,
        "duplicates by UID": len(stored) - len(set(stored)),
        "attempts": sum(record.attempts for record in work.ledger.deliveries()),
        **more,
    }
    print(json.dumps(told))  # noqa: T201 - what a fault test is for
    return told


def sockets() -> int:
    """Count the sockets that this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            count += str(entry.readlink()).startswith("socket:")
    return count


@contextmanager
def outbox(work: Deliveries, *destinations: Any, settings: DeliveryTable = SHORT) -> Iterator[None]:
    """Run an outbox; no thread and no connection of it may outlive the test."""
    before = sockets()
    with work.outbox(*destinations, settings=settings):
        yield
    assert not [thread.name for thread in threading.enumerate() if "deliver to" in thread.name]
    deadline = time.monotonic() + 5  # for the proxy, which closes its own
    while sockets() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sockets() <= before


@peers
@pytest.mark.parametrize("option", ["--abort-after", "--abort-during", "--refuse"])
def test_a_peer_that_aborts_or_refuses(work: Deliveries, option: str) -> None:
    """While storescp aborts or refuses nothing is confirmed, nor is it hammered; then it gets everything."""
    port = free_port()
    job, uids = work.images(10, "PACS")
    with outbox(work, peer(port)):
        with storescp(work.directory, option, port=port) as pacs:
            work.wait_event("nothing is sent to")
            time.sleep(1.5)
            assert work.states() == {DeliveryState.PENDING: 10}
            associations = pacs.log.read_text().count("Association Received")
        with storescp(work.directory, port=port) as pacs:
            work.wait_settled(job)
            stored = pacs.stored()
    told = figures(work, uids, stored, **{"associations in 1.5 s of faults": associations})
    assert stored == sorted(uids)
    assert associations < 40
    assert told["lost"] == told["duplicates by UID"] == 0


@peers
@pytest.mark.parametrize("option", ["--sleep-after", "--sleep-during"])
def test_a_slow_peer(work: Deliveries, option: str) -> None:
    """A peer that takes its time within the timeout gets everything at the first attempt."""
    job, uids = work.images(2, "PACS")
    with storescp(work.directory, option, "1") as pacs, outbox(work, peer(pacs.port, timeout=5)):
        work.wait_settled(job)
        stored = pacs.stored()
    told = figures(work, uids, stored)
    assert stored == sorted(uids)
    assert told["attempts"] == 2


@peers
def test_a_peer_slower_than_its_timeout(work: Deliveries) -> None:
    """An answer that comes too late is an unknown outcome: sent again under its UID, and stored once."""
    port = free_port()
    job, uids = work.images(1, "PACS")
    with outbox(work, peer(port, timeout=0.5)):
        with storescp(work.directory, "--sleep-during", "2", port=port):
            work.wait_event("1 for PACS are tried again")
        with storescp(work.directory, port=port) as pacs:
            work.wait_settled(job)
            stored = pacs.stored()
    told = figures(work, uids, stored)
    assert stored == uids
    assert told["attempts"] >= 2


@peers
def test_a_pacs_that_goes_down_and_comes_up(work: Deliveries) -> None:
    """Orthanc is killed in the midst of a job, stays away, and comes back: each instance once."""
    port = free_port()
    where = work.directory / "orthanc"
    job, uids = work.images(30, "PACS")
    with outbox(work, peer(port, "ORTHANC")):
        with orthanc(where, port=port) as pacs:
            while len(work.ledger.deliveries(DeliveryState.CONFIRMED)) < 5:
                time.sleep(0.01)
            os.kill(pacs.process.pid, signal.SIGKILL)
            pacs.process.wait(10)
        work.wait_event("nothing is sent to")
        down = time.monotonic()
        time.sleep(1)
        pending = work.states().get(DeliveryState.PENDING, 0)
        with orthanc(where, port=port) as pacs:
            begin = time.monotonic()
            work.wait_settled(job)
            served = round(time.monotonic() - begin, 2)
            stored = pacs.instances()
    told = figures(
        work,
        uids,
        stored,
        **{"pending while down": pending, "all there after, s": served, "down, s": round(begin - down, 1)},
    )
    assert stored == sorted(uids)
    assert pending > 0
    assert told["duplicates by UID"] == 0
    assert work.ledger.job(job).state is JobState.DELIVERED


@peers
def test_sigkill_of_the_sender(work: Deliveries) -> None:
    """The host is killed again and again while it sends; the next goes on, and the PACS holds each once."""
    context = multiprocessing.get_context("spawn")
    chance = random.Random(8)
    job, uids = work.images(300, "PACS")
    with orthanc(work.directory / "orthanc", port=free_port()) as pacs:
        at_kills = []
        for _ in range(3):
            ready = context.Event()
            process = context.Process(
                target=deliver_until_killed, args=(str(work.directory), pacs.port, ready), daemon=True
            )
            process.start()
            assert ready.wait(30)
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            process.join(10)
            at_kills.append(len(work.ledger.deliveries(DeliveryState.CONFIRMED)))
        with outbox(work, peer(pacs.port, "ORTHANC")):
            work.wait_settled(job)
        stored = pacs.instances()
        changes = pacs.ask("/changes?limit=10000")["Changes"]
        new = sum(change["ChangeType"] == "NewInstance" for change in changes)
    told = figures(
        work, uids, stored, **{"confirmed at each kill": at_kills, "new instances by Orthanc's count": new}
    )
    assert stored == sorted(uids)
    assert new == len(uids)
    assert at_kills[-1] > 0
    assert told["lost"] == told["duplicates by UID"] == 0


@peers
def test_a_frozen_pacs(work: Deliveries) -> None:
    """SIGSTOP: another destination gets everything meanwhile; after SIGCONT this one holds each once."""
    with ExitStack() as stack:
        pacs = stack.enter_context(orthanc(work.directory / "orthanc"))
        other = stack.enter_context(storescp(work.directory))
        os.kill(pacs.process.pid, signal.SIGSTOP)
        job, uids = work.images(20, "frozen", "other")
        begin = time.monotonic()
        with outbox(work, peer(pacs.port, "ORTHANC", "frozen"), peer(other.port, name="other")):
            work.wait_event("20 confirmed by other")
            other_took = round(time.monotonic() - begin, 2)
            work.wait_event("nothing is sent to frozen")
            os.kill(pacs.process.pid, signal.SIGCONT)
            work.wait_settled(job)
            stored = pacs.instances()
    told = figures(work, uids, stored, **{"the other had all after, s": other_took})
    assert stored == other.stored() == sorted(uids)
    assert told["duplicates by UID"] == 0


@peers
def test_frozen_in_the_midst_of_a_large_instance(work: Deliveries) -> None:
    """A peer that freezes while it takes 16 MB is given up in time, and gets it all when it thaws."""
    values = {"Rows": 1024, "Columns": 1024, "NumberOfFrames": 8, "PixelData": bytes(16 * 2**20)}
    job, uids = work.images(1, "PACS", **values)
    with storescp(work.directory) as pacs, slow_proxy(pacs.port, rate=8e6) as proxy:
        with outbox(work, peer(proxy.port, timeout=2)):
            while proxy.passed < 2e6:
                time.sleep(0.01)
            os.kill(pacs.process.pid, signal.SIGSTOP)
            work.wait_event("1 for PACS are tried again")
            os.kill(pacs.process.pid, signal.SIGCONT)
            work.wait_settled(job)
        stored = pacs.stored()
    figures(work, uids, stored)
    assert stored == uids


@peers
def test_an_answer_that_is_lost_after_storing(work: Deliveries) -> None:
    """The connection is cut when the answer comes: the same UID goes again, and the PACS holds one."""
    with orthanc(work.directory / "orthanc") as pacs, slow_proxy(pacs.port, lose_answers=3) as proxy:
        job, uids = work.images(5, "PACS")
        with outbox(work, peer(proxy.port, "ORTHANC")):
            work.wait_settled(job)
        stored = pacs.instances()
        received = pacs.ask("/changes?limit=1000")["Changes"]
        new = sum(change["ChangeType"] == "NewInstance" for change in received)
    told = figures(work, uids, stored, **{"new instances by Orthanc's count": new})
    assert stored == sorted(uids)
    assert new == len(uids)
    assert told["attempts"] > len(uids)
    assert told["duplicates by UID"] == 0


@peers
def test_a_slow_and_cutting_network(work: Deliveries) -> None:
    """Over a line of 400 kB/s that is cut again and again everything arrives once."""
    with storescp(work.directory) as pacs, slow_proxy(pacs.port, rate=400e3, delay=0.002) as proxy:
        job, uids = work.images(20, "PACS")
        with outbox(work, peer(proxy.port)):
            for _ in range(5):
                time.sleep(0.3)
                proxy.cut()
            work.wait_settled(job)
        stored = pacs.stored()
    told = figures(work, uids, stored, connections=proxy.connections)
    assert stored == sorted(uids)
    assert told["lost"] == told["duplicates by UID"] == 0


def test_one_instance_refused(work: Deliveries) -> None:
    """0xC000 for one of ten: a dead letter with the peer's words, and the other nine are there."""

    class Refusing(RecordingStoreHandler):
        def admit(self, request: StoreRequest) -> StoreResponse | None:
            if request.AffectedSOPInstanceUID == bad:
                return StoreResponse(0xC000, "I do not like it")
            return None

    job, uids = work.images(10, "PACS")
    bad = uids[4]
    with receiving(work.directory, Refusing()) as (receiver, store_handler, _spool):
        with outbox(work, peer(receiver.address[1], "DICOMNODE")):
            work.wait_settled(job)
        stored = [request.AffectedSOPInstanceUID for request, _index, _path in store_handler.kept]
    told = figures(work, uids, stored)
    assert stored == [uid for uid in uids if uid != bad]
    assert (told["confirmed"], told["dead letters"]) == (9, 1)
    (dead,) = work.ledger.deliveries(DeliveryState.DEAD)
    assert (dead.status, dead.reason) == (0xC000, "status 0xc000 (cannot understand): I do not like it")
    assert work.ledger.job(job).state is JobState.UNDELIVERABLE


def test_a_full_pacs(work: Deliveries) -> None:
    """0xA700 for everything, then not any more: nothing is sent for a while, and gets all."""
    store_handler = RecordingStoreHandler(refusal=StoreResponse(0xA700, "disk full"))
    job, uids = work.images(10, "PACS")
    with receiving(work.directory, store_handler) as (receiver, _store_handler, _spool):
        with outbox(work, peer(receiver.address[1], "DICOMNODE")):
            work.wait_event("nothing is sent to PACS for 0 s: status 0xa700 (out of resources)")
            time.sleep(0.5)
            store_handler.refusal = None
            work.wait_settled(job)
        stored = [request.AffectedSOPInstanceUID for request, _index, _path in store_handler.kept]
    told = figures(work, uids, stored)
    assert sorted(stored) == sorted(uids)
    assert told["dead letters"] == 0


@pytest.mark.parametrize("silent", [False, True])
def test_down_for_a_while(work: Deliveries, silent: bool) -> None:
    """Nobody listens, or somebody who never answers: it is told, and another is served at once."""
    port = free_port()
    job, uids = work.images(5, "PACS", "double")
    double = Double()
    with ExitStack() as stack:
        if silent:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        stack.enter_context(outbox(work, peer(port, "DICOMNODE", timeout=0.5), double))
        work.wait_event("5 confirmed by double", seconds=2)
        event = work.wait_event("nothing is sent to PACS")
        assert f"127.0.0.1:{port}" in event.message
        if silent:
            listener.close()
        with receiving(work.directory, port=port) as (_receiver, store_handler, _spool):
            work.wait_settled(job)
            stored = [request.AffectedSOPInstanceUID for request, _index, _path in store_handler.kept]
    figures(work, uids, stored)
    assert stored == uids


def test_a_mistyped_ae_title(work: Deliveries) -> None:
    """A rejected called AE title waits, says which setting to correct, and goes out once it is corrected."""
    job, uids = work.images(2, "PACS")
    with receiving(work.directory) as (receiver, store_handler, _spool):
        destination = peer(receiver.address[1], "DICOMNOED")
        with outbox(work, destination):
            event = work.wait_event("nothing is sent to PACS")
            assert "peers.PACS.ae_title" in event.message
            assert work.states() == {DeliveryState.PENDING: 2}
            table = PeerTable(ae_title="DICOMNODE", address=f"127.0.0.1:{receiver.address[1]}", timeout=1)
            destination.reconfigure(table)
            work.wait_settled(job)
        stored = [request.AffectedSOPInstanceUID for request, _index, _path in store_handler.kept]
    figures(work, uids, stored)
    assert stored == uids


def test_a_full_results_folder(work: Deliveries) -> None:
    """A results disk that is really full: nothing half-written, and everything once there is room."""
    with small_tmpfs(work.directory / "results", "2m") as folder:
        root = folder / "here"
        root.mkdir()
        filling = fill(folder, leave=40_000)
        job, uids = work.images(10, "results")
        with outbox(work, FolderDestination("results", root)):
            work.wait_event("nothing is sent to results")
            work.ledger.flush()
            reasons = {record.reason for record in work.ledger.deliveries(DeliveryState.PENDING)}
            there = [path for path in root.rglob("*") if path.is_file()]
            filling.unlink()
            work.wait_settled(job)
        stored = sorted(pydicom.dcmread(path).SOPInstanceUID for path in root.rglob("*.dcm"))
        left = list(root.rglob(".*"))
    figures(work, uids, stored, **{"there while it was full": len(there)})
    assert any("the disk is full" in reason for reason in reasons)
    assert len(there) < 10
    assert not [path for path in there if path.name.startswith(".")]
    assert stored == sorted(uids)
    assert left == []
