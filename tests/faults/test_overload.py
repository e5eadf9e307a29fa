"""Group C: one peer must not starve another. Attackers are 127.0.0.2, the good peer is 127.0.0.3."""

from __future__ import annotations

import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from faulty import attacked, good_peer
from raw_peer import (
    ACCEPTED,
    MR,
    RELEASED,
    RawPeer,
    associate_request,
    check_echo,
    command,
    p_data,
    store_message,
)
from receiving import dataset_bytes, encoded, small_dataset
from running_host import RunningHost

ATTACKER = "127.0.0.2"
REQUEST = associate_request({1: (MR, "1.2.840.10008.1.2.1")})
UID = "1.2.3.4.5"


def image(number: int, **values: object) -> tuple[str, bytes]:
    uid = f"1.2.3.4.{number}"
    return uid, encoded(small_dataset(SOPInstanceUID=uid, **values))


@pytest.mark.parametrize("said", [0, 1, 6, 50])
def test_connections_that_say_little(tmp_path: Path, said: int) -> None:
    """Twelve connections that send a byte, a header or half a request, and then nothing, are ended."""
    with attacked(tmp_path, acse_timeout=2.0) as receiver:
        before = receiver.resources()
        with ExitStack() as stack:
            with good_peer(receiver):
                silent = [stack.enter_context(RawPeer(receiver.address, ATTACKER)) for _ in range(12)]
                for peer in silent:
                    peer.send(REQUEST[:said])
                begin = time.monotonic()
                assert all(peer.receive()[0] in {0, 7} for peer in silent)
            receiver.figures["silent connections lived, s"] = round(time.monotonic() - begin, 1)
        receiver.settled(before)


@pytest.mark.parametrize("said", [0, 1, 6, 50])
def test_others_need_not_wait_for_those_that_say_little(tmp_path: Path, said: int) -> None:
    """Another peer is served while twelve connections are still waited for."""
    with attacked(tmp_path, acse_timeout=300.0) as receiver, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(receiver.address, ATTACKER)) for _ in range(12)]
        for peer in silent:
            peer.send(REQUEST[:said])
        check_echo(receiver.address)
        assert all(peer.is_open for peer in silent)


def test_a_request_that_trickles(tmp_path: Path) -> None:
    """A byte every tenth of a second does not extend the time for the request, nor that for a PDU."""
    with attacked(tmp_path, acse_timeout=1.0, pdu_timeout=1.0) as receiver:
        store = store_message(*image(0))
        for associated, data in ((False, REQUEST), (True, store)):
            with RawPeer(receiver.address, ATTACKER) as peer, good_peer(receiver):
                if associated:
                    assert peer.associate() == ACCEPTED
                for at in range(100):
                    try:
                        peer.send(data[at : at + 1])
                    except OSError:
                        break
                    time.sleep(0.1)  # the pace is what is tested
                else:
                    pytest.fail("a hundred bytes were taken, one every tenth of a second")


def test_caps_count_an_address_and_all(tmp_path: Path) -> None:
    """One address cannot take all places; a connection over the cap is closed at once."""
    with attacked(tmp_path, max_associations=30, max_associations_per_address=10) as receiver:
        before = receiver.resources()
        with ExitStack() as stack, good_peer(receiver):
            idle = [stack.enter_context(RawPeer(receiver.address, ATTACKER)) for _ in range(40)]
            begin = time.monotonic()
            assert [peer.receive()[0] for peer in idle[10:]] == [0] * 30
            receiver.figures["30 over the cap closed within, s"] = round(time.monotonic() - begin, 3)
            assert all(peer.is_open for peer in idle[:10])
            assert idle[0].associate() == ACCEPTED
            assert idle[0].release() == RELEASED
        receiver.settled(before)


def test_idle_associations_end(tmp_path: Path) -> None:
    """An association that is silent between messages, or within one, ends after the idle timeout."""
    with attacked(tmp_path, idle_timeout=1.0) as receiver, ExitStack() as stack:
        before = receiver.resources()
        peers = [stack.enter_context(RawPeer(receiver.address, ATTACKER)) for _ in range(10)]
        with good_peer(receiver):
            for number, peer in enumerate(peers):
                assert peer.associate() == ACCEPTED
                if number % 2:
                    peer.send(p_data(1, 3, command(1, MR, data_set=True, instance=UID)))
            assert all(peer.receive()[0] in {0, 7} for peer in peers)
        receiver.settled(before)


def test_a_message_has_a_deadline(tmp_path: Path) -> None:
    """A data set that comes in whole PDUs, but for ever, ends at the message's deadline."""
    with attacked(tmp_path, message_timeout=1.5) as receiver, RawPeer(receiver.address, ATTACKER) as peer:
        assert peer.associate() == ACCEPTED
        peer.send(p_data(1, 3, command(1, MR, data_set=True, instance=UID)))
        with good_peer(receiver):
            for _ in range(100):
                try:
                    peer.send(p_data(1, 0, bytes(100)))
                except OSError:
                    break
                time.sleep(0.05)  # 5 s in all, where 1.5 s are allowed
            else:
                pytest.fail("a hundred PDUs of one message were taken, long after its deadline")


def test_pipelined_stores_are_not_read_ahead(tmp_path: Path) -> None:
    """2,000 C-STOREs sent without waiting to a slow handler: memory stays, all are answered in order."""
    images = [image(number) for number in range(2000)]
    wire = [store_message(uid, data, number=n % 65_535 + 1) for n, (uid, data) in enumerate(images)]
    with attacked(tmp_path, delay=0.001) as receiver, ThreadPoolExecutor(1) as pool:
        before, memory = receiver.resources(), receiver.memory()
        with RawPeer(receiver.address, ATTACKER, timeout=60) as peer, good_peer(receiver):
            assert peer.associate() == ACCEPTED
            sending = pool.submit(peer.send, b"".join(wire))
            assert [peer.status() for _ in images] == [0] * len(images)
            sending.result(60)
            assert peer.release() == RELEASED
        receiver.figures["memory more by, MB"] = receiver.memory("VmHWM") - memory
        assert receiver.figures["memory more by, MB"] < 20
        assert [uid for uid, _path in receiver.kept()] == [uid for uid, _data in images]
        receiver.settled(before)


def test_a_peer_that_takes_no_answers(tmp_path: Path) -> None:
    """A peer that sends and never reads is given up after the PDU's deadline; others are served."""
    with attacked(tmp_path, pdu_timeout=1.0) as receiver:
        before = receiver.resources()
        echo = p_data(3, 3, command(0x30, "1.2.840.10008.1.1", data_set=False)) * 1000
        with RawPeer(receiver.address, ATTACKER, timeout=5) as peer, good_peer(receiver):
            assert peer.associate() == ACCEPTED
            begin = time.monotonic()
            with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it happens
                peer.send(echo * 1000)
            receiver.figures["given up after, s"] = round(time.monotonic() - begin, 1)
        receiver.settled(before)


def test_sixteen_large_objects_at_once(tmp_path: Path) -> None:
    """Memory for 16 associations of 100 MB objects is that of their buffers."""
    with attacked(tmp_path) as receiver, ExitStack() as stack:
        memory = receiver.memory()
        peers = [stack.enter_context(RawPeer(receiver.address, ATTACKER, timeout=60)) for _ in range(16)]
        uid, data = image(0, Rows=1024, Columns=1024, NumberOfFrames=50, PixelData=bytes(100 * 2**20))
        wire = memoryview(store_message(uid, data, number=7))
        for peer in peers:
            assert peer.associate() == ACCEPTED
        with good_peer(receiver), ThreadPoolExecutor(16) as pool:
            for sent in [pool.submit(peer.send, wire) for peer in peers]:
                sent.result(60)
            assert [peer.status() for peer in peers] == [0] * 16
        receiver.figures["memory more by, MB"] = receiver.memory("VmHWM") - memory
        assert receiver.figures["memory more by, MB"] < 16 * 2


def test_one_instance_on_two_associations(tmp_path: Path) -> None:
    """The same UID with other content, 40 times on two associations at once: both are whole."""
    with attacked(tmp_path) as receiver, ThreadPoolExecutor(2) as pool:
        with RawPeer(receiver.address) as one, RawPeer(receiver.address) as two:
            assert one.associate() == two.associate() == ACCEPTED
            expected: list[bytes] = []
            for number in range(40):
                versions = [image(number, PatientID=text) for text in ("ONE", "TWO")]
                sent = [pool.submit(p.store, *v) for p, v in zip((one, two), versions, strict=True)]
                assert [future.result(30) for future in sent] == [0, 0]
                expected += [data for _uid, data in versions]
        stored = [hashlib.sha256(dataset_bytes(path)).digest() for _uid, path in receiver.kept()]
        assert sorted(stored) == sorted(hashlib.sha256(data).digest() for data in expected)


@pytest.mark.slow
def test_memory_after_ten_thousand_associations(tmp_path: Path) -> None:
    """A day's worth of associations leaves memory, threads and descriptors where they were."""
    uid, data = image(0)

    def some(count: int) -> None:
        for _ in range(count):
            with RawPeer(receiver.address) as peer:
                assert peer.associate() == ACCEPTED
                assert peer.store(uid, data) == 0
                assert peer.release() == RELEASED

    with attacked(tmp_path, forgets=True) as receiver:
        some(500)
        before, memory = receiver.resources(), receiver.memory()
        begin = time.monotonic()
        some(10_000)
        receiver.figures["associations a second"] = round(10_000 / (time.monotonic() - begin))
        receiver.figures["memory more by, MB"] = receiver.memory() - memory
        assert receiver.figures["memory more by, MB"] < 5
        receiver.settled(before)


@pytest.mark.slow
def test_memory_of_the_host_after_ten_thousand_associations(tmp_path: Path) -> None:
    """A whole host to which as many associations bring an image again and again is no larger."""
    uid, data = image(0)
    config = '[pipelines.smooth]\nae_title = "DICOMNODE"\nsettle = "1 h"\n'
    with RunningHost(tmp_path, config, host={"ae_title": "HOST"}) as host:
        assert host.process is not None
        status = Path(f"/proc/{host.process.pid}/status")

        def memory() -> int:
            """Return resident memory in kB."""
            return int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])

        def some(count: int) -> None:
            for _ in range(count):
                with RawPeer(("127.0.0.1", host.port)) as peer:
                    assert peer.associate() == ACCEPTED
                    assert peer.store(uid, data) == 0
                    assert peer.release() == RELEASED

        some(5000)  # until caches and arenas are what they will be
        before = memory()
        some(10_000)
        more = (memory() - before) / 1024
        print(json.dumps({"memory of the host, MB": memory() // 1024, "more by, MB": round(more, 1)}))  # noqa: T201 - the figures of a fault test
        assert more < 5
