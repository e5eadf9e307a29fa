"""Trees for the reader: plain text and rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.image_tree import ImageTreeInterface, SeriesTree, StudyTree, _Branch
from dicomnode.dicom.values.safe import safe_text

if TYPE_CHECKING:
    from rich.tree import Tree

_LONGEST = 64
_NAMES = {"PatientID": "Patient", "StudyInstanceUID": "Study", "SeriesInstanceUID": "Series"}
_SAYS = {
    "PatientID": ("PatientName",),
    "StudyInstanceUID": ("StudyDate", "StudyDescription"),
    "SeriesInstanceUID": ("Modality", "SeriesDescription"),
}


def text_of(tree: ImageTreeInterface) -> str:
    """Return a tree as lines of text, a line a patient, study and series."""
    return "\n".join([label_of(tree), *_lines(tree, "")])


def _lines(tree: ImageTreeInterface, indent: str) -> Iterator[str]:
    children = children_of(tree)
    for number, child in enumerate(children, start=1):
        last = number == len(children)
        yield f"{indent}{'└── ' if last else '├── '}{label_of(child)}"
        yield from _lines(child, indent + ("    " if last else "│   "))


def rich_of(tree: ImageTreeInterface) -> Tree:
    """Return a tree for rich to print."""
    from rich.text import Text
    from rich.tree import Tree

    made = Tree(Text(label_of(tree)))  # Text: what stands in DICOM text is never markup
    for child in children_of(tree):
        made.children.append(rich_of(child))
    return made


def children_of(tree: ImageTreeInterface) -> list[ImageTreeInterface]:
    """Return the levels directly below."""
    return list(tree._children.values()) if isinstance(tree, _Branch) else []


def label_of(tree: ImageTreeInterface) -> str:
    """Return one line for a tree: what it is, what it says of itself, and how many images are in it."""
    images = _counted(len(tree), "image")
    if not isinstance(tree, _Branch | SeriesTree) or not tree.keyword:
        return f"{type(tree).__name__}: {images}"
    first = tree.find(lambda _: True)
    said = [] if first is None else [_said(first, keyword) for keyword in _SAYS[tree.keyword]]
    words = " ".join(safe_text(each, longest=_LONGEST) for each in said if each)
    key = safe_text(tree.key or "without an identifier", longest=_LONGEST)
    below = f"{len(tree._children)} series, " if isinstance(tree, StudyTree) else ""
    return f"{_NAMES[tree.keyword]} {key}{f' ({words})' if words else ''}: {below}{images}"


def _said(image: Dataset, keyword: str) -> object:
    """Return what an image says of itself, unless its file would have to be read for it."""
    if isinstance(image, LazyDataset) and not image.was_read:
        return image.indexed_value(tag_for_keyword(keyword) or 0)
    return image.get(keyword)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
