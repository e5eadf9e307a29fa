"""Copying data elements, and inserting them into a dataset."""

from __future__ import annotations

import copy

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import PersonName

from dicomnode.dicom.values.private_blocks import forget_private_blocks

_IMMUTABLE = (str, int, float, bytes, PersonName, type(None))


def copy_element(element: DataElement) -> DataElement:
    """Return an element of its own, ten times as fast as ``deepcopy`` where no sequence is to be copied.

    Parameters
    ----------
    element : DataElement
        Is not changed, and shares nothing that can be changed with the copy.
    """
    value = element.value
    if type(element) is not DataElement or isinstance(value, DicomSequence):
        copied = copy.deepcopy(element)
        for item in copied.value if isinstance(value, DicomSequence) else ():
            forget_private_blocks(item)
        return copied
    several = type(value) is MultiValue
    if not all(isinstance(part, _IMMUTABLE) for part in (value if several else (value,))):
        return copy.deepcopy(element)
    # The constructor would convert and validate a value that was accepted before.
    copied = DataElement.__new__(DataElement)
    copied.__dict__.update(element.__dict__)
    if several:
        fresh = copy.copy(value)
        fresh._list = list(value)  # values that were accepted are not validated again
        copied._value = fresh
    return copied


def insert_element(dataset: Dataset, element: DataElement, creator: str | None = None) -> None:
    """Insert an element into a dataset; a private one into the block of its creator, made when needed.

    Parameters
    ----------
    dataset : Dataset
        Is changed.
    element : DataElement
        With the nominal tag, if private.
    creator : str, optional
        The private creator.
    """
    if creator is not None:
        block = dataset.private_block(element.tag.group, creator, create=True)
        element.tag = block.get_tag(element.tag.element & 0xFF)
        dataset._private_blocks = {}  # see forget_private_blocks: this dataset will be copied
    dataset[element.tag] = element
