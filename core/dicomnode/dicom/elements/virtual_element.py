"""The base of all virtual elements."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode.dicom.elements.data_elements import copy_element
from dicomnode.dicom.elements.instance_environment import InstanceProducer
from dicomnode.dicom.values.tags import TagLike, describe_tag, dictionary_vr, find_tag, parse_tag
from dicomnode.dicom.values.value_checks import make_element
from dicomnode.errors import InvalidValueError

if TYPE_CHECKING:
    from dicomnode.dicom.values.iod import Attribute


class Unset:
    """The type of ``UNSET``, distinct from ``None``, which means an empty element."""

    def __repr__(self) -> str:
        return "UNSET"

    def __copy__(self) -> Unset:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Unset:
        return self

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


Corporeal: TypeAlias = DataElement | InstanceProducer | None
"""What a virtual element becomes: one element for the series, a producer for each instance, or nothing."""


AttributeKey: TypeAlias = tuple[BaseTag, str | None]
"""What identifies an attribute in a blueprint: its tag, nominal if private, and its private creator."""


class _FrozenAfterInit(ABCMeta):
    """Lets ``__init__`` set attributes as usual and seals the object when it returns.

    So a plugin's own element is written like any class, and is immutable all the same.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__call__(*args, **kwargs)
        instance.__dict__["_sealed"] = True
        return instance


class VirtualElement(metaclass=_FrozenAfterInit):
    """One tag of a blueprint.

    Subclass it and write :meth:`corporealize` for a kind of element of your own. Attributes may be set in
    ``__init__`` only: afterwards the element is immutable, hashable and compares by its attributes.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        A keyword, an integer, a pair, or a private tag with its creator.
    VR : str, optional
        The value representation. It comes from the DICOM dictionary and need be given only where that leaves
        a choice (``"US or SS"``) or knows nothing (private attributes).

    Raises
    ------
    InvalidValueError
        When the tag is unknown or the VR contradicts the dictionary.

    Attributes
    ----------
    tag : BaseTag
        The tag; of a private attribute the nominal one, ``(gggg,10ee)``.
    creator : str or None
        The private creator.
    keyword : str
        The keyword, or ``(gggg,eeee)`` where there is none.
    VR : str or None
        The VR; ``None`` if neither given nor in the dictionary, ``"US or SS"`` where that has several.
    """

    def __init__(self, tag: TagLike, VR: str | None = None) -> None:  # noqa: N803 - DICOM's own spelling
        self.tag, self.creator = parse_tag(tag)
        self.keyword = describe_tag(self.tag, self.creator)
        known = dictionary_vr(self.tag, self.creator)
        if VR is not None and known is not None and self.creator is None and VR not in known.split(" or "):
            raise InvalidValueError(
                f"{self.keyword}: VR {VR} given, but the DICOM dictionary (PS3.6) says {known}"
            )
        self.VR = VR or known

    @abstractmethod
    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:
        """Make the element real for one series.

        Parameters
        ----------
        factory : DicomFactory
            The factory that makes the header; :class:`AttrElement` reads from it.
        sources : sequence of Dataset
            The source datasets of the series, in the header's order. They are not changed.

        Returns
        -------
        DataElement, InstanceProducer or None
            An element that all instances share, or a producer asked for each instance, or nothing.

        Raises
        ------
        MissingTagsError
            When the sources lack what is needed. The header collects these and reports them together.
        """

    @classmethod
    def declared(
        cls,
        tag: TagLike,
        arguments: Mapping[str, Any],
        nested: Callable[[Mapping[str, Any]], Iterable[VirtualElement]],
    ) -> Self:
        """Make the element as a declarative blueprint says it, in a file without Python.

        Parameters
        ----------
        tag : str, int, (int, int) or PrivateTag
            The attribute.
        arguments : mapping of str to Any
            The table's other keys. The default passes them on as keyword arguments.
        nested : callable
            Returns the elements that a table declares, for an element that holds elements.

        Raises
        ------
        TypeError
            When the arguments are not what the element takes.
        """
        del nested
        return cls(tag, **arguments)

    @property
    def key(self) -> AttributeKey:
        """What identifies the attribute in a blueprint."""
        return self.tag, self.creator

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tags that a source must have for this element to become real."""
        return frozenset()

    def check_factory(self, factory: object) -> None:
        """Raise ``MissingTagsError`` for what a factory lacks, as far as that is known without sources."""

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:  # noqa: ARG002 - for subclasses
        """Say how the element may fail what the standard asks of its attribute.

        Parameters
        ----------
        attribute : Attribute
            The row of the module table: Type 1 or Type 2, and what a sequence's items must hold.

        Yields
        ------
        str
            Each shortfall in a few words that follow the keyword, such as ``"is empty"``. An element whose
            value is only known later has none.
        """
        yield from ()

    def element(self, value: Any) -> DataElement:
        """Make a checked data element of this tag; see :func:`.make_element`."""
        if isinstance(value, DataElement):
            value = value.value
        if self.VR is None:
            raise InvalidValueError(f"{self.keyword} is not in the DICOM dictionary: say its VR")
        return make_element(self.tag, self.VR, value, creator=self.creator)

    def find(self, dataset: Dataset) -> DataElement | None:
        """Return a deep copy of this attribute of ``dataset`` under the nominal tag, ``None`` if absent."""
        if self.creator is None:
            return copy_element(dataset[self.tag]) if self.tag in dataset else None
        tag = find_tag(dataset, self.tag, self.creator)
        if tag is None:
            return None
        found = copy_element(dataset[tag])
        found.tag = self.tag
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get("_sealed"):
            raise AttributeError(
                f"{type(self).__name__} is immutable; make a new one instead of setting {name!r}"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.tag, self.creator, self.VR))

    def __repr__(self) -> str:
        details = "".join(f", {text}" for text in self._details())
        return f"{type(self).__name__}({self.keyword!r}{details})"

    def _details(self) -> list[str]:
        """Return what ``repr`` shows after the tag."""
        return []
