"""The peers on this machine: one keeps what it is sent, one sends files and tells each status."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt

from command_line import write_images
from dicomnode.cli.loopback import ReceivingPeer, associate, send_files
from dicomnode.dicom.values.safe import safe_name
from dicomnode.errors import DeliveryError
from sources import ct_slices

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[ReceivingPeer]:
    """Run a peer that receives into a folder that is not there yet."""
    with ReceivingPeer(tmp_path / "peers" / "pacs", "PACS") as running:
        yield running


def address_of(peer: ReceivingPeer) -> tuple[str, int]:
    """Return where a peer listens, for those that send to it."""
    return "127.0.0.1", peer.port


def test_what_is_sent_is_kept_in_memory_and_on_disk(peer: ReceivingPeer, tmp_path: Path) -> None:
    """Each instance in order of arrival, and as a file named by its UID, pixels and all."""
    images = ct_slices()
    files = write_images(tmp_path / "sources", images)
    told: list[tuple[Path, int]] = []
    statuses = send_files(
        files, address_of(peer), "PACS", sent=lambda path, status: told.append((path, status))
    )
    assert statuses == [0] * len(images)
    assert told == [(path, 0) for path in files]
    kept = peer.wait_for(len(images), timeout=0)
    assert [image.SOPInstanceUID for image in kept] == [image.SOPInstanceUID for image in images]
    assert {path.name for path in peer.folder.iterdir()} == {f"{each.SOPInstanceUID}.dcm" for each in images}
    read = pydicom.dcmread(peer.folder / f"{images[0].SOPInstanceUID}.dcm")
    assert read.PixelData == images[0].PixelData
    assert read.file_meta.TransferSyntaxUID == images[0].file_meta.TransferSyntaxUID


def test_what_came_is_told_even_if_it_is_less(peer: ReceivingPeer) -> None:
    """Waiting for more than comes ends with what there is; the list is the caller's own."""
    assert peer.wait_for(1, timeout=0) == []
    peer.received.append(pydicom.Dataset())
    assert peer.received == []


def test_the_address_is_as_the_configuration_has_it(peer: ReceivingPeer) -> None:
    """On the loopback interface, with the port that it was given."""
    assert peer.address == f"127.0.0.1:{peer.port}"
    with socket.create_connection(("127.0.0.1", peer.port)):
        assert peer.port > 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_file_name_from_the_network_stays_in_the_folder(peer: ReceivingPeer, tmp_path: Path) -> None:
    """A SOP Instance UID that is a path names no file elsewhere."""
    (image,) = ct_slices()[:1]
    files = write_images(tmp_path / "sources", [image])
    association = associate(
        [(CT, str(image.file_meta.TransferSyntaxUID))], address_of(peer), "PACS", "SCANNER"
    )
    read = pydicom.dcmread(files[0])
    read.SOPInstanceUID = "../outside"
    association.send_c_store(read)
    association.release()
    (kept,) = peer.folder.iterdir()
    assert kept.name == f"{safe_name('../outside')}.dcm"
    assert not (peer.folder.parent / "outside.dcm").exists()


def test_nobody_listens_is_told(tmp_path: Path) -> None:
    """With the title and the address; nothing is sent."""
    files = write_images(tmp_path, ct_slices()[:1])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeliveryError) as refused:
        send_files(files, ("127.0.0.1", port), "PACS")
    assert str(refused.value) == f"no association with PACS at 127.0.0.1:{port}"


def test_a_lost_association_is_told(tmp_path: Path) -> None:
    """A peer that aborts at the second image: what came before was told, then the loss."""
    files = write_images(tmp_path, ct_slices()[:3])
    told: list[int] = []

    def store(event: Any) -> int:
        if told:
            event.assoc.abort()
        return 0x0000

    ae = AE("PACS")
    ae.add_supported_context(CT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        with pytest.raises(DeliveryError, match=r"^the association with PACS was lost$"):
            send_files(
                files, server.socket.getsockname(), "PACS", sent=lambda path, status: told.append(status)
            )
    finally:
        server.shutdown()
    assert told == [0]


def test_an_answer_is_for_who_waits_for_it(peer: ReceivingPeer) -> None:
    """The thread of pynetdicom takes no message off the queue; who sends and waits has it."""
    association = associate([(CT, ImplicitVRLittleEndian)], address_of(peer), "PACS", "LOOPBACK")
    try:
        answer: Any = (1, object())
        association.dimse.msg_queue.put(answer)
        assert association.dimse.get_msg(block=False) == (None, None)
        assert association.dimse.get_msg(block=True) is answer
    finally:
        association.release()


def test_a_status_of_the_peer_is_returned(tmp_path: Path) -> None:
    """Also one of failure: whoever sends decides what it means."""
    files = write_images(tmp_path, ct_slices()[:2])
    titles: list[str] = []

    def store(event: Any) -> int:
        titles.append(event.assoc.requestor.ae_title)
        return 0xA700

    ae = AE("PACS")
    ae.add_supported_context(CT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        statuses = send_files(files, server.socket.getsockname(), "PACS", calling_ae_title="SCANNER")
    finally:
        server.shutdown()
    assert statuses == [0xA700, 0xA700]
    assert titles == ["SCANNER", "SCANNER"]


def test_no_more_contexts_are_proposed_than_there_can_be(peer: ReceivingPeer) -> None:
    """An association has 128 presentation contexts at most (PS3.8); each is proposed once."""
    contexts = [
        (str(each.abstract_syntax), str(ImplicitVRLittleEndian)) for each in AllStoragePresentationContexts
    ]
    assert len(contexts) > 128
    association = associate([*contexts, *contexts], address_of(peer), "PACS", "SCANNER")
    accepted = [each.abstract_syntax for each in association.accepted_contexts]
    association.release()
    assert len(accepted) == len(set(accepted)) == 128
