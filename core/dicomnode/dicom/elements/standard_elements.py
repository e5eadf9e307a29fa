"""Virtual elements: what a blueprint says about one attribute before there is a source to say it of.

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

``SequenceElement`` lives in :mod:`dicomnode.dicom.blueprint.sequence_element`, since it needs blueprints.

An element is immutable once made and keeps nothing of a series, so that one patient can never leak into the
next.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.elements.instance_elements import (
    CallElement,
    InstanceCopyElement,
    InstanceElement,
    copy_shortfalls,
)
from dicomnode.dicom.elements.virtual_element import (
    UNSET,
    InstanceEnvironment,
    InstanceProducer,
    VirtualElement,
    missing,
    name_of,
    required_arguments,
)
from dicomnode.dicom.values.tags import PrivateTag, TagLike
from dicomnode.errors import BlueprintError, MissingTagsError

if TYPE_CHECKING:
    from dicomnode.dicom.values.modules import Attribute

__all__ = [
    "AttrElement",
    "CallElement",
    "CopyElement",
    "DiscardElement",
    "InstanceCopyElement",
    "InstanceElement",
    "InstanceEnvironment",
    "InstanceProducer",
    "PrivateTag",
    "SeriesElement",
    "StaticElement",
    "TagLike",
    "VirtualElement",
]


# The attributes in which the slices of a series differ by definition: one value for all would be wrong.
PER_INSTANCE: Final = frozenset(
    Tag(number)
    for number in (
        0x00080018,  # SOPInstanceUID
        0x00200032,  # ImagePositionPatient
        0x00201041,  # SliceLocation
    )
)


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
            from dicomnode.dicom.values.modules import missing_in

            for number, item in enumerate(self._element.value):
                yield from (f"[{number}].{fault}" for fault in missing_in(item, attribute.items))

    def _details(self) -> list[str]:
        if self._element.VR == "SQ":
            return [f"<{len(self._element.value)} items>"]
        return [repr(self._element.value)]


class CopyElement(VirtualElement):
    """The value of the source: the first source dataset that has the attribute.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    optional : bool
        Whether it may be missing from the sources; it is then left out of the result.
    default : object, optional
        The value to write when the sources lack the attribute. ``None`` writes an empty element, which is
        what Type 2 attributes want.

    Raises
    ------
    InvalidValueError
        When the tag is unknown or the default does not fit its VR.

    See Also
    --------
    InstanceCopyElement : for what differs between the slices.
    """

    def __init__(
        self,
        tag: TagLike,
        *,
        optional: bool = False,
        default: Any = UNSET,
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        self.optional = optional or default is not UNSET
        self._default = None if default is UNSET else self.element(default)

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement | None:  # noqa: ARG002 - not needed
        """Return a deep copy of the source's element, the default, or nothing if optional.

        Raises
        ------
        MissingTagsError
            When no source has the attribute.
        BlueprintError
            When the attribute is the slice's own (``ImagePositionPatient``) and the sources differ in it.
        """
        for source in sources:
            if (found := self.find(source)) is not None:
                self._refuse_varying(found, sources)
                return found
        if self.optional:
            return copy.deepcopy(self._default)
        raise missing([self.keyword], sources)

    def _refuse_varying(self, found: DataElement, sources: Sequence[Dataset]) -> None:
        if self.tag in PER_INSTANCE and any(self.find(source) != found for source in sources[1:]):
            raise BlueprintError(
                f"{self!r}: the {len(sources)} sources differ in it, one value would be wrong for all but"
                f" one; use InstanceCopyElement({self.keyword!r})"
            )

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tag, unless it is optional."""
        return frozenset() if self.optional else frozenset({self.tag})

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:
        """Say whether it may be left out, or its default is empty."""
        return copy_shortfalls(attribute, optional=self.optional, default=self._default)

    def _details(self) -> list[str]:
        if self._default is not None:
            return [f"default={self._default.value!r}"]
        return ["optional=True"] if self.optional else []


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


class SeriesElement(VirtualElement):
    """A value that is worked out once a series and shared by its instances.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Any callable: function, bound method, ``functools.partial``, callable object. If it needs an argument
        it is given the source datasets (a tuple, in the header's order), otherwise nothing. It returns the
        value; ``None`` leaves the tag out.

    Raises
    ------
    BlueprintError
        When ``function`` is not callable or needs more than one argument.
    """

    def __init__(
        self,
        tag: TagLike,
        function: Callable[..., Any],
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        self.function = function
        self.takes_sources = required_arguments(self, function, unknown=0) == 1

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement | None:  # noqa: ARG002 - not needed
        """Call the function and return its value as an element."""
        value = self.function(tuple(sources)) if self.takes_sources else self.function()
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [name_of(self.function)]
