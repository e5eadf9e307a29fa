"""Delivery to real peers: DCMTK's storescp, and Orthanc as the PACS."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from certificates import make_certificate
from delivering import Deliveries, deliveries, peer
from dicomnode.cli.loopback import send_files
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.delivery import outbox as outbox_module
from dicomnode.host.delivery.committing_destination import CommittingDestination
from dicomnode.host.delivery.outbox import Outbox
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.host.receiver.scp import Receiver
from dicomnode.host.spool.spool import Spool
from dicomnode.pipeline.destination import OutboxItem
from dicomnode.pipeline.outputs import DicomOutput
from orthanc_peer import orthanc
from peer_programs import storescp
from receiving import RecordingStoreHandler, free_port
from running_host import RunningHost
from sources import mr_slices

pytestmark = pytest.mark.peers


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Deliveries]:
    """Open a ledger and an empty outbox."""
    with deliveries(tmp_path) as made:
        yield made


def test_orthanc_holds_what_was_delivered(work: Deliveries) -> None:
    """Each instance is in Orthanc, value for value as it lay in the outbox."""
    with orthanc(work.directory / "orthanc") as pacs:
        job, uids = work.images(3, "PACS")
        with work.outbox(peer(pacs.port, "ORTHANC", timeout=5)):
            work.wait_settled(job)
        assert pacs.instances() == sorted(uids)
        for path in sorted((work.root / str(job)).iterdir()):
            sent = pydicom.dcmread(path)
            assert pydicom.dcmread(BytesIO(pacs.file(sent.SOPInstanceUID))) == sent
    assert work.ledger.job(job).state is JobState.DELIVERED


def test_transfer_syntaxes(work: Deliveries) -> None:
    """Compressed results are sent as they are; a peer of implicit VR only gets plain ones converted."""
    names = ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small.dcm", "MR_small_implicit.dcm"]
    datasets = []
    for number, name in enumerate(names):
        dataset = pydicom.dcmread(get_testdata_file(name))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        datasets.append(dataset)
    with storescp(work.directory / "all", "+xa") as pacs:
        job = work.job(DicomOutput(datasets), "PACS")
        with work.outbox(peer(pacs.port, timeout=5)):
            work.wait_settled(job)
        arrived = [pydicom.dcmread(path) for path in sorted(pacs.folder.iterdir())]
    by_uid = {each.SOPInstanceUID: each for each in arrived}
    for dataset in datasets:
        other = by_uid[dataset.SOPInstanceUID]
        assert other.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert other.PixelData == dataset.PixelData
    with storescp(work.directory / "implicit", "+xi") as pacs:
        job = work.job(DicomOutput(datasets), "PACS")
        with work.outbox(peer(pacs.port, timeout=5)):
            work.wait_settled(job)
        assert pacs.stored() == ["1.2.3.2", "1.2.3.3"]
        for path in pacs.folder.iterdir():
            arrived_one = pydicom.dcmread(path)
            assert arrived_one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
            assert arrived_one.PixelData == datasets[2].PixelData
    assert work.states(job) == {DeliveryState.CONFIRMED: 2, DeliveryState.DEAD: 2}
    reasons = {each.reason for each in work.ledger.deliveries(DeliveryState.DEAD, job=job)}
    assert all("MR Image Storage" in reason and "deliver again" in reason for reason in reasons)
    assert work.ledger.job(job).state is JobState.UNDELIVERABLE


def test_tls(work: Deliveries) -> None:
    """Over mutual TLS, with a certificate that is named; another one is not talked to."""
    directory = work.directory
    authority, _ = make_certificate(directory, "authority")
    server, server_key = make_certificate(directory, "pacs", authority)
    own, own_key = make_certificate(directory, "node", authority)
    tls = {"authorities": authority, "certificate": own, "key": own_key}
    options = ["+tls", server_key, server, "+cf", authority, "-rc"]
    with storescp(directory / "tls", *options) as pacs:
        job, uids = work.images(2, "PACS")
        with work.outbox(peer(pacs.port, timeout=5, tls=tls, certificate="somebody else")):
            work.wait_event("another certificate")
        assert pacs.stored() == []
        with work.outbox(peer(pacs.port, timeout=5, tls=tls, certificate="pacs")):
            work.wait_settled(job)
        assert pacs.stored() == sorted(uids)
        work.images(1, "PACS")
        with work.outbox(peer(pacs.port, timeout=5, tls={**tls, "authorities": own}, certificate="pacs")):
            work.wait_event("certificate verify failed")


@contextmanager
def taking_reports(work: Deliveries, port: int) -> Iterator[list[Outbox]]:
    """Run a receiver that hands reports about storage commitment to the outbox in the list."""
    settings = ReceiverSettings(port=port)
    spool = Spool(work.directory / "spool", "process")
    outboxes: list[Outbox] = []

    def take(ae_title: str, told: Dataset) -> int:
        return outboxes[0].take_report(ae_title, told)

    receiver = Receiver(settings, RecordingStoreHandler(), spool, take)
    receiver.start()
    try:
        yield outboxes
    finally:
        receiver.stop(grace=2)


def test_storage_commitment_by_orthanc(work: Deliveries) -> None:
    """Orthanc commits on an association of its own; only then is a result delivered."""
    port = free_port()
    with orthanc(
        work.directory / "orthanc",
        modalities={"node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": port}},
    ) as pacs:
        job, uids = work.images(3, "PACS")
        with work.outbox(peer(pacs.port, "ORTHANC", timeout=5, storage_commitment="ask")) as outbox:
            work.wait_event("3 stored by PACS, which was asked to commit to them")
            assert not work.settled
            assert work.states() == {DeliveryState.STORED: 3}
            # Orthanc's report found nobody; asked again, it finds the receiver.
            with taking_reports(work, port) as outboxes:
                outboxes.append(outbox)
                work.ledger.write(ask_again)
                outbox.wake()
                work.wait_settled(job)
        assert pacs.instances() == sorted(uids)
    assert {each.reason for each in work.ledger.deliveries()} == {"the peer has committed to it"}


def ask_again(connection: sqlite3.Connection) -> None:
    """Let the wait for a commitment be over."""
    connection.execute("UPDATE delivery SET not_before = 0")


def test_orthanc_does_not_commit_to_what_it_lost(work: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has gone from the PACS before it is asked is sent again until the PACS commits to it."""
    port = free_port()
    modalities = {"node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": port}}
    with orthanc(work.directory / "orthanc", modalities=modalities) as pacs:
        job, uids = work.images(2, "PACS")
        destination = peer(pacs.port, "ORTHANC", timeout=5, storage_commitment="ask")
        lost: list[str] = []

        class LosesOneFirst(CommittingDestination):
            """The PACS loses one instance before it is asked."""

            def _ask(self, stored: Sequence[OutboxItem], wait: float) -> None:
                if not lost:
                    (number,) = pacs.ask(
                        "/tools/find",
                        json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": uids[0]}}).encode(),
                    )
                    pacs.ask(f"/instances/{number}", method="DELETE")
                    lost.append(number)
                super()._ask(stored, wait)

        monkeypatch.setattr(outbox_module, "CommittingDestination", LosesOneFirst)
        with taking_reports(work, port) as outboxes, work.outbox(destination) as outbox:
            outboxes.append(outbox)
            event = work.wait_event("PACS does not commit to 1 instance")
            assert "no such instance" in event.detail
            work.wait_settled(job)
        assert pacs.instances() == sorted(uids)


def test_a_peer_without_storage_commitment(work: Deliveries) -> None:
    """Where the peer does not offer it, a result that was stored is delivered."""
    with storescp(work.directory) as pacs:
        job, uids = work.images(2, "PACS")
        with work.outbox(peer(pacs.port, timeout=5, storage_commitment="ask")):
            work.wait_settled(job)
        assert pacs.stored() == sorted(uids)
    (reason,) = {each.reason for each in work.ledger.deliveries()}
    assert reason == "stored; the peer does not offer storage commitment"


def test_storage_commitment_in_a_whole_host(tmp_path: Path) -> None:
    """The running host takes Orthanc's report; the job is delivered when all is committed to."""
    port = free_port()
    modalities = {"node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": port}}
    files = []
    for number, image in enumerate(mr_slices()):
        files.append(tmp_path / f"{number}.dcm")
        image.save_as(files[-1], enforce_file_format=True)
    with orthanc(tmp_path / "orthanc", modalities=modalities) as pacs:
        config = (
            f'[peers.PACS]\nae_title = "ORTHANC"\naddress = "127.0.0.1:{pacs.port}"\n'
            'storage_commitment = "ask"\n\n[pipelines.smooth]\ndestinations = ["PACS"]\n'
        )
        with RunningHost(tmp_path / "host", config, host={"bind": f"127.0.0.1:{port}"}) as host:
            send_files(files, ("127.0.0.1", port), "SMOOTH")
            host.wait_for_jobs(1, "delivered")
            records = LedgerReader(host.data / "ledger.sqlite").deliveries()
        assert len(pacs.instances()) == len(records) == len(files)
    assert {(each.state, each.reason) for each in records} == {
        (DeliveryState.CONFIRMED, "the peer has committed to it")
    }
