"""LazyDataset: a pydicom.Dataset in all but the reading."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import shutil
import threading
import tracemalloc
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset

from dicomnode.dicom.reading import lazy, lazy_reading
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import DicomError, FileGoneError

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's opinion of its own test files

_FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


def _readable() -> list[Path]:
    found = []
    for path in sorted(_FOLDER.rglob("*")):
        if path.is_file():
            try:
                pydicom.dcmread(path)
            except Exception:
                continue
            found.append(path)
    return found


EVERY_FILE = [pytest.param(path, id=str(path.relative_to(_FOLDER))) for path in _readable()]

INDEX = {
    0x00080060: "MR",
    0x00080008: ["ORIGINAL", "PRIMARY"],
    0x00100010: "Doe^Jane",
    0x00200013: 7,
    0x00280030: [0.5, 0.25],
    0x00101030: None,
}


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """Return a CT slice that the test may change or delete."""
    return Path(shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm"))


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """Return a path without a file: what answers has not read it."""
    return tmp_path / "nowhere.dcm"


# -- it is a Dataset --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY_FILE)
def test_equals_what_pydicom_reads(path: Path) -> None:
    """Every file of pydicom's is equal both ways, in content, order, text and file meta."""
    plain, image = pydicom.dcmread(path), LazyDataset(path)
    assert image == plain
    assert plain == image
    assert not image != plain  # noqa: SIM202 - the operator is what is tested
    assert [element.tag for element in image] == [element.tag for element in plain]
    assert str(image) == str(plain)
    assert image.file_meta == plain.file_meta


@pytest.mark.parametrize("path", EVERY_FILE)
def test_copies_equal_the_file(path: Path) -> None:
    """A copy, a deep copy and a pickle of a read handle hold what the file holds."""
    plain, image = pydicom.dcmread(path), LazyDataset(path)
    assert len(image) == len(plain)
    for made in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert type(made) is LazyDataset
        assert made == plain


@pytest.mark.parametrize("path", EVERY_FILE)
def test_writes_what_pydicom_writes(path: Path) -> None:
    """Written, it gives the bytes that pydicom gives for the same file, or fails as pydicom fails."""

    def written(dataset: Dataset) -> bytes | type[Exception]:
        file = io.BytesIO()
        try:
            dataset.save_as(file)
        except Exception as error:
            return type(error)
        return file.getvalue()

    image = LazyDataset(path)
    assert written(image) == written(pydicom.dcmread(path))


def test_is_a_dataset(nowhere: Path) -> None:
    """It passes for a Dataset and a FileDataset, and cannot be hashed as they cannot."""
    image = LazyDataset(nowhere)
    assert isinstance(image, Dataset)
    assert isinstance(image, FileDataset)
    with pytest.raises(TypeError, match="unhashable"):
        hash(image)


def test_differs_from_what_differs(ct: Path) -> None:
    """Another dataset, one with a changed value and something else are not equal."""
    other = pydicom.dcmread(ct)
    other.PatientID = "another"
    assert LazyDataset(ct) != other
    assert LazyDataset(ct) != Dataset()
    assert LazyDataset(ct) != "text"


def test_defaults_of_get(ct: Path) -> None:
    """``get`` and ``getattr`` give their default for what is not there, and access raises as in a Dataset."""
    image = LazyDataset(ct)
    assert image.get("Allergies", "none") == "none"
    assert image.get(0x00102110, "none") == "none"
    assert getattr(image, "Allergies", 5) == 5
    assert not hasattr(image, "Allergies")
    assert not hasattr(image, "no_such_attribute")
    assert "Allergies" not in image
    with pytest.raises(AttributeError):
        _ = image.Allergies
    with pytest.raises(KeyError):
        _ = image[0x00102110]
    with pytest.raises(KeyError):
        _ = image["NoKeyword"]


def test_deleting_and_slicing(ct: Path) -> None:
    """Deletion, pop, update and slices act on the dataset as on any other."""
    image = LazyDataset(ct, {0x00100020: "1CT1", 0x00080060: "CT"})
    del image.PatientID
    assert "PatientID" not in image
    assert image.pop("Modality").VR == "CS"
    image.update({"PatientName": "New^Name"})
    assert image.PatientName == "New^Name"
    assert [element.keyword for element in image[0x00100010:0x00100031]] == [
        "PatientName",
        "PatientBirthDate",
    ]
    assert pydicom.dcmread(ct).PatientID == "1CT1"


# -- the index --------------------------------------------------------------------------------------------


def test_index_answers_without_the_file(nowhere: Path) -> None:
    """Every form of access to an indexed tag is answered though there is no file."""
    image = LazyDataset(nowhere, INDEX)
    assert image.Modality == image["Modality"].value == image[0x00080060].value == "MR"
    assert image.get("Modality") == image.get(0x00080060).value == "MR"
    assert image[0x0008, 0x0060].VR == "CS"
    assert "Modality" in image
    assert 0x00080060 in image
    assert image.ImageType == ["ORIGINAL", "PRIMARY"]
    assert image.PatientName.family_name == "Doe"
    assert image.InstanceNumber == 7
    assert image.PixelSpacing == [0.5, 0.25]
    assert image.PatientWeight is None
    assert bool(image)
    assert not image.was_read


def test_asking_for_nothing_reads_nothing(nowhere: Path) -> None:
    """Making, representing, copying, pickling a handle and probing odd attributes leave the file alone."""
    image = LazyDataset(nowhere, INDEX)
    assert repr(image) == f"LazyDataset({str(nowhere)!r})"
    assert not hasattr(image, "__array_interface__")
    assert not hasattr(image, "_repr_html_")
    for made in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert made.path == nowhere
        assert made.index == image.index == INDEX
        assert made.Modality == "MR"
        assert not made.was_read


def test_index_agrees_with_the_file(ct: Path) -> None:
    """An element made from the index equals the one that is read, in value, VR and type."""
    plain = pydicom.dcmread(ct)
    index = {
        int(element.tag): list(map(float, element.value)) if element.VM > 1 else float(element.value)
        for element in plain
        if element.VR == "DS" and element.VM
    } | {
        int(element.tag): list(element.value) if element.VM > 1 else element.value or None
        for element in plain
        if element.VR in ("UI", "CS", "LO", "SH", "DA", "TM", "IS", "PN") and not element.tag.is_private
    }
    image = LazyDataset(
        ct, {tag: str(value) if "Name" in str(type(value)) else value for tag, value in index.items()}
    )
    assert len(image.index) > 40
    for tag in image.index:
        element = image[tag]
        assert not image.was_read
        assert element == plain[tag]
        assert plain[tag] == element
        assert (
            type(element.value).__name__.strip("_").replace("IndexedValues", "MultiValue")
            == type(plain[tag].value).__name__
        )
        assert element.VM == plain[tag].VM


@pytest.mark.parametrize(
    "tag",
    [0x00280106, 0x00082112, 0x7FE00010, 0x00091001, 0x00280000],
    ids=["US or SS", "SQ", "pixels", "private", "?"],
)
def test_index_is_passed_over_where_it_cannot_know(ct: Path, tag: int) -> None:
    """A tag whose VR is not for the index to know is answered by the file, whatever the index says."""
    image = LazyDataset(ct, {tag: 65531, 0x00080060: "CT"})
    assert tag not in image.index
    assert image.Modality == "CT"
    assert not image.was_read
    assert image.get(tag) == pydicom.dcmread(ct).get(tag)
    assert image.was_read


def test_text_that_is_no_number_is_answered_by_the_file(ct: Path) -> None:
    """An indexed value that its VR does not take falls back to the file."""
    image = LazyDataset(ct, {0x00180050: "thick"})
    assert image.SliceThickness == 5


def test_the_file_speaks_once_it_is_read(ct: Path) -> None:
    """After reading, the file's values count, to their last digit."""
    image = LazyDataset(ct, {0x00180050: 5.0})
    assert str(image.SliceThickness) == "5.0"
    assert image.Manufacturer == "GE MEDICAL SYSTEMS"
    assert str(image.SliceThickness) == "5.000000"


# -- changes ----------------------------------------------------------------------------------------------


def test_copies_are_their_own(ct: Path) -> None:
    """Changing a copy leaves the original as it was, and the other way round."""
    image = LazyDataset(ct)
    assert image.PatientID == "1CT1"
    for made in (copy.copy(image), copy.deepcopy(image), image.copy()):
        made.PatientID = "other"
        made.PixelData = b"\0\0"
        assert image.PatientID == "1CT1"
        assert len(image.PixelData) == 32768


def test_changes_travel_with_a_pickle(ct: Path) -> None:
    """A changed handle is pickled with its changes, and without the pixels that are on disk."""
    image = LazyDataset(ct, {0x00080060: "CT"})
    image.PatientName = "Changed^Name"
    assert image.pixel_array.shape == (128, 128)
    pickled = pickle.dumps(image)
    assert len(pickled) < len(image.PixelData)
    made = pickle.loads(pickled)
    assert made.PatientName == "Changed^Name"
    assert (made.pixel_array == image.pixel_array).all()


# -- pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"],
)
def test_pixels_come_and_go(name: str) -> None:
    """The header is read without pixels; they come when asked for, can be released, and come again."""
    path = get_testdata_file(name)
    plain, image = pydicom.dcmread(path), LazyDataset(path)
    assert image.Rows == plain.Rows
    assert "PixelData" in image
    element = image._dict[0x7FE00010]
    assert element.released
    assert image.PixelData == plain.PixelData
    assert (image.pixel_array == plain.pixel_array).all()
    assert not element.released
    image.release_pixels()
    assert element.released
    assert image._pixel_array is None
    assert (image.pixel_array == plain.pixel_array).all()


def test_a_with_block_releases_pixels(ct: Path) -> None:
    """Leaving a ``with`` block lets go of the pixels."""
    with LazyDataset(ct) as image:
        assert image.pixel_array.any()
    assert image._dict[0x7FE00010].released


def test_releasing_frees_the_memory(ct: Path) -> None:
    """After release neither the encoded nor the decoded pixels are held."""
    image = LazyDataset(ct)
    assert image.PatientID
    _ = LazyDataset(ct).pixel_array  # decoders are imported once
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert image.pixel_array.nbytes == len(image.PixelData) == 32768
        held = tracemalloc.get_traced_memory()[0] - before
        image.release_pixels()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held > 65536
    assert left < 8192


def test_release_returns_to_the_untouched_handle(ct: Path) -> None:
    """``release`` lets go of everything that was read or changed."""
    image = LazyDataset(ct, {0x00080060: "CT"})
    image.PatientID = "changed"
    image.release()
    assert not image.was_read
    assert image.Modality == "CT"
    assert not image.was_read
    assert image.PatientID == "1CT1"


# -- the file goes, or is none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "access",
    [
        lambda image: image.PatientID,
        lambda image: image["PatientID"],
        lambda image: image.get("PatientID", "default"),
        lambda image: "PatientID" in image,
        list,
        len,
        lambda image: image.pixel_array,
        lambda image: image.file_meta,
        lambda image: setattr(image, "PatientID", "x"),
        lambda image: hasattr(image, "PatientID"),
        lambda image: image == Dataset(),
        str,
    ],
)
def test_a_file_that_has_gone_is_named(nowhere: Path, access: object) -> None:
    """Whatever needs the file says that it is gone, and which it was; no default hides it."""
    with pytest.raises(FileGoneError, match="no longer there") as caught:
        access(LazyDataset(nowhere, INDEX))
    assert str(nowhere) in str(caught.value)
    assert isinstance(caught.value, DicomError)
    assert isinstance(caught.value, FileNotFoundError)


# -- threads, memory --------------------------------------------------------------------------------------


def test_many_threads_read_once(ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen threads that touch one handle at once read the header once and all see the whole of it."""
    reads = []

    def counted(path: str) -> FileDataset:
        reads.append(path)
        return lazy_reading.read_without_pixels(path)

    monkeypatch.setattr(lazy, "read_without_pixels", counted)
    plain = pydicom.dcmread(ct)
    for _ in range(20):
        reads.clear()
        image, start, wrong = LazyDataset(ct), threading.Barrier(16), []

        def look(image=image, start=start, wrong=wrong) -> None:
            start.wait()
            try:
                if not (
                    image.PatientID == "1CT1" and image == plain and image.pixel_array.shape == (128, 128)
                ):
                    wrong.append("differs")
            except Exception as error:
                wrong.append(repr(error))

        threads = [threading.Thread(target=look) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(reads) == 1


def test_threads_that_release_and_read_at_once(ct: Path) -> None:
    """Releasing pixels under a reader's feet never gives it anything but the pixels."""
    image, pixels, wrong = LazyDataset(ct), pydicom.dcmread(ct).PixelData, []

    def read() -> None:
        for _ in range(200):
            if image.PixelData != pixels:
                wrong.append(1)
            image.release_pixels()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_untouched_handle_stays_below_a_kilobyte() -> None:
    """Ten indexed tags and a path of 100 characters, whose unique texts are its own, cost less than 1 kB."""

    def handle(number: int) -> LazyDataset:
        return LazyDataset(
            f"/var/lib/dicomnode/spool/{number % 256:02x}/{number:064x}.dcm",
            {
                0x00080016: "1.2.840.10008.5.1.4.1.1.2",
                0x00080018: f"1.2.826.0.1.3680043.8.498.{10**37 + number}",
                0x00080020: "20260101",
                0x00080060: "CT",
                0x00080008: ["ORIGINAL", "PRIMARY", "AXIAL"],
                0x00100020: f"PATIENT{number // 500}",
                0x0020000D: f"1.2.826.0.1.3680043.8.498.{2 * 10**37 + number // 500}",
                0x0020000E: f"1.2.826.0.1.3680043.8.498.{3 * 10**37 + number // 100}",
                0x00200013: number,
                0x00200032: [-250.5, -250.5, 1.25 * number],
            },
        )

    held = [handle(0)]
    gc.collect()
    tracemalloc.start()
    try:
        held += [handle(number) for number in range(1000, 3000)]
        assert all(
            image.SOPInstanceUID and image.ImagePositionPatient and "Modality" in image for image in held
        )
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] / 2000
    finally:
        tracemalloc.stop()
    assert size < 1000, f"{size:.0f} bytes"


def test_a_handle_moves_with_its_file(ct: Path, tmp_path: Path) -> None:
    """A handle at another place has the same index, and reads the file there, whatever the first has read."""
    here = LazyDataset(ct, {0x00080060: "CT", 0x00080008: ["A", "B"]})
    assert here.Rows
    there = here.at(shutil.copy(ct, tmp_path / "moved.dcm"))
    assert (there.path, there.file) == (tmp_path / "moved.dcm", str(tmp_path / "moved.dcm"))
    assert there.index == here.index
    assert not there.was_read
    assert there.Rows == here.Rows


def test_indexed_text_has_the_type_that_pydicom_gives_it(ct: Path) -> None:
    """Values that are answered without an element are of the same types as those that are read."""
    read = pydicom.dcmread(ct)
    for keyword in ("Modality", "PatientID", "StudyInstanceUID", "SOPClassUID", "Manufacturer", "StudyDate"):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        indexed = getattr(LazyDataset("/nowhere", {tag: str(read[tag].value)}), keyword)
        assert (indexed, type(indexed)) == (read[tag].value, type(read[tag].value))


def test_several_values_at_once(tmp_path: Path) -> None:
    """Values asked for together are those asked for one by one; a dataset that was read speaks for itself."""
    path = tmp_path / "image.dcm"
    pydicom.dcmread(get_testdata_file("MR_small.dcm")).save_as(path)
    image = LazyDataset(path, {0x00080060: "MR", 0x00080008: ["ORIGINAL", "PRIMARY"], 0x00200013: 1})
    tags = (0x00080060, 0x00080008, 0x00200013, 0x00100020)
    assert list(image.indexed_values(tags)) == ["MR", ("ORIGINAL", "PRIMARY"), 1, None]
    assert image.PatientName
    assert list(image.indexed_values(tags)) == [None] * 4
