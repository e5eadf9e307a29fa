"""Blueprints: what the header of a result looks like, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

import pydicom.uid
from pydicom.config import IGNORE
from pydicom.tag import BaseTag
from pydicom.uid import UID

from dicomnode.dicom.blueprint.blueprint_check import check, refuse_borrowed_uids
from dicomnode.dicom.elements.missing_tags import MissingTags
from dicomnode.dicom.elements.virtual_element import AttributeKey, VirtualElement
from dicomnode.dicom.values.tags import TagLike, parse_tag
from dicomnode.errors import BlueprintError


class FillingStrategy(Enum):
    """What happens to the attributes of the source that a blueprint does not mention."""

    DISCARD = "discard"
    """They are left out: the result holds what the blueprint says."""
    COPY = "copy"
    """They are copied, save those that describe the pixels or the instance itself."""


class Blueprint:
    """An immutable set of virtual elements, one for each attribute.

    Parameters
    ----------
    elements : iterable of VirtualElement
        The elements. Two for one attribute are a conflict; use ``+`` to override.
    SOPClassUID : str, optional
        The SOP class that the results belong to. When it is given the blueprint is checked against
        it at once. Also by the name that pydicom has for it, ``"CTImageStorage"``.
    name : str, optional
        What messages call the blueprint.

    Raises
    ------
    BlueprintError
        When two elements contradict each other, or the blueprint contradicts its SOP class. All faults are in
        one message.

    Examples
    --------
    >>> from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement
    >>> patient = Blueprint([CopyElement("PatientID"), CopyElement("PatientName")])
    >>> named = patient + StaticElement("PatientName", "Anonymous")
    >>> named["PatientName"]
    StaticElement('PatientName', 'Anonymous')
    >>> "PatientID" in named - "PatientID"
    False
    """

    __slots__ = ("_elements", "_name", "_sop_class")

    def __init__(
        self,
        elements: Iterable[VirtualElement] = (),
        *,
        SOPClassUID: str | None = None,  # noqa: N803 - DICOM's own spelling
        name: str | None = None,
    ) -> None:
        held: dict[AttributeKey, VirtualElement] = {}
        for element in elements:
            if not isinstance(element, VirtualElement):
                raise BlueprintError(f"{name or 'Blueprint'}: {element!r} is not a VirtualElement")
            if element.key in held and held[element.key] != element:
                raise BlueprintError(
                    f"{name or 'Blueprint'}: {held[element.key]!r} and {element!r} contradict each other;"
                    " to override, add them: Blueprint(...) + element"
                )
            held[element.key] = element
        # By tag, so that blueprints of the same elements make and show the same, however they were joined.
        self._elements = dict(sorted(held.items(), key=lambda item: (item[0][0], item[0][1] or "")))
        self._sop_class = None if SOPClassUID is None else _sop_class(SOPClassUID)
        self._name = name
        self._check()

    @property
    def SOPClassUID(self) -> UID | None:  # noqa: N802 - DICOM's own spelling
        """The SOP class of the results, ``None`` where the blueprint does not say."""
        return self._sop_class

    @property
    def name(self) -> str | None:
        """What messages call the blueprint."""
        return self._name

    @property
    def tags(self) -> frozenset[BaseTag]:
        """The standard (not private) tags that the blueprint mentions."""
        return frozenset(tag for tag, creator in self._elements if creator is None)

    def required_tags(self) -> frozenset[BaseTag]:
        """Return the tags that the source datasets must have."""
        return frozenset().union(*(element.required_tags() for element in self))

    def with_sop_class(self, SOPClassUID: str, *, name: str | None = None) -> Blueprint:  # noqa: N803 - DICOM's own spelling
        """Return the same elements as the blueprint of a SOP class, checked against it.

        Parameters
        ----------
        SOPClassUID : str
            The SOP class.
        name : str, optional
            What messages call it; the name stays if not given.

        Raises
        ------
        BlueprintError
            When the blueprint contradicts the SOP class.
        """
        return Blueprint(self, SOPClassUID=SOPClassUID, name=name or self._name)

    def check_factory(self, factory: object) -> None:
        """Say at start-up, before there is a source, which attributes a factory lacks.

        Parameters
        ----------
        factory : object
            What the blueprint's ``AttrElement`` read.

        Raises
        ------
        MissingTagsError
            When the factory lacks attributes: all of them in one message, nested ones too.
        """
        gathered = MissingTags()
        for element in self:
            with gathered:
                element.check_factory(factory)
        gathered.report(self._name or "blueprint")

    def get(self, tag: TagLike) -> VirtualElement | None:
        """Return the element of an attribute, ``None`` if the blueprint does not mention it."""
        return self._elements.get(parse_tag(tag))

    def _check(self) -> None:
        """Raise for everything in which the blueprint contradicts itself or its SOP class."""
        title = self._name or "Blueprint"
        refuse_borrowed_uids(self, title)
        if self._sop_class is not None:
            check(self._elements, self._sop_class, title)

    def __add__(self, other: Blueprint | VirtualElement) -> Blueprint:
        """Join two blueprints; where both mention an attribute the right side wins."""
        if isinstance(other, VirtualElement):
            other = Blueprint([other])
        if not isinstance(other, Blueprint):
            return NotImplemented
        return Blueprint(
            {**self._elements, **other._elements}.values(),
            SOPClassUID=self._sop_class if other._sop_class is None else other._sop_class,
            name=other._name or self._name,
        )

    def __sub__(self, tag: TagLike) -> Blueprint:
        """Leave an attribute out of the blueprint.

        Raises
        ------
        BlueprintError
            When the SOP class needs it.
        """
        key = parse_tag(tag)
        rest = [element for element in self if element.key != key]
        return Blueprint(rest, SOPClassUID=self._sop_class, name=self._name)

    def __iter__(self) -> Iterator[VirtualElement]:
        return iter(self._elements.values())

    def __len__(self) -> int:
        return len(self._elements)

    def __contains__(self, tag: object) -> bool:
        if isinstance(tag, VirtualElement):
            return self._elements.get(tag.key) == tag
        return parse_tag(tag) in self._elements  # type: ignore[arg-type]  # parse_tag refuses what is no tag

    def __getitem__(self, tag: TagLike) -> VirtualElement:
        return self._elements[parse_tag(tag)]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Blueprint)
            and self._elements == other._elements
            and self._sop_class == other._sop_class
        )

    def __hash__(self) -> int:
        return hash((frozenset(self._elements.values()), self._sop_class))

    def __repr__(self) -> str:
        title = self._name or (self._sop_class.name if self._sop_class else None)
        return f"<Blueprint {title + ' ' if title else ''}of {len(self)} elements>"


def _sop_class(given: str) -> UID:
    """Accept a UID, or the name that pydicom has for it (``"CTImageStorage"``)."""
    named = getattr(pydicom.uid, given, None)
    uid = named if isinstance(named, UID) else UID(given, validation_mode=IGNORE)
    if not uid.is_valid:
        raise BlueprintError(f"SOPClassUID={given!r} is neither a UID nor the keyword of a SOP class")
    return uid


__all__ = ["Blueprint", "FillingStrategy"]
