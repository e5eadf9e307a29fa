"""Trees as text."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.dicom_tree import DicomTree, SeriesTree
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from made_images import image


class _Bag(ImageTreeInterface):
    """The least subclass: anything goes in once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add_image(self, image: Dataset) -> None:
        self._insert(image)


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
