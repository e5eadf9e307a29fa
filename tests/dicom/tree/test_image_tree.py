"""Trees: what goes in, what is counted, and what is said."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from rich.console import Console

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.dicom_tree import DicomTree, PatientTree, SeriesTree, StudyTree
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from dicomnode.errors import DuplicateImageError, ImageTreeError

TREES = [SeriesTree, StudyTree, PatientTree, DicomTree]


def image(name: str, series: str = "1.3", study: str = "1.2", patient: str = "P", **more: object) -> Dataset:
    """Return a dataset of four identifiers."""
    made = Dataset()
    made.SOPInstanceUID, made.SeriesInstanceUID = f"1.4.{name}", series
    made.StudyInstanceUID, made.PatientID = study, patient
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


class _Bag(ImageTreeInterface):
    """The least subclass: anything goes in once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add_image(self, image: Dataset) -> None:
        self._insert(image)


@pytest.mark.parametrize(
    "tree", [*(kind() for kind in TREES), _Bag("bag")], ids=lambda tree: type(tree).__name__
)
def test_every_tree_holds_what_it_was_given(tree: ImageTreeInterface) -> None:
    """Add, count, iterate in order, get, ask, map, filter, find and remove work on every kind of tree."""
    images = [image(str(number), InstanceNumber=number) for number in range(5)]
    assert len(tree) == 0
    assert not tree
    assert tree.add_images(images) == 5
    assert len(tree) == 5
    assert tree
    assert list(tree) == images
    assert tree.get("1.4.3") is images[3]
    assert tree.get("1.4.9") is None
    assert "1.4.3" in tree
    assert "1.4.9" not in tree
    assert 5 not in tree
    assert tree.map(lambda each: each.InstanceNumber) == [0, 1, 2, 3, 4]
    assert tree.find(lambda each: each.InstanceNumber > 2) is images[3]
    assert tree.find(lambda each: each.InstanceNumber > 9) is None
    few = tree.filter(lambda each: each.InstanceNumber % 2 == 1)
    assert type(few) is type(tree)
    assert list(few) == [images[1], images[3]]
    assert len(tree) == 5
    few.remove("1.4.1")
    assert "1.4.1" in tree
    tree.remove("1.4.0")
    assert len(tree) == 4
    assert tree.get("1.4.0") is None


@pytest.mark.parametrize("kind", TREES)
def test_a_duplicate_raises_and_changes_nothing(kind: type[ImageTreeInterface]) -> None:
    """The same SOP Instance UID again is an error that names it; the first image stays."""
    tree, first = kind(), image("1")
    tree.add_image(first)
    with pytest.raises(DuplicateImageError, match=r"1\.4\.1 already"):
        tree.add_image(image("1"))
    assert len(tree) == 1
    assert tree.get("1.4.1") is first


@pytest.mark.parametrize("where", [{"series": "1.33"}, {"study": "1.22", "series": "1.33"}, {"patient": "Q"}])
def test_one_instance_is_in_one_place(where: dict[str, str]) -> None:
    """The same SOP Instance UID elsewhere in the tree is a duplicate, and leaves no empty level."""
    tree = DicomTree()
    tree.add_image(image("1"))
    with pytest.raises(DuplicateImageError):
        tree.add_image(image("1", **where))
    assert list(tree.patients) == ["P"]
    assert list(tree.patients["P"].studies["1.2"].series) == ["1.3"]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (SeriesTree, {"series": "1.33"}),
        (StudyTree, {"study": "1.22"}),
        (PatientTree, {"patient": "Q"}),
    ],
)
@pytest.mark.parametrize("given", [True, False], ids=["given", "learnt"])
def test_an_image_of_another_level_raises(kind: type, other: dict[str, str], given: bool) -> None:
    """A tree that was given its identifier, or has learnt it from its first image, takes nothing else."""
    own = {"SeriesTree": "1.3", "StudyTree": "1.2", "PatientTree": "P"}[kind.__name__]
    tree = kind(own) if given else kind()
    if not given:
        tree.add_image(image("1"))
    before = len(tree)
    with pytest.raises(ImageTreeError, match=f"does not go into the {kind.__name__}"):
        tree.add_image(image("2", **other))
    assert len(tree) == before


def test_a_series_within_a_tree_takes_no_image_of_another_study() -> None:
    """Added through a branch, an image must fit the levels above as well."""
    tree = DicomTree()
    tree.add_image(image("1"))
    series = tree.patients["P"].studies["1.2"].series["1.3"]
    series.add_image(image("2"))
    assert len(tree) == 2
    for other in ({"study": "1.22"}, {"patient": "Q"}):
        with pytest.raises(ImageTreeError, match="does not go into"):
            series.add_image(image("3", **other))
    with pytest.raises(DuplicateImageError):
        series.add_image(image("2"))
    assert len(tree) == 2


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_identifier_is_named(keyword: str, value: str | None) -> None:
    """An image that lacks an identifier is refused by its keyword, and leaves nothing behind."""
    tree, odd = DicomTree(), image("1")
    if value is None:
        del odd[keyword]
    else:
        odd[keyword].value = value
    with pytest.raises(ImageTreeError, match=f"no {keyword}"):
        tree.add_image(odd)
    assert not tree.patients


def test_images_without_a_patient_id() -> None:
    """The Patient ID may be empty or missing (PS3.3 section C.7.1.1): those are under the empty text."""
    tree, missing = DicomTree(), image("2")
    del missing.PatientID
    tree.add_images([image("1", patient=""), missing])
    assert list(tree.patients) == [""]
    assert len(tree) == 2


def test_levels_that_become_empty_go() -> None:
    """Removing the last image of a series removes the series, the study and the patient."""
    tree = DicomTree()
    tree.add_images(
        [image("1"), image("2", series="1.33"), image("3", patient="Q", study="1.22", series="1.34")]
    )
    patient, other = tree.patients["P"], tree.patients["Q"]
    series = other.studies["1.22"].series["1.34"]
    tree.remove("1.4.3")
    assert list(tree.patients) == ["P"]
    patient.remove("1.4.2")
    assert list(patient.studies["1.2"].series) == ["1.3"]
    with pytest.raises(ImageTreeError, match=r"no image of SOPInstanceUID 1\.4\.3"):
        tree.remove("1.4.3")
    series.add_image(image("9", patient="R", series="1.34"))  # still held by someone, it stands alone
    assert len(tree) == 1
    assert "1.4.9" not in tree


def test_a_subtree_knows_its_own_only() -> None:
    """``in`` and ``get`` of a branch see the images below it and no others."""
    tree = DicomTree()
    tree.add_images([image("1"), image("2", patient="Q", study="1.22", series="1.33")])
    assert "1.4.1" in tree.patients["P"]
    assert "1.4.2" not in tree.patients["P"]
    assert tree.patients["P"].get("1.4.2") is None
    with pytest.raises(ImageTreeError):
        tree.patients["P"].remove("1.4.2")
    assert len(tree) == 2


def test_a_subtree_can_be_filtered_alone() -> None:
    """The result of filtering a branch is a tree of its own."""
    tree = DicomTree()
    tree.add_images([image("1"), image("2")])
    few = tree.patients["P"].filter(lambda each: each.SOPInstanceUID == "1.4.1")
    few.add_image(image("3"))
    assert len(tree) == 2
    assert len(few) == 2


def test_filter_keeps_what_a_subclass_knows() -> None:
    """Attributes of a subclass go along, though its constructor asks for arguments."""
    bag = _Bag("name")
    bag.add_image(image("1"))
    assert bag.filter(lambda _: False).name == "name"


def test_the_views_cannot_be_changed() -> None:
    """Who looks at the levels cannot put one in behind the tree's back."""
    tree = DicomTree()
    with pytest.raises(TypeError):
        tree.patients["P"] = PatientTree("P")  # type: ignore[index]  # the mapping is read-only, which is what is tested


def test_text_names_levels_and_counts() -> None:
    """The text has a line a patient, study and series, with what they say of themselves."""
    tree = DicomTree()
    tree.add_images(
        [
            image("1", PatientName="Doe^Jane", Modality="CT", SeriesDescription="thin", StudyDate="20260101"),
            image("2"),
            image("3", series="1.33"),
        ]
    )
    assert str(tree).splitlines() == [
        "DicomTree: 3 images",
        "└── Patient P (Doe^Jane): 3 images",
        "    └── Study 1.2 (20260101): 2 series, 3 images",
        "        ├── Series 1.3 (CT thin): 2 images",
        "        └── Series 1.33: 1 image",
    ]
    assert str(_Bag("bag")) == "_Bag: 0 images"
    assert str(SeriesTree()) == "Series without an identifier: 0 images"


def test_rendering_is_safe() -> None:
    """Neither markup nor control characters of DICOM text reach the terminal; repr names no patient."""
    tree = DicomTree()
    tree.add_image(
        image("1", patient="[red]x[/red]", PatientName="a\x1b[2Jb", SeriesDescription="line\nbreak")
    )
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(tree)
    for text in (str(tree), console.file.getvalue()):
        assert "[red]x[/red]" in text
        assert "\x1b" not in text
        assert "line\\nbreak" in text
    assert repr(tree) == "<DicomTree: 1 images>"


def test_text_reads_no_file(tmp_path: Path) -> None:
    """Rendering and iterating a tree of lazy handles leave their files alone."""
    tree = DicomTree()
    index = {0x00080018: "1.4", 0x0020000D: "1.2", 0x0020000E: "1.3", 0x00100020: "P"}
    tree.add_image(LazyDataset(tmp_path / "nowhere", index))
    assert "Series 1.3: 1 image" in str(tree)
    assert [each.was_read for each in tree] == [False]


# -- files ------------------------------------------------------------------------------------------------


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
