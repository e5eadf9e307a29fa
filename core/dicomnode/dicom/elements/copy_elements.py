"""Elements that copy from the source datasets: one value for the series, or one for each instance."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.elements.instance_element import InstanceElement
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.missing_tags import missing_tags_error
from dicomnode.dicom.elements.virtual_element import UNSET, Corporeal, VirtualElement
from dicomnode.dicom.values.tags import TagLike, find_tag
from dicomnode.errors import BlueprintError, MissingTagsError

if TYPE_CHECKING:
    from dicomnode.dicom.values.iod import Attribute

# The attributes in which the slices of a series differ by definition: one value for all would be wrong.
PER_INSTANCE: Final = frozenset(
    Tag(number)
    for number in (
        0x00080018,  # SOPInstanceUID
        0x00200032,  # ImagePositionPatient
        0x00201041,  # SliceLocation
    )
)


class CopyingElement(VirtualElement):
    """What both elements that copy have in common: may the source lack the attribute, and what then.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    optional : bool
        Whether a source may lack it; the tag is then left out of the result.
    default : object, optional
        The value to write where a source lacks it. ``None`` writes an empty element, which is what Type 2
        attributes want.

    Raises
    ------
    InvalidValueError
        When the tag is unknown or the default does not fit its VR.
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

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tag, unless it is optional."""
        return frozenset() if self.optional else frozenset({self.tag})

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:
        """Say whether it may be left out, or its default is empty where Type 1 wants a value."""
        default = self._default
        if self.optional and default is None:
            remedy = "" if attribute.type == "1" else "; default=None writes it empty instead"
            yield f"may be left out, because its copy is optional{remedy}"
        elif default is not None and default.is_empty and attribute.type == "1":
            yield "may be empty, because its default is"

    def _default_copy(self) -> DataElement | None:
        """Return the default for one more dataset, ``None`` where the tag is left out instead."""
        return copy.deepcopy(self._default)

    def _details(self) -> list[str]:
        if self._default is not None:
            return [f"default={self._default.value!r}"]
        return ["optional=True"] if self.optional else []


class CopyElement(CopyingElement):
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
            return self._default_copy()
        raise missing_tags_error([self.keyword], sources)

    def _refuse_varying(self, found: DataElement, sources: Sequence[Dataset]) -> None:
        if self.tag in PER_INSTANCE and any(self.find(source) != found for source in sources[1:]):
            raise BlueprintError(
                f"{self!r}: the {len(sources)} sources differ in it, one value would be wrong for all but"
                f" one; use InstanceCopyElement({self.keyword!r})"
            )


class InstanceCopyElement(CopyingElement, InstanceElement):
    """The value of the source slice at the same place: source slice n to result slice n, by geometry.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    optional : bool
        Whether a slice's source may lack it, or a slice may have no source; the tag is then left out there.
    default : object, optional
        The value to write in that case. ``None`` writes an empty element, which is what Type 2 attributes
        want.

    Raises
    ------
    InvalidValueError
        When the tag is unknown or the default does not fit its VR.
    """

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:
        """Return the element itself, after a look whether every source has the attribute.

        Raises
        ------
        MissingTagsError
            When a source lacks it and it is not optional.
        """
        if not self.optional:
            lacking = sum(find_tag(source, self.tag, self.creator) is None for source in sources)
            if lacking or not sources:
                raise missing_tags_error([self.keyword], sources, lacking)
        return InstanceElement.corporealize(self, factory, sources)

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Return a deep copy of the element of the instance's own source.

        Raises
        ------
        MissingTagsError
            When the instance has no source, or its source lacks the attribute, and it is not optional.
        """
        found = None if environment.source is None else self.find(environment.source)
        if found is not None:
            return found
        if self.optional:
            return self._default_copy()
        why = "no source image lies there" if environment.source is None else "its source image lacks it"
        raise MissingTagsError(
            f"{self.keyword} of instance {environment.instance_number} cannot be copied: {why}; give the"
            " result the geometry of its sources, or make the element optional",
            [self.keyword],
        )
