"""Private blocks of copied datasets (PS3.5 section 7.8.1)."""

from __future__ import annotations

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset


def forget_private_blocks(dataset: Dataset) -> None:
    """Have a copied dataset find its private blocks anew, and the items of its sequences theirs.

    pydicom keeps each block that ``Dataset.private_block`` has found. ``copy.deepcopy`` copies what is kept,
    but not which dataset it belongs to: what is written to a block of the copy would go into the original.

    Parameters
    ----------
    dataset : Dataset
        A copy, which nobody else holds.
    """
    dataset._private_blocks = {}
    for element in dataset.values():
        # A raw element has not been looked at, so nothing is kept of what is in it.
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value or ():
                forget_private_blocks(item)
