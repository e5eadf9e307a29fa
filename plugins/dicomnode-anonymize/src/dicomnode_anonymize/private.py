"""Private attributes that may stay (PS3.15 section E.3.10, Retain Safe Private)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode_anonymize.errors import AnonymizeError
from dicomnode_anonymize.profile import tables

_WRITTEN = re.compile(
    r"\(?\s*([0-9a-fA-F]{4})\s*,\s*\"?([^\",]{1,64}?)\"?\s*,\s*(?:xx)?([0-9a-fA-F]{2})\s*\)?"
)
_FIRST_BLOCK = 0x10

SafeTag = tuple[int, str, int]
"""Group, private creator, and the tag's last eight bits (PS3.5 section 7.8)."""


@cache
def known_safe() -> frozenset[SafeTag]:
    """Return the private attributes that are known to identify nobody."""
    made: set[SafeTag] = set()
    for block, elements in tables()["safe_private"].items():
        group, _, creator = block.partition(",")
        made.update((int(group, 16), creator, int(element, 16)) for element in elements)
    return frozenset(made)


def parsed_tags(texts: Iterable[str]) -> frozenset[SafeTag]:
    """Return private tags that are written as in ``(0019,"SIEMENS MR HEADER",0c)``.

    Raises
    ------
    AnonymizeError
        When a text is not of that form, or its group is no private one.
    """
    made = set()
    for text in texts:
        match = _WRITTEN.fullmatch(text.strip())
        if match is None or int(match[1], 16) % 2 == 0:
            msg = f'{text!r} is no private attribute; write it as (0019,"SIEMENS MR HEADER",0c)'
            raise AnonymizeError(msg)
        made.add((int(match[1], 16), match[2].strip(), int(match[3], 16)))
    return frozenset(made)


def safe_tags(dataset: Dataset, safe: frozenset[SafeTag]) -> set[BaseTag]:
    """Return the private tags of a data set that may stay, those of their creators included.

    Parameters
    ----------
    dataset : Dataset
        A data set or an item.
    safe : frozenset of SafeTag
        The attributes that may stay. Those that the data set's own PrivateDataElementCharacteristicsSequence
        (PS3.3 section C.12.1.1.7) declares as safe are added.
    """
    private = [tag for tag in dataset.keys() if tag.is_private]  # noqa: SIM118 - its iterator decodes
    creators = {
        (tag.group, tag.element): str(dataset[tag].value).strip(" \0")
        for tag in private
        if _FIRST_BLOCK <= tag.element <= 0xFF  # noqa: PLR2004 - PS3.5 section 7.8.1
    }
    whole, declared = _declared(dataset)
    kept: set[BaseTag] = set()
    for tag in private:
        block = tag.element >> 8
        creator = creators.get((tag.group, block))
        if creator is None:
            continue
        name = (tag.group, creator, tag.element & 0xFF)
        if name in safe or name in declared or name[:2] in whole:
            kept |= {tag, BaseTag(tag.group << 16 | block)}
    return kept


def _declared(dataset: Dataset) -> tuple[set[tuple[int, str]], set[SafeTag]]:
    """Return the blocks and the attributes that the data set says identify nobody."""
    whole: set[tuple[int, str]] = set()
    declared: set[SafeTag] = set()
    for item in dataset.get("PrivateDataElementCharacteristicsSequence") or ():
        group, creator = item.get("PrivateGroupReference"), item.get("PrivateCreatorReference")
        if group is None or not creator:
            continue
        if item.get("BlockIdentifyingInformationStatus") == "SAFE":
            whole.add((int(group), str(creator)))
        elements = item.get("NonidentifyingPrivateElements")
        if elements is not None:
            listed = elements if isinstance(elements, Iterable) else (elements,)
            declared.update((int(group), str(creator), int(element) & 0xFF) for element in listed)
    return whole, declared
