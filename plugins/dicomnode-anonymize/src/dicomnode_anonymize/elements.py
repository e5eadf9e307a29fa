"""Looking at a data set without decoding what need not be decoded."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

UNKNOWN = ""
"""The VR of a tag that neither the data dictionary (PS3.6) nor, being private, anybody defines."""

TEXT_VRS = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})


@lru_cache(maxsize=65536)
def standard_vr(tag: int) -> str:
    """Return the VR of a standard tag by the data dictionary, :data:`UNKNOWN` if it is not in there."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return UNKNOWN


@lru_cache(maxsize=65536)
def keyword_of(tag: int) -> str:
    """Return the keyword of a tag, empty if it has none."""
    return keyword_for_tag(tag)


def vr_of(dataset: Dataset, tag: BaseTag) -> str:
    """Return the VR of an element: by the dictionary for a standard tag, as encoded for a private one.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    tag : BaseTag
        A tag that it has.
    """
    if not tag.is_private:
        return standard_vr(int(tag))
    element = dataset.get_item(tag)
    return UNKNOWN if element is None or element.VR is None else str(element.VR)


def holds_items(dataset: Dataset, tag: BaseTag) -> bool:
    """Say whether an element is a sequence, decoding it where only its value tells."""
    element = dataset.get_item(tag)
    encoded = None if element is None else element.VR
    if encoded == "SQ" or standard_vr(int(tag)) == "SQ":
        return True
    return encoded in (None, "UN") and tag.is_private and dataset[tag].VR == "SQ"
