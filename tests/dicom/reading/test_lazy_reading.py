"""A file is read so that Pixel Data stays on disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import FileGoneError, StructureError

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's opinion of its own test files


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Return a CT slice that the test may change or delete."""
    return Path(shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm"))


def test_elements_behind_the_pixels_are_read(tmp_path: Path) -> None:
    """What follows Pixel Data in the file is part of the header."""
    plain = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    plain.add_new(0xFFFCFFFC, "OB", b"\0" * 64)
    plain.save_as(tmp_path / "padded.dcm")
    image = LazyDataset(tmp_path / "padded.dcm")
    assert image[0xFFFCFFFC].value == b"\0" * 64
    assert image._dict[0x7FE00010].released
    assert image == plain


def test_a_deflated_file_is_read_whole(tmp_path: Path) -> None:
    """A deflated file has no offsets to come back to; its pixels are right all the same."""
    plain = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain.save_as(tmp_path / "deflated.dcm")
    image = LazyDataset(tmp_path / "deflated.dcm")
    assert image.PixelData == plain.PixelData
    image.release_pixels()
    assert (image.pixel_array == plain.pixel_array).all()


def test_pixels_of_a_file_that_has_gone(ct: Path) -> None:
    """The header that was read stays; the pixels say that the file is gone."""
    image = LazyDataset(ct)
    assert image.PatientID == "1CT1"
    ct.unlink()
    assert image.Manufacturer == "GE MEDICAL SYSTEMS"
    with pytest.raises(FileGoneError, match=r"ct\.dcm"):
        _ = image.PixelData


def test_pixels_of_another_file_are_refused(ct: Path) -> None:
    """Pixels are never read from a file that has come in the place of the one whose header was read."""
    image = LazyDataset(ct)
    assert image.PatientID == "1CT1"
    other = pydicom.dcmread(ct)
    other.PatientComments = "longer than before"
    other.save_as(ct)
    with pytest.raises(FileGoneError, match="changed or replaced"):
        _ = image.pixel_array


@pytest.mark.parametrize(
    "content", [b"", b"not DICOM at all", b"\0" * 128 + b"DICM"], ids=["empty", "text", "no data"]
)
def test_a_file_that_is_not_dicom(tmp_path: Path, content: bytes) -> None:
    """A file that is not DICOM is an error that names it, or an empty dataset, as pydicom says."""
    path = tmp_path / "odd.dcm"
    path.write_bytes(content)
    if content.endswith(b"DICM"):
        assert len(LazyDataset(path)) == len(pydicom.dcmread(path)) == 0
        return
    with pytest.raises(StructureError, match=r"odd\.dcm"):
        _ = LazyDataset(path).PatientID


_SYNTAX = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"


_DEFLATED = b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data.replace(_SYNTAX, _DEFLATED),  # zlib.error
        lambda data: data.replace(b"\2\0\0\0UL\4\0", b"\2\0\0\0UL\3\0"),  # BytesLengthException
        lambda data: data[: data.rindex(b"\xe0\x7f\x10\0OW") + 8],  # struct.error
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, broken: Callable[[bytes], bytes]) -> None:
    """Whatever pydicom stumbles over is StructureError, with the path and without a value."""
    data = Path(get_testdata_file("MR_small.dcm")).read_bytes()
    assert broken(data) != data
    (tmp_path / "broken.dcm").write_bytes(broken(data))
    with pytest.raises(StructureError, match=r"broken\.dcm: not a readable DICOM file \("):
        _ = LazyDataset(tmp_path / "broken.dcm").Rows


def test_an_error_of_the_disk_stays_one(ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the file's, and may be over when it is read again."""

    def broken(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("dicomnode.dicom.reading.lazy_reading.read_partial", broken)
    with pytest.raises(OSError, match="Input/output error"):
        _ = LazyDataset(ct).Rows
