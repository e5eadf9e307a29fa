"""Trees and folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.dicom_tree import DicomTree, SeriesTree
from dicomnode.errors import ImageTreeError
from made_images import image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two slices, one of them twice, and files that are no images."""
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "in" / "a.dcm")
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "in" / "b")
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "in" / "deep" / "er" / "c.dcm")
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "in" / "DICOMDIR")
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    return tmp_path / "in"


def test_discover_finds_images_and_says_what_is_none(folder: Path) -> None:
    """Every image below the folder is added unread, all else named with a reason, progress reported."""
    reported, ct = [], "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    tree = DicomTree()
    found = tree.discover(folder, lambda done, total: reported.append((done, total)))
    assert found.added == len(tree) == 2
    assert {path.name: reason.split(":")[0] for path, reason in found.skipped} == {
        "DICOMDIR": "an image has no SOPInstanceUID, so no tree can hold it",
        "b": f"the DicomTree holds an image of SOPInstanceUID {ct} already",
        "notes.txt": "cannot be read as DICOM",
    }
    assert reported == [(number, 5) for number in range(1, 6)]
    assert not any(each.was_read for each in tree)
    assert tree.find(lambda each: each.Modality == "MR").path == folder / "deep" / "er" / "c.dcm"
    assert DicomTree().discover(folder / "a.dcm").added == 1


def test_discover_of_nothing(tmp_path: Path) -> None:
    """A path that is not there is an error; an empty folder is not."""
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        DicomTree().discover(tmp_path / "nowhere")
    assert DicomTree().discover(tmp_path).added == 0


@pytest.mark.filterwarnings("ignore")
def test_discover_survives_every_file_of_pydicom() -> None:
    """Truncated, odd and broken files are listed, never raised."""
    path = Path(pydicom.__file__).parent / "data" / "test_files"
    tree = DicomTree()
    found = tree.discover(path)
    assert found.added == len(tree) > 100
    assert all(reason for _, reason in found.skipped)


def test_save_copies_untouched_files_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    """A handle that was not read is saved as the very bytes of its file."""
    tree = DicomTree()
    tree.discover(folder)
    written = tree.save(tmp_path / "out")
    assert [path.read_bytes() for path in written] == [each.path.read_bytes() for each in tree]
    again = DicomTree()
    assert again.discover(tmp_path / "out").added == 2
    assert again.save(tmp_path / "out") == written  # onto itself


def test_save_writes_changes(folder: Path, tmp_path: Path) -> None:
    """A changed handle and a plain dataset are written as they are."""
    tree = SeriesTree()
    changed = LazyDataset(folder / "a.dcm")
    changed.PatientName = "Changed"
    tree.add_image(changed)
    (path,) = tree.save(tmp_path / "out")
    assert pydicom.dcmread(path) == changed
    assert pydicom.dcmread(path).PatientName == "Changed"


def test_paths_do_not_depend_on_the_tree(folder: Path, tmp_path: Path) -> None:
    """The path of an image is the same from every kind of tree, alone or among others."""
    tree = DicomTree()
    tree.discover(folder)
    together = {path.relative_to(tmp_path / "all") for path in tree.save(tmp_path / "all")}
    apart = set()
    for number, each in enumerate(tree):
        series = SeriesTree()
        series.add_image(each)
        apart |= {path.relative_to(tmp_path / str(number)) for path in series.save(tmp_path / str(number))}
    assert apart == together


@pytest.mark.filterwarnings("ignore")  # pydicom's opinion of such values
def test_save_stays_in_its_folder(tmp_path: Path) -> None:
    """Identifiers that are paths, control characters, devices or very long name files inside the folder."""
    out = tmp_path / "deep" / "out"
    hostile = [
        "../../x",
        "/etc/x",
        "..",
        ".",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        "CON",
        "x" * 10_000,
        "é",
        "~",
        "-rf",
        ".hid",
    ]
    tree = DicomTree()
    template = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for number, text in enumerate(hostile):
        each = pydicom.dcmread(get_testdata_file("CT_small.dcm")) if number else template
        each[0x00100020].value = text
        each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        tree.add_image(each)
    written = tree.save(out)
    assert len({path.parent for path in written}) == len(hostile)
    assert all(path.resolve().is_relative_to(out) and path.is_file() for path in written)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path not in written] == []


def test_save_names_what_cannot_be_written(tmp_path: Path) -> None:
    """A dataset without a transfer syntax is an error that names the image, and leaves no half file."""
    tree = DicomTree()
    tree.add_image(image("1"))
    with pytest.raises(ImageTreeError, match=r"1\.4\.1 cannot be written"):
        tree.save(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
