"""Copying elements, putting them into a dataset, and gathering what is missing to report it at once."""

from __future__ import annotations

import copy

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import PersonName

from dicomnode.errors import MissingTagsError

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
        return copy.deepcopy(element)
    several = type(value) is MultiValue
    if not all(isinstance(part, _IMMUTABLE) for part in (value if several else (value,))):
        return copy.deepcopy(element)
    copied = DataElement.__new__(DataElement)
    copied.__dict__.update(element.__dict__)
    if several:
        fresh = copy.copy(value)
        fresh._list = list(value)  # values that were accepted are not validated again
        copied._value = fresh
    return copied


def place(dataset: Dataset, element: DataElement, creator: str | None = None) -> None:
    """Put an element into a dataset; a private one into the block of its creator, made when needed.

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
    dataset[element.tag] = element


class MissingTags:
    """Gathers what is missing, so that all of it is reported at once. Entered as a context, repeatedly."""

    def __init__(self) -> None:
        self.errors: list[MissingTagsError] = []

    def __enter__(self) -> MissingTags:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, MissingTagsError):
            self.errors.append(error)
            return True
        return False

    def report(self, what: str) -> None:
        """Raise one error for all, if there were any.

        Raises
        ------
        MissingTagsError
            With every keyword.
        """
        if not self.errors:
            return
        keywords = [keyword for error in self.errors for keyword in error.keywords]
        if len(self.errors) == 1:
            raise MissingTagsError(f"{what}: {self.errors[0]}", keywords)
        lines = "".join(f"\n  {error}" for error in self.errors)
        raise MissingTagsError(
            f"{what}: {len(keywords)} attributes are missing: {', '.join(keywords)}{lines}", keywords
        )

    def report_within(self, keyword: str) -> None:
        """Raise one error for all that is missing in a sequence, its keyword in front of each.

        Parameters
        ----------
        keyword : str
            The sequence.

        Raises
        ------
        MissingTagsError
            With every keyword as ``Sequence.Attribute``.
        """
        if self.errors:
            keywords = [f"{keyword}.{nested}" for error in self.errors for nested in error.keywords]
            raise MissingTagsError("; ".join(f"{keyword}.{error}" for error in self.errors), keywords)
