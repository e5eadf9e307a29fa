"""The receiver against DCMTK as Debian ships it."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from receiving import receiving, run_tool, small_dataset

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
    with receiving(tmp_path) as (receiver, _sink, _spool):
        run_tool("echoscu", "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]))


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_a_series_arrives(tmp_path: Path, images: list[Path], tool: str) -> None:
    """A series from DCMTK's clients arrives, every image with its own content."""
    with receiving(tmp_path) as (receiver, sink, _spool):
        run_tool(tool, "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]), *images)
        sink.wait_for_end()
    assert sink.ended[0][1]
    sent = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, images)}
    for request, _index, path in sink.kept:
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
    with receiving(tmp_path) as (receiver, sink, _spool):
        run_tool("storescu", option, "-aec", "DICOMNODE", "127.0.0.1", str(receiver.address[1]), source)
        sink.wait_for_end()
    (_request, _index, path), *_ = sink.kept
    expected = pydicom.dcmread(source)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert pydicom.dcmread(path).PixelData == expected.PixelData
