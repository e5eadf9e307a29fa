"""Virtual elements: what a blueprint says about one attribute before there is a source to say it of.

::

    VirtualElement              one tag; corporealize() makes it real
    ├── StaticElement           a fixed value
    ├── CopyElement             copied from the source datasets
    ├── AttrElement             an attribute of the factory
    ├── DiscardElement          the tag is left out
    ├── SeriesElement           a function, called once a series
    └── InstanceElement         differs from instance to instance (it is its own InstanceProducer)
        ├── CallElement         a function, called for each instance
        └── InstanceCopyElement copied from the source slice at the same place

``SequenceElement`` (a nested blueprint) lives in :mod:`dicomnode.dicom.sequence_element`.

An element is immutable once made and keeps nothing of a series, so that one patient can never leak into the next.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.tags import PrivateTag, TagLike, describe_tag, dictionary_vr, find_tag, parse_tag
from dicomnode.dicom.values import make_element
from dicomnode.errors import BlueprintError, InvalidValueError, MissingTagsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.dicom.header import SeriesHeader

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


class _Unset:
    """The type of ``UNSET``, told apart from ``None``, which means an empty element."""

    def __repr__(self) -> str:
        return "UNSET"

    def __copy__(self) -> _Unset:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unset:
        return self

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()

# The attributes in which the slices of a series differ by definition: to copy one value to all would be wrong.
PER_INSTANCE: Final = frozenset(
    Tag(number)
    for number in (
        0x00080018,  # SOPInstanceUID
        0x00200032,  # ImagePositionPatient
        0x00201041,  # SliceLocation
    )
)


@dataclass(frozen=True)
class InstanceEnvironment:
    """What is known of one instance while its dataset is built.

    Parameters
    ----------
    index : int
        Zero-based place of the instance in the result series.
    instance_number : int
        One-based place, ``index + 1``.
    source : Dataset or None
        The source instance at the same place in space, ``None`` where there is none.
    image : ndarray or None
        The slice in physical units, shape (rows, columns) or (rows, columns, samples); (frames, rows, columns)
        for a multi-frame instance.
    pixels : ndarray or None
        The same slice as it is stored in Pixel Data.
    header : SeriesHeader or None
        The header that the instance is made from.
    factory : object
        The factory that builds the instance.
    total : int
        How many instances the series has.
    """

    index: int
    instance_number: int
    source: Dataset | None = None
    image: NDArray[Any] | None = None
    pixels: NDArray[Any] | None = None
    header: SeriesHeader | None = None
    factory: Any = None
    total: int = 1


class InstanceProducer(ABC):
    """Makes one element for each instance of a series, when the instance is known."""

    tag: BaseTag
    creator: str | None

    @abstractmethod
    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Make the element of one instance, or ``None`` to leave the tag out of that instance.

        Parameters
        ----------
        environment : InstanceEnvironment
            The instance.

        Returns
        -------
        DataElement or None
            With the nominal tag; :meth:`~dicomnode.dicom.header.SeriesHeader.instance` moves a private one into
            its block.
        """


Corporeal: TypeAlias = DataElement | InstanceProducer | None
"""What a virtual element becomes: an element for the whole series, a producer for each instance, or nothing."""


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
        The value representation. It comes from the DICOM dictionary and need be given only where that leaves a
        choice (``"US or SS"``) or knows nothing (private attributes).

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
        The VR; ``None`` if neither given nor in the dictionary; ``"US or SS"`` where the dictionary has several.
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

    @property
    def key(self) -> tuple[BaseTag, str | None]:
        """What identifies the attribute in a blueprint: tag and private creator."""
        return self.tag, self.creator

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tags that a source must have for this element to become real."""
        return frozenset()

    def element(self, value: Any) -> DataElement:
        """Make a checked data element of this tag; see :func:`~dicomnode.dicom.values.make_element`."""
        if isinstance(value, DataElement):
            value = value.value
        if self.VR is None:
            raise InvalidValueError(f"{self.keyword} is not in the DICOM dictionary: say its VR")
        return make_element(self.tag, self.VR, value, creator=self.creator)

    def find(self, dataset: Dataset) -> DataElement | None:
        """Return a deep copy of this attribute of ``dataset`` under the nominal tag, ``None`` if absent."""
        tag = find_tag(dataset, self.tag, self.creator)
        if tag is None:
            return None
        found = copy.deepcopy(dataset[tag])
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
        The value to write when the sources lack the attribute. ``None`` writes an empty element, which is what
        Type 2 attributes want.

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

    @property
    def has_default(self) -> bool:
        """Whether a missing attribute is replaced by a default value."""
        return self._default is not None

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
                f"{self!r}: the {len(sources)} sources differ in it, so that one value would be wrong for all but one;"
                f" use InstanceCopyElement({self.keyword!r})"
            )

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tag, unless it is optional."""
        return frozenset() if self.optional else frozenset({self.tag})

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
        value = self.read(factory)
        if value is not UNSET:
            return self.element(value)
        if self.optional:
            return None
        raise MissingTagsError(
            f"{self.keyword}: {type(factory).__name__} has no attribute {self.attribute!r}", [self.keyword]
        )

    def read(self, factory: Any) -> Any:
        """Return the factory's value, ``UNSET`` if it has none. Known at start-up, before any source."""
        value = factory
        for part in self.attribute.split("."):
            value = getattr(value, part, UNSET)
            if value is UNSET:
                return UNSET
        return value

    def _details(self) -> list[str]:
        return [repr(self.attribute), *(["optional=True"] if self.optional else [])]


class DiscardElement(VirtualElement):
    """The tag is left out, also when the filling strategy copies everything else."""

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> None:
        """Return nothing."""


class SeriesElement(VirtualElement):
    """A value that is worked out once a series and shared by its instances.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Any callable: function, bound method, ``functools.partial``, callable object. If it needs an argument it
        is given the source datasets (a tuple, in the header's order), otherwise nothing. It returns the value;
        ``None`` leaves the tag out.

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
        self.takes_sources = _required_arguments(self, function) == 1

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement | None:  # noqa: ARG002 - not needed
        """Call the function and return its value as an element."""
        value = self.function(tuple(sources)) if self.takes_sources else self.function()
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [_name_of(self.function)]


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
        ``source`` dataset of that slice when there is one, the ``image``. It returns the value; ``None`` leaves
        the tag out of that instance.

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
        _required_arguments(self, function)
        self.function = function

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Call the function for one instance."""
        value = self.function(environment)
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [_name_of(self.function)]


class InstanceCopyElement(InstanceElement):
    """The value of the source slice at the same place: source slice n to result slice n, by geometry.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    optional : bool
        Whether a slice's source may lack it, or a slice may have no source; the tag is then left out there.
    """

    def __init__(
        self,
        tag: TagLike,
        *,
        optional: bool = False,
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        self.optional = optional

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
        if found is None and not self.optional:
            why = "no source image lies there" if environment.source is None else "its source image lacks it"
            raise MissingTagsError(
                f"{self.keyword} of instance {environment.instance_number} cannot be copied: {why}; give the result the"
                f" geometry of its sources, or write InstanceCopyElement({self.keyword!r}, optional=True)",
                [self.keyword],
            )
        return found

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tag, unless it is optional."""
        return frozenset() if self.optional else frozenset({self.tag})

    def _details(self) -> list[str]:
        return ["optional=True"] if self.optional else []


def missing(
    keywords: Sequence[str], sources: Sequence[Dataset], lacking: int | None = None
) -> MissingTagsError:
    """Make the error for attributes that the sources lack.

    Parameters
    ----------
    keywords : sequence of str
        What is lacking.
    sources : sequence of Dataset
        Where it was looked for.
    lacking : int, optional
        How many of the sources lack it; all of them if not given.
    """
    total = len(sources)
    where = (
        "there are no source datasets"
        if not total
        else f"{lacking or total} of {total} source datasets lack it"
    )
    return MissingTagsError(f"{', '.join(keywords)}: {where}", keywords)


def _required_arguments(element: VirtualElement, function: Any) -> int:
    """Count the arguments a callable cannot do without; bound methods, partials and objects count right."""
    if not callable(function):
        raise BlueprintError(f"{element.keyword}: {function!r} is not callable")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return 0 if isinstance(element, SeriesElement) else 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind in positional]
    keyword_only = [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if len(required) > 1 or keyword_only:
        names = ", ".join([*(p.name for p in required), *keyword_only])
        raise BlueprintError(
            f"{element.keyword}: {_name_of(function)} needs {names}; it is called with one argument"
        )
    return len(required)


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
