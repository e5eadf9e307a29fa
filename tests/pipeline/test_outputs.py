"""What a pipeline produced, as files in the outbox."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from dicomnode import DicomOutput, FileOutput, NoOutput
from dicomnode.errors import OutputError
from sources import ct_slices

FOLDERS: Any = SimpleNamespace(name="file:/srv", takes_files=True)
PEER: Any = SimpleNamespace(name="PACS", takes_files=False)


def test_nothing_to_deliver(tmp_path: Path) -> None:
    """An output of nothing writes nothing."""
    assert list(NoOutput().write(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_instances_are_written_with_what_delivery_needs(tmp_path: Path) -> None:
    """Each instance is a Part 10 file under a number, with its UIDs, and filed by patient and series."""
    slices = ct_slices()
    items = DicomOutput(slices, destinations=["PACS"]).write(tmp_path)
    assert [item.path.name for item in items] == [f"{number:06d}.dcm" for number in range(len(slices))]
    for item, dataset in zip(items, slices, strict=True):
        written = pydicom.dcmread(item.path)
        assert written.SOPInstanceUID == item.SOPInstanceUID == dataset.SOPInstanceUID
        assert written.SOPClassUID == item.SOPClassUID
        assert written.file_meta.TransferSyntaxUID == item.TransferSyntaxUID
        assert item.folders == (dataset.PatientID, dataset.SeriesInstanceUID)
        assert (item.file_name, item.output) == (f"{dataset.SOPInstanceUID}.dcm", "dicom")
        assert item.destinations == ("PACS",)


def test_one_dataset_need_not_be_in_a_list(tmp_path: Path) -> None:
    """A dataset is one instance, not its elements."""
    (item,) = DicomOutput(ct_slices()[0]).write(tmp_path)
    assert item.destinations is None


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "DicomOutput was given no dataset. Return NoOutput"),
        ([ct_slices()[0], "text"], "number 2 is a str"),
        ([pydicom.Dataset()], "dataset 1 of 1 cannot be written as DICOM"),
    ],
)
def test_what_is_no_instance(tmp_path: Path, datasets: list[Any], message: str) -> None:
    """The error says which of them, and why."""
    with pytest.raises(OutputError, match=message):
        DicomOutput(datasets).write(tmp_path)


def test_files_of_any_kind(tmp_path: Path) -> None:
    """Bytes, text and copies of files are written under numbers: the destination makes names safe."""
    (tmp_path / "model").write_bytes(b"\x00\x01")
    folder = tmp_path / "output"
    folder.mkdir()
    files: dict[str, bytes | str | Path] = {"../a": b"bytes", "b.txt": "µ", "c": tmp_path / "model"}
    items = FileOutput(files).write(folder)
    assert [(item.path.name, item.file_name, item.path.read_bytes()) for item in items] == [
        ("000000", "../a", b"bytes"), ("000001", "b.txt", "µ".encode()), ("000002", "c", b"\x00\x01"),
    ]  # fmt: skip
    assert {(item.SOPInstanceUID, item.folders, item.output) for item in items} == {("", (), "file")}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "FileOutput was given no file. Return NoOutput"),
        ({"a": Path("/no/such/file")}, "cannot read 'a' from /no/such/file: No such file"),
        ({"a": 3}, "takes bytes, text or a pathlib.Path for 'a', not int"),
    ],
)
def test_what_is_no_file(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    """The error names the file."""
    with pytest.raises(OutputError, match=message):
        FileOutput(files).write(tmp_path)


def test_where_outputs_can_go() -> None:
    """Instances go to peers and folders, other files to folders alone."""
    assert DicomOutput.goes_to(PEER)
    assert DicomOutput.goes_to(FOLDERS)
    assert FileOutput.goes_to(FOLDERS)
    assert not FileOutput.goes_to(PEER)
