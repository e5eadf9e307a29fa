"""The receiver against pynetdicom's own SCU: what is answered, and what lies on disk then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from dicomnode.host.dimse.store_handler import AssociationInfo
from dicomnode.host.parsing.statuses import StoreResponse
from raw_peer import ABORTED, ACCEPTED, REJECTED, RELEASED, RawPeer
from receiving import RecordingStoreHandler, dataset_bytes, encoded, receiving, small_dataset

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"


def associate(address: tuple[str, int], *syntaxes: str) -> Association:
    entity = AE("SENDER")
    entity.add_requested_context("1.2.840.10008.1.1")
    for sop_class in (MR, CT):
        entity.add_requested_context(sop_class, list(syntaxes) or [ExplicitVRLittleEndian])
    return entity.associate(*address, ae_title="DICOMNODE")


def test_an_echo_is_answered(tmp_path: Path) -> None:
    """A C-ECHO is answered with Success."""
    with receiving(tmp_path) as (receiver, _store_handler, _spool):
        association = associate(receiver.address)
        assert association.send_c_echo().Status == 0x0000
        association.release()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_bytes_reach_the_disk_as_sent(tmp_path: Path, syntax: str) -> None:
    """The data set on disk is byte for byte what was sent, after a file meta header that says who sent it."""
    dataset = small_dataset(PatientID="Ä\\1", SpecificCharacterSet="ISO_IR 100")
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        association = associate(receiver.address, syntax)
        assert association.send_c_store(dataset).Status == 0x0000
        association.release()
        store_handler.wait_for_end()
    ((request, index, path),) = store_handler.kept
    assert dataset_bytes(path) == encoded(dataset, syntax)
    assert path.read_bytes()[:132] == b"\0" * 128 + b"DICM"
    meta = pydicom.filereader.read_file_meta_info(path)
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "SENDER"
    assert meta.ReceivingApplicationEntityTitle == "DICOMNODE"
    assert meta.TransferSyntaxUID == syntax
    assert request.AffectedSOPInstanceUID == dataset.SOPInstanceUID
    assert index[0x00100020] == ["Ä", "1"]
    assert index[0x00080018] == dataset.SOPInstanceUID
    assert path.stat().st_mode & 0o777 == 0o600


def test_compressed_pixels_are_not_touched(tmp_path: Path) -> None:
    """A compressed transfer syntax is accepted as it is."""
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        association = associate(receiver.address, dataset.file_meta.TransferSyntaxUID)
        assert association.send_c_store(dataset).Status == 0x0000
        association.release()
    assert dataset_bytes(store_handler.kept[0][2]) == encoded(dataset)


def test_another_called_ae_title_is_refused(tmp_path: Path) -> None:
    """The store handler says which called AE titles there are; another is rejected.

    This is not asked with pynetdicom's SCU: on a busy machine it may see that the connection was closed after
    the rejection before it looks for an answer, and then reports an abort.
    """
    with receiving(tmp_path) as (receiver, store_handler, _spool), RawPeer(receiver.address) as peer:
        assert peer.associate(called=b"NOBODY") == REJECTED
    assert not store_handler.ended


def test_release_and_abort_are_told_apart(tmp_path: Path) -> None:
    """The store handler learns of each association's end once, and whether it was a release."""
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        associate(receiver.address).release()
        store_handler.wait_for_end(1)
        associate(receiver.address).abort()
        store_handler.wait_for_end(2)
    assert [released for _association, released in store_handler.ended] == [True, False]


class ReleaseSeen(RecordingStoreHandler):
    """Looks, when it is told of a release, whether the peer has got an answer already."""

    peer: RawPeer
    answered: bool | None = None

    def release_requested(self, association: AssociationInfo) -> None:
        super().release_requested(association)
        self.answered = not self.peer.is_open
        assert not self.ended


@pytest.mark.parametrize("receivers", [1, 2])
def test_a_release_is_recorded_before_it_is_answered(tmp_path: Path, receivers: int) -> None:
    """The store handler has returned from `release_requested` before the peer gets its A-RELEASE-RP."""
    store_handler, dataset = ReleaseSeen(), small_dataset()
    with receiving(tmp_path, store_handler, receivers=receivers) as (receiver, _sink, _spool):
        with RawPeer(receiver.address) as peer:
            store_handler.peer = peer
            assert peer.associate() == ACCEPTED
            assert peer.store(dataset.SOPInstanceUID, encoded(dataset)) == 0
            assert peer.release() == RELEASED
        store_handler.wait_for_end()
    assert store_handler.answered is False
    assert [(info, True) for info in store_handler.releases] == store_handler.ended


@pytest.mark.parametrize("receivers", [1, 2])
def test_a_release_that_cannot_be_recorded_is_not_answered(tmp_path: Path, receivers: int) -> None:
    """Where `release_requested` raises the association is aborted: its requestor must not rely on it."""

    class Failing(RecordingStoreHandler):
        def release_requested(self, association: AssociationInfo) -> None:
            raise OSError(28, "No space left on device")

    store_handler, dataset = Failing(), small_dataset()
    with receiving(tmp_path, store_handler, receivers=receivers) as (receiver, _sink, _spool):
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            assert peer.store(dataset.SOPInstanceUID, encoded(dataset)) == 0
            assert peer.release() == ABORTED
        store_handler.wait_for_end()
    assert [released for _association, released in store_handler.ended] == [False]


def test_an_association_that_stored_nothing_is_released_at_once(tmp_path: Path) -> None:
    """Nobody is asked to record the release of an association that sent a C-ECHO, or was refused."""
    store_handler = RecordingStoreHandler(answer=StoreResponse(0x0124, "no"))
    with receiving(tmp_path, store_handler) as (receiver, _sink, _spool):
        association = associate(receiver.address)
        assert association.send_c_echo().Status == 0x0000
        assert association.send_c_store(small_dataset()).Status == 0x0124
        association.release()
        store_handler.wait_for_end()
    assert store_handler.releases == []


def store(
    tmp_path: Path, dataset: Dataset, store_handler: RecordingStoreHandler | None = None
) -> tuple[Dataset, RecordingStoreHandler]:
    with receiving(tmp_path, store_handler) as (receiver, used, spool):
        association = associate(receiver.address)
        status = association.send_c_store(dataset)
        association.release()
        assert list((tmp_path / "spool" / "incoming").iterdir()) == []
        assert len(list(spool.iterate())) == len(used.kept)
    return status, used


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_missing_identifier_is_named(tmp_path: Path, keyword: str) -> None:
    """Without study or series UID the answer is a failure that names it, and nothing is kept."""
    dataset = small_dataset()
    del dataset[keyword]
    status, store_handler = store(tmp_path, dataset)
    assert status.Status & 0xF000 == 0xC000
    assert keyword in status.ErrorComment
    assert not store_handler.kept


def test_pixels_that_are_missing_are_noticed(tmp_path: Path) -> None:
    """Pixel Data shorter than Rows and Columns promise is refused."""
    dataset = small_dataset()
    dataset.PixelData = dataset.PixelData[:-2]
    status, store_handler = store(tmp_path, dataset)
    assert status.Status & 0xF000 == 0xC000
    assert not store_handler.kept


def test_the_store_handler_may_refuse_before_the_body(tmp_path: Path) -> None:
    """What admit answers is what the peer gets."""
    status, store_handler = store(
        tmp_path, small_dataset(), RecordingStoreHandler(refusal=StoreResponse(0xA700, "disk full"))
    )
    assert (status.Status, status.ErrorComment) == (0xA700, "disk full")
    assert not store_handler.kept


def test_what_the_sink_does_not_keep_is_removed(tmp_path: Path) -> None:
    """A refusal by the store handler leaves no file behind, and its comment is made safe."""
    status, store_handler = store(
        tmp_path,
        small_dataset(),
        RecordingStoreHandler(answer=StoreResponse(0x0124, "nöbody wants\nthis " * 9)),
    )
    assert status.Status == 0x0124
    assert len(status.ErrorComment) <= 64
    assert not store_handler.kept


def test_a_store_handler_that_raises_costs_one_instance(tmp_path: Path) -> None:
    """An exception in the store handler is answered 0x0110, and the next instance is received."""

    class Failing(RecordingStoreHandler):
        failures = 1

        def received(self, request: Any, index: Any, spooled: Any, prevalidation: Any = None) -> Any:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("PatientName^Secret")
            return super().received(request, index, spooled)

    store_handler = Failing()
    with receiving(tmp_path, store_handler) as (receiver, _store_handler, _spool):
        association = associate(receiver.address)
        assert association.send_c_store(small_dataset()).Status == 0x0110
        assert association.send_c_store(small_dataset()).Status == 0x0000
        association.release()
