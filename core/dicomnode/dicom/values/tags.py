"""Naming an attribute: keyword, integer, pair, or private tag with its creator (PS3.5 section 7.8)."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from pydicom.datadict import (
    dictionary_VR,
    keyword_dict,
    keyword_for_tag,
    private_dictionary_VR,
    tag_for_keyword,
)
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.errors import InvalidValueError

PIXEL_KEYWORDS: Final = {
    0x7FE00010: "PixelData",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
}
"""The elements that hold the pixels of an image (PS3.3 sections C.7.6.3, C.7.6.24 and C.7.6.25), by tag."""

STORED_BYTES: Final = 1 << 32
"""Added to a tag, it names in an index the value's bytes as they are stored, each as one character (Latin-1).

A decoded text may stand for several byte sequences; where two patients must not become one, these count.
"""

ABSENT: Final = 1 << 33
"""Added to a tag, it says in an index that the data set does not have the element: no file need be opened."""

_HEX_PAIR = re.compile(r"^\(?\s*([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\s*\)?$")
_CREATOR_LENGTH = 64  # a private creator is an LO (PS3.5 section 7.8.1)


@dataclass(frozen=True)
class PrivateTag:
    """A private attribute: an odd group, the element's low byte, and who reserved the block.

    The block (the high byte of the element number) is not part of the identity: it is whatever the dataset
    has reserved for the creator (PS3.5 section 7.8.1), so the same private tag can sit at ``(0029,1001)`` in
    one dataset and at ``(0029,1101)`` in another.

    Parameters
    ----------
    group : int
        The group number, odd, above 0x0008.
    element : int
        The element number. Only its low byte counts: 0x01 and 0x1001 name the same attribute.
    creator : str
        The private creator, an ``LO`` of at most 64 characters.

    Raises
    ------
    InvalidValueError
        When the group is even or reserved, or the creator is empty or too long.
    """

    group: int
    element: int
    creator: str

    def __post_init__(self) -> None:
        if not self.group % 2 or not 0x0009 <= self.group <= 0xFFFD:  # noqa: PLR2004 - PS3.5 section 7.1
            raise InvalidValueError(
                f"private tag with group {self.group:#06x}: a private group is odd and above 0x0008"
            )
        if not 0 <= self.element <= 0xFFFF:  # noqa: PLR2004 - sixteen bits
            raise InvalidValueError(
                f"private tag with element {self.element:#x}: give the low byte, 0x00 to 0xff"
            )
        creator = self.creator.strip()
        if not creator or len(creator) > _CREATOR_LENGTH or "\\" in creator:
            raise InvalidValueError(
                f"private tag ({self.group:04x},xx{self.element & 0xFF:02x}): creator {self.creator!r} must"
                f" be 1 to {_CREATOR_LENGTH} characters without a backslash"
            )
        object.__setattr__(self, "creator", creator)
        object.__setattr__(self, "element", self.element & 0xFF)

    @property
    def tag(self) -> BaseTag:
        """The nominal tag, in the first private block: ``(gggg,10ee)``."""
        return Tag(self.group, 0x1000 | self.element)


TagLike: TypeAlias = str | int | tuple[int, int] | PrivateTag
"""What names an attribute: ``"PatientID"``, ``0x00100020``, ``(0x0010, 0x0020)`` or a :class:`PrivateTag`."""


def parse_tag(tag: TagLike) -> tuple[BaseTag, str | None]:
    """Turn what a plugin author writes into a tag and, for a private tag, its creator.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        A keyword (``"PatientID"``), an integer, a pair, ``"gggg,eeee"``, or a private tag with its creator.

    Returns
    -------
    tag : BaseTag
        The tag; of a private tag the nominal one, in block 0x10.
    creator : str or None
        The private creator, ``None`` for a standard tag.

    Raises
    ------
    InvalidValueError
        When the keyword is not in the DICOM dictionary (the nearest keywords are named), when a private tag
        comes without its creator, and for groups 0000 and 0002 and group lengths, which no data set holds.
    """
    if isinstance(tag, PrivateTag):
        return tag.tag, tag.creator
    parsed = _from_keyword(tag) if isinstance(tag, str) else _from_number(tag)
    if parsed.group in (0x0000, 0x0002) or parsed.element == 0:
        raise InvalidValueError(
            f"{describe_tag(parsed)} does not belong to a data set: command, file meta and group length"
            " elements are written by whoever writes the file"
        )
    if parsed.is_private:
        raise InvalidValueError(
            f"{parsed} is private: name its creator, PrivateTag({parsed.group:#06x},"
            f" {parsed.element & 0xFF:#04x}, 'CREATOR')"
        )
    return parsed, None


def _from_keyword(text: str) -> BaseTag:
    if pair := _HEX_PAIR.match(text):
        return Tag(int(pair[1], 16), int(pair[2], 16))
    number = tag_for_keyword(text)
    if number is None:
        near = difflib.get_close_matches(text, _keywords(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InvalidValueError(f"{text!r} is not a keyword of the DICOM dictionary (PS3.6){hint}")
    return Tag(number)


@lru_cache(maxsize=1)
def _keywords() -> tuple[str, ...]:
    # keyword_dict is filled on first use, so this may only be read after tag_for_keyword ran.
    return tuple(keyword_dict)


def _from_number(number: int | tuple[int, int]) -> BaseTag:
    try:
        return Tag(number)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidValueError(f"{number!r} is not a DICOM tag: {error}") from error


def describe_tag(tag: BaseTag | int, creator: str | None = None) -> str:
    """Name a tag for a reader: its keyword, or ``(gggg,eeee)``, or ``(gggg,xxee) of 'CREATOR'``."""
    tag = Tag(tag)
    if creator is not None:
        return f"({tag.group:04x},xx{tag.element & 0xFF:02x}) of {creator!r}"
    return keyword_for_tag(tag) or f"({tag.group:04x},{tag.element:04x})"


def dictionary_vr(tag: BaseTag, creator: str | None = None) -> str | None:
    """Return the dictionary's VR (``"US or SS"`` where it offers several), ``None`` if it has none."""
    try:
        return dictionary_VR(tag) if creator is None else private_dictionary_VR(tag, creator)
    except KeyError:
        return None


def find_tag(dataset: Dataset, tag: BaseTag, creator: str | None = None) -> BaseTag | None:
    """Return where ``dataset`` holds an attribute, ``None`` if it does not.

    For a private attribute that depends on the block that the dataset reserved for the creator.
    """
    if creator is not None:
        try:
            tag = dataset.private_block(tag.group, creator).get_tag(tag.element & 0xFF)
        except KeyError:
            return None
    return tag if tag in dataset else None
