"""The elements of a lazy dataset: from the index, or left on disk until touched."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue

from dicomnode.dicom.reading.lazy import LazyDataset

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's opinion of its own test files


INDEX = {
    0x00080060: "MR",
    0x00080008: ["ORIGINAL", "PRIMARY"],
    0x00100010: "Doe^Jane",
    0x00200013: 7,
    0x00280030: [0.5, 0.25],
    0x00101030: None,
}


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """Return a path without a file: what answers has not read it."""
    return tmp_path / "nowhere.dcm"


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Return a CT slice that the test may change or delete."""
    return Path(shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda values: values.append("C"), ["A", "B", "C"]),
        (lambda values: values.insert(0, "C"), ["C", "A", "B"]),
        (lambda values: values.extend(["C", "D"]), ["A", "B", "C", "D"]),
        (lambda values: values.__iadd__(["C"]), ["A", "B", "C"]),
        (lambda values: values.sort(reverse=True), ["B", "A"]),
        (lambda values: values.reverse(), ["B", "A"]),
        (lambda values: values.pop(), ["A"]),
        (lambda values: values.__delitem__(0), ["B"]),
    ],
)
def test_values_changed_in_place_stay(ct: Path, change: object, expected: list[str]) -> None:
    """Each way to change a list of indexed values reaches the dataset, alone or not."""
    image = LazyDataset(ct, {0x00080008: ["A", "B"]})
    change(image.ImageType)
    held = image.ImageType
    assert held == expected or held == expected[0]


def test_texts_are_looked_at_without_an_element(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several texts of the index are equal to pydicom's, and no element is made until one is changed."""
    made: list[object] = []
    monkeypatch.setattr("dicomnode.dicom.reading.lazy.IndexedElement", lambda *given: made.append(given))
    values = LazyDataset(nowhere, {0x00080008: ["ORIGINAL", "PRIMARY"]}).ImageType
    assert isinstance(values, MultiValue)
    assert values == ["ORIGINAL", "PRIMARY"]
    assert "PRIMARY" in values
    assert str(values) == "['ORIGINAL', 'PRIMARY']"
    with pytest.raises(AttributeError):
        values.nothing  # noqa: B018 - a name that no list has
    assert made == []


def test_texts_that_were_taken_before_are_those_of_the_dataset(ct: Path) -> None:
    """What is changed twice in a list that was taken while the file was unread is changed in the dataset."""
    image = LazyDataset(ct, {0x00080008: ["A", "B"]})
    values = image.ImageType
    values.append("C")
    assert image.was_read
    values[0] = "D"
    assert image.ImageType == values == ["D", "B", "C"]
    assert image["ImageType"].value == ["D", "B", "C"]


def test_an_indexed_element_can_be_taken_elsewhere(nowhere: Path) -> None:
    """A copied element is a plain one that no longer knows the handle."""
    image = LazyDataset(nowhere, INDEX)
    for copied in (copy.deepcopy(image["ImageType"]), pickle.loads(pickle.dumps(image["ImageType"]))):
        assert type(copied) is DataElement
        copied.value.append("MORE")
        assert copied.value == ["ORIGINAL", "PRIMARY", "MORE"]
    values = copy.deepcopy(image.ImageType)
    values.append("MORE")
    assert image.ImageType == ["ORIGINAL", "PRIMARY"]
    assert not image.was_read


@pytest.mark.parametrize(
    "change",
    [
        lambda image: setattr(image, "ImageType", ["DERIVED", "SECONDARY"]),
        lambda image: setattr(image["ImageType"], "value", ["DERIVED", "SECONDARY"]),
        lambda image: image.ImageType.__setitem__(slice(None), ["DERIVED", "SECONDARY"]),
        lambda image: image.add_new("ImageType", "CS", ["DERIVED", "SECONDARY"]),
    ],
    ids=["attribute", "element", "in place", "add_new"],
)
def test_changes_to_an_indexed_tag_stay(ct: Path, change: object) -> None:
    """However an indexed tag is changed, the dataset holds the change, and so does what is written."""
    image = LazyDataset(ct, {0x00080008: ["ORIGINAL", "PRIMARY"]})
    change(image)
    assert image.ImageType == ["DERIVED", "SECONDARY"]
    file = io.BytesIO()
    image.save_as(file)
    file.seek(0)
    assert pydicom.dcmread(file).ImageType == ["DERIVED", "SECONDARY"]
    assert pydicom.dcmread(ct).ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_pixels_that_were_assigned_are_kept(ct: Path) -> None:
    """Release does not let go of what is nowhere else."""
    image = LazyDataset(ct)
    image.PixelData = b"\1\2" * 16384
    image.release_pixels()
    assert image.PixelData == b"\1\2" * 16384


def test_decompressed_pixels_are_kept() -> None:
    """A dataset that was decompressed stays so after a release."""
    image = LazyDataset(get_testdata_file("MR_small_RLE.dcm"))
    image.decompress()
    image.release_pixels()
    assert len(image.PixelData) == 8192
    assert image.pixel_array.shape == (64, 64)
