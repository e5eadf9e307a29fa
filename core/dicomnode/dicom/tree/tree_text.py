"""Trees for the reader: plain text and rich."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.safe import safe_text

if TYPE_CHECKING:
    from rich.tree import Tree

_LONGEST = 64
_NAMES = {"PatientID": "Patient", "StudyInstanceUID": "Study", "SeriesInstanceUID": "Series"}
_DESCRIBED_BY = {
    "PatientID": ("PatientName",),
    "StudyInstanceUID": ("StudyDate", "StudyDescription"),
    "SeriesInstanceUID": ("Modality", "SeriesDescription"),
}


@dataclass(frozen=True, slots=True)
class TextNode:
    """One line about a tree, and those about the levels directly below it."""

    label: str
    children: tuple[TextNode, ...] = ()


def text_of(node: TextNode) -> str:
    """Return a tree as lines of text, a line a patient, study and series."""
    return "\n".join([node.label, *_lines(node, "")])


def _lines(node: TextNode, indent: str) -> Iterator[str]:
    for number, child in enumerate(node.children, start=1):
        last = number == len(node.children)
        yield f"{indent}{'└── ' if last else '├── '}{child.label}"
        yield from _lines(child, indent + ("    " if last else "│   "))


def rich_of(node: TextNode) -> Tree:
    """Return a tree for rich to print."""
    from rich.text import Text
    from rich.tree import Tree

    made = Tree(Text(node.label))  # Text: what stands in DICOM text is never markup
    made.children.extend(map(rich_of, node.children))
    return made


def label_of(keyword: str, key: str | None, example: Dataset | None, content: str) -> str:
    """Return one line about a patient, a study or a series.

    Parameters
    ----------
    keyword : str
        What identifies the level: ``"PatientID"``, ``"StudyInstanceUID"`` or ``"SeriesInstanceUID"``.
    key : str or None
        Its value; ``None`` or empty where there is none.
    example : Dataset or None
        An image of the level, which says its name or description.
    content : str
        What the level holds, such as ``"2 images"``.
    """
    values = [] if example is None else [_known_value(example, each) for each in _DESCRIBED_BY[keyword]]
    description = " ".join(safe_text(value, longest=_LONGEST) for value in values if value)
    name = safe_text(key or "without an identifier", longest=_LONGEST)
    return f"{_NAMES[keyword]} {name}{f' ({description})' if description else ''}: {content}"


def _known_value(image: Dataset, keyword: str) -> object:
    """Return a value of an image, ``None`` where its file would have to be read for it."""
    if isinstance(image, LazyDataset) and not image.was_read:
        return image.indexed_value(tag_for_keyword(keyword) or 0)
    return image.get(keyword)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: ``"1 image"``, ``"1,000 images"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
