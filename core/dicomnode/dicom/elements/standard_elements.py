"""The elements of the library: what a blueprint says about one attribute before there is a source.

::

    VirtualElement              one tag; corporealize() makes it real
    ├── StaticElement           a fixed value
    ├── CopyElement             copied from the source datasets
    ├── AttrElement             an attribute of the factory
    ├── DiscardElement          the tag is left out
    ├── SeriesElement           a function, called once a series
    ├── SequenceElement         a sequence; its items are blueprints
    └── InstanceElement         differs from instance to instance (it is its own InstanceProducer)
        ├── CallElement         a function, called for each instance
        └── InstanceCopyElement copied from the source slice at the same place

Import them from here, wherever in this folder they are written. ``SequenceElement`` alone is in
:mod:`dicomnode.dicom.blueprint.sequence_element`, since it needs blueprints.

An element is immutable once made and keeps nothing of a series, so that one patient can never leak into the
next.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.copy_elements import CopyElement, InstanceCopyElement
from dicomnode.dicom.elements.function_elements import CallElement, SeriesElement
from dicomnode.dicom.elements.instance_element import InstanceElement
from dicomnode.dicom.elements.virtual_element import UNSET, VirtualElement
from dicomnode.dicom.values.tags import TagLike
from dicomnode.errors import BlueprintError, MissingTagsError

if TYPE_CHECKING:
    from dicomnode.dicom.values.iod import Attribute

__all__ = [
    "AttrElement",
    "CallElement",
    "CopyElement",
    "DiscardElement",
    "InstanceCopyElement",
    "InstanceElement",
    "SeriesElement",
    "StaticElement",
]


class StaticElement(VirtualElement):
    """A fixed value, the same in every series.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    value : object
        Its value, checked here and now: type, length, characters, range and multiplicity of the VR. ``None``
        and ``""`` make an empty element. A list makes several values.
    VR : str, optional
        Where the dictionary does not decide.

    Raises
    ------
    InvalidValueError
        When the value does not fit the VR (PS3.5 section 6.2).

    Examples
    --------
    >>> StaticElement("SeriesDescription", "Smoothed, sigma 1.5 mm")
    StaticElement('SeriesDescription', 'Smoothed, sigma 1.5 mm')
    """

    def __init__(self, tag: TagLike, value: Any, VR: str | None = None) -> None:  # noqa: N803 - DICOM's own spelling
        super().__init__(tag, VR)
        self._element = self.element(value)
        self.VR = self._element.VR

    @property
    def value(self) -> Any:
        """The value, a copy of its own for every reader."""
        return copy.deepcopy(self._element.value)

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement:  # noqa: ARG002 - the same for all
        """Return a new element with the value."""
        return copy.deepcopy(self._element)

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:
        """Say whether the value is empty, or an item lacks something."""
        if self._element.is_empty:
            if attribute.type == "1":
                yield "is empty"
        elif self._element.VR == "SQ" and attribute.items:
            from dicomnode.dicom.values.iod import missing_attributes_in

            for number, item in enumerate(self._element.value):
                yield from (f"[{number}].{fault}" for fault in missing_attributes_in(item, attribute.items))

    def _details(self) -> list[str]:
        if self._element.VR == "SQ":
            return [f"<{len(self._element.value)} items>"]
        return [repr(self._element.value)]


class AttrElement(VirtualElement):
    """The value of an attribute of the factory.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute of the dataset.
    attribute : str
        The name of the factory's attribute; ``"equipment.name"`` follows dots.
    optional : bool
        Whether a factory without it leaves the tag out.
    """

    def __init__(
        self,
        tag: TagLike,
        attribute: str,
        *,
        optional: bool = False,
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        if not all(part.isidentifier() for part in attribute.split(".")):
            raise BlueprintError(
                f"AttrElement({self.keyword!r}): {attribute!r} is not the name of an attribute"
            )
        self.attribute = attribute
        self.optional = optional

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement | None:  # noqa: ARG002 - the factory's
        """Return an element with the factory's value.

        Raises
        ------
        MissingTagsError
            When the factory has no such attribute; reported together with the tags that the sources lack.
        """
        value = self._read(factory)
        return None if value is UNSET else self.element(value)

    def check_factory(self, factory: object) -> None:
        """Raise ``MissingTagsError`` if the factory has no such attribute and the element is not optional."""
        self._read(factory)

    def _read(self, factory: Any) -> Any:
        value = factory
        for part in self.attribute.split("."):
            value = getattr(value, part, UNSET)
            if value is UNSET and not self.optional:
                raise MissingTagsError(
                    f"{self.keyword}: {type(factory).__name__} has no attribute {self.attribute!r}",
                    [self.keyword],
                )
        return value

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:  # noqa: ARG002 - whatever its type
        """Say whether it may be left out."""
        if self.optional:
            yield "may be left out, because it is optional"

    def _details(self) -> list[str]:
        return [repr(self.attribute), *(["optional=True"] if self.optional else [])]


class DiscardElement(VirtualElement):
    """The tag is left out, also when the filling strategy copies everything else."""

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> None:
        """Return nothing."""

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:  # noqa: ARG002 - whatever its type
        """Say that it is left out."""
        yield "is discarded"
