"""Virtual elements that differ from instance to instance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode.dicom.elements.virtual_element import (
    UNSET,
    Corporeal,
    InstanceEnvironment,
    InstanceProducer,
    VirtualElement,
    missing,
    name_of,
    required_arguments,
)
from dicomnode.dicom.values.tags import TagLike, find_tag
from dicomnode.errors import MissingTagsError

if TYPE_CHECKING:
    from dicomnode.dicom.values.modules import Attribute


class InstanceElement(VirtualElement, InstanceProducer):
    """An element that differs from instance to instance; subclass it and write :meth:`produce`."""

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:  # noqa: ARG002 - asked per instance
        """Return the element itself: it is asked again for each instance."""
        return self


class CallElement(InstanceElement):
    """A value that is worked out for each instance.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Called with the :class:`InstanceEnvironment`: zero-based ``index``, one-based ``instance_number``, the
        ``source`` dataset of that slice when there is one, the ``image``. It returns the value; ``None``
        leaves the tag out of that instance.

    Raises
    ------
    BlueprintError
        When ``function`` is not callable or needs more than one argument.

    Examples
    --------
    >>> CallElement("InstanceNumber", lambda instance: instance.instance_number).keyword
    'InstanceNumber'
    """

    def __init__(
        self,
        tag: TagLike,
        function: Callable[[InstanceEnvironment], Any],
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        required_arguments(self, function, unknown=1)
        self.function = function

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Call the function for one instance."""
        value = self.function(environment)
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [name_of(self.function)]


class InstanceCopyElement(InstanceElement):
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

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:  # noqa: ARG002 - the sources'
        """Return the element itself, after a look whether every source has the attribute.

        Raises
        ------
        MissingTagsError
            When a source lacks it and it is not optional.
        """
        if not self.optional:
            lacking = sum(find_tag(source, self.tag, self.creator) is None for source in sources)
            if lacking or not sources:
                raise missing([self.keyword], sources, lacking)
        return self

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Return a deep copy of the element of the instance's own source.

        Raises
        ------
        MissingTagsError
            When the instance has no source, or its source lacks the attribute, and it is not optional.
        """
        found = None if environment.source is None else self.find(environment.source)
        if found is None and self.optional:
            return copy.deepcopy(self._default)
        if found is None:
            why = "no source image lies there" if environment.source is None else "its source image lacks it"
            raise MissingTagsError(
                f"{self.keyword} of instance {environment.instance_number} cannot be copied: {why}; give the"
                " result the geometry of its sources, or make the element optional",
                [self.keyword],
            )
        return found

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


def copy_shortfalls(attribute: Attribute, *, optional: bool, default: DataElement | None) -> Iterator[str]:
    """Say how a copied attribute may fail the standard: left out, or empty where Type 1 wants a value."""
    if optional and default is None:
        remedy = "" if attribute.type == "1" else "; default=None writes it empty instead"
        yield f"may be left out, because its copy is optional{remedy}"
    elif default is not None and default.is_empty and attribute.type == "1":
        yield "may be empty, because its default is"
