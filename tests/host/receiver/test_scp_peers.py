"""The receiver against DCMTK as Debian ships it."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicomnode.host.configuration.receiver_settings import AllowedPeer
from dicomnode.host.parsing.statuses import StoreResponse
from programs import program
from raw_peer import ACCEPTED, RawPeer
from receiving import RecordingStoreHandler, receiving, run_tool, share_without_a_stall, small_dataset

pytestmark = pytest.mark.peers


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Ten small images, each with its own SOP Instance UID."""
    paths = []
    for number in range(10):
        path = tmp_path / f"{number}.dcm"
        small_dataset(InstanceNumber=number).save_as(path)
        paths.append(path)
    return paths


def test_echoscu(tmp_path: Path) -> None:
    """DCMTK's echoscu is content."""
    with receiving(tmp_path) as (receiver, _store_handler, _spool):
        run_tool("echoscu", "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]))


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_a_series_arrives(tmp_path: Path, images: list[Path], tool: str) -> None:
    """A series from DCMTK's clients arrives, every image with its own content."""
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        run_tool(tool, "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]), *images)
        store_handler.wait_for_end()
    assert store_handler.ended[0][1]
    sent = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, images)}
    for request, _index, path in store_handler.kept:
        arrived = pydicom.dcmread(path)
        assert arrived.PixelData == sent[request.AffectedSOPInstanceUID].PixelData
        assert arrived.InstanceNumber == sent.pop(request.AffectedSOPInstanceUID).InstanceNumber
    assert not sent


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("MR_small_RLE.dcm", "--propose-rle"),
        ("MR_small_jpeg_ls_lossless.dcm", "--propose-jls-lossless"),
        ("MR_small_jp2klossless.dcm", "--propose-j2k-lossless"),
        ("MR_small_bigendian.dcm", "--propose-big"),
        ("MR_small_implicit.dcm", "--propose-implicit"),
    ],
)
def test_transfer_syntaxes(tmp_path: Path, name: str, option: str) -> None:
    """Compressed and uncompressed transfer syntaxes are stored as they come."""
    source = Path(get_testdata_file(name))
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        run_tool("storescu", option, "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]), source)
        store_handler.wait_for_end()
    (_request, _index, path), *_ = store_handler.kept
    expected = pydicom.dcmread(source)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert pydicom.dcmread(path).PixelData == expected.PixelData


def test_what_is_refused_is_understood(tmp_path: Path, images: list[Path]) -> None:
    """A wrong called AE title, an unknown peer, a refused instance: DCMTK's tools report each."""
    peers = (AllowedPeer("SCANNER"),)
    store_handler = RecordingStoreHandler(answer=StoreResponse(0xA700, "disk full"))
    with receiving(tmp_path, store_handler, peers=peers) as (receiver, _store_handler, _spool):
        address = ["127.0.0.1", str(receiver.address[1])]
        wrong = run_tool("echoscu", "-aet", "SCANNER", "-aec", "NOBODY", *address, expect=None)
        assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr
        unknown = run_tool("echoscu", "-aet", "STRANGER", "-aec", "DICOMNODE", *address, expect=None)
        assert "Calling AE Title Not Recognized" in unknown.stdout + unknown.stderr
        run_tool("echoscu", "-aet", "SCANNER", "-aec", "DICOMNODE", *address)
        refused = run_tool(
            "storescu", "-v", "-aet", "SCANNER", "-aec", "DICOMNODE", *address, images[0], expect=None
        )
        assert refused.returncode != 0
        assert "Refused: OutOfResources" in refused.stdout + refused.stderr
    assert not store_handler.kept


@pytest.mark.parametrize("announced", [4096, 16_384, 131_072])
def test_pdu_lengths(tmp_path: Path, images: list[Path], announced: int) -> None:
    """Whatever maximum length either side announces, images arrive and answers are understood."""
    with receiving(tmp_path, max_pdu_length=announced) as (receiver, store_handler, _spool):
        for theirs in ("4096", "131072"):
            run_tool(
                "storescu", "--max-pdu", theirs, "-aec", "DICOMNODE",
                "127.0.0.1", str(receiver.address[1]), images[0], images[1],
            )  # fmt: skip
    assert len(store_handler.kept) == 4


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_clients_with_nagle_do_not_stall(tmp_path: Path, images: list[Path], tool: str) -> None:
    """Images from DCMTK's clients, as they are, do not wait for TCP's delayed acknowledgement of 40 ms."""
    paths = [tmp_path / f"more{number}.dcm" for number in range(200)]
    for path in paths:
        small_dataset().save_as(path)
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        run_tool(tool, "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]), *paths)
    assert len(store_handler.kept) == len(paths)
    assert share_without_a_stall(store_handler) > 0.25


def test_tools_are_served_beside_silent_connections(tmp_path: Path) -> None:
    """While other addresses hold all their places, echoscu is answered; from a full one it is refused."""
    with (
        receiving(tmp_path, max_associations_per_address=5) as (receiver, _store_handler, _spool),
        ExitStack() as stack,
    ):
        silent = []
        for source in ("127.0.0.2", "127.0.0.4", "127.0.0.5"):
            for _ in range(5):
                silent.append(stack.enter_context(RawPeer(receiver.address, source)))
                assert silent[-1].associate() == ACCEPTED
        command = ["echoscu", "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1])]
        run_tool(*command)
        for _ in range(5):
            stack.enter_context(RawPeer(receiver.address, "127.0.0.1"))
        assert run_tool(*command, expect=None).returncode != 0
        assert all(peer.is_open for peer in silent)


def test_a_tool_that_is_frozen_is_given_up(tmp_path: Path, images: list[Path]) -> None:
    """A storescu stopped in the midst of an association ends it at the idle timeout, and is told apart."""
    with receiving(tmp_path, idle_timeout=1.0) as (receiver, store_handler, _spool):
        command = [program("storescu"), "-R", "-aec", "DICOMNODE", "--repeat", "1000000"]
        frozen = subprocess.Popen([*command, "127.0.0.1", str(receiver.address[1]), str(images[0])])
        try:
            with store_handler.changed:
                assert store_handler.changed.wait_for(lambda: len(store_handler.kept) > 3, timeout=10)
            frozen.send_signal(signal.SIGSTOP)
            store_handler.wait_for_end()
        finally:
            frozen.kill()
            frozen.wait()
    assert [released for _association, released in store_handler.ended] == [False]
