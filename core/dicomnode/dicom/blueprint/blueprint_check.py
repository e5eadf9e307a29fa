"""Checking a blueprint against the SOP class that it names, when it is defined and not at the PACS.

Also nested: what a sequence's items must hold. The VR of every element is right by construction, see
:class:`.VirtualElement`, as are length and multiplicity of fixed values.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from pydicom.uid import UID

from dicomnode.dicom.elements.copy_elements import CopyingElement
from dicomnode.dicom.elements.standard_elements import StaticElement
from dicomnode.dicom.elements.virtual_element import AttributeKey, VirtualElement
from dicomnode.dicom.values.iod import SUPPLIED, Attribute, edition, iod_of
from dicomnode.dicom.values.tags import parse_tag
from dicomnode.errors import BlueprintError

_OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")


def refuse_borrowed_uids(elements: Iterable[VirtualElement], title: str) -> None:
    """Refuse a blueprint that would give its results the UIDs of something else.

    Parameters
    ----------
    elements : iterable of VirtualElement
        The elements at the root of a result.
    title : str
        What the message calls the blueprint.

    Raises
    ------
    BlueprintError
        When a series or instance UID is copied from the source or fixed: the PACS would take the result for
        the source, or every result for the same one.
    """
    own = {parse_tag(keyword) for keyword in _OWN_UIDS}
    for element in elements:
        if element.key in own and isinstance(element, CopyingElement | StaticElement):
            raise BlueprintError(
                f"{title}: {element!r} would give every result the UID of something else; leave it out,"
                " the factory makes new UIDs"
            )


def check(elements: Mapping[AttributeKey, VirtualElement], SOPClassUID: UID, title: str) -> None:  # noqa: N803 - DICOM's own
    """Check a blueprint against its SOP class.

    Parameters
    ----------
    elements : mapping to VirtualElement
        The elements, by :attr:`~dicomnode.dicom.elements.virtual_element.VirtualElement.key`.
    SOPClassUID : UID
        The SOP class. One that the tables do not know (a private one) is not checked.
    title : str
        What the message calls the blueprint.

    Raises
    ------
    BlueprintError
        With all faults, a line each.
    """
    faults = list(_class_conflicts(elements, SOPClassUID))
    iod = iod_of(SOPClassUID)
    if iod is not None:
        faults += shortfalls_of(elements.values(), iod.required, supplied=SUPPLIED)
        faults += _wrong_items(elements.values(), iod.attributes, iod.required)
    if not faults:
        return
    lines = "".join(f"\n  {fault}" for fault in faults)
    raise BlueprintError(
        f"{title} does not fit {SOPClassUID.name} ({iod.name if iod else SOPClassUID}, {edition()}):{lines}\n"
        "Add the missing elements; parts that are to be joined first get their SOP class by with_sop_class()."
    )


def shortfalls_of(
    elements: Iterable[VirtualElement], wanted: Mapping[str, Attribute], *, supplied: Container[str] = ()
) -> Iterator[str]:
    """Yield how elements may fail what the standard wants of a dataset or an item.

    Parameters
    ----------
    elements : iterable of VirtualElement
        The elements.
    wanted : mapping of str to Attribute
        Type 1 and Type 2 attributes.
    supplied : container of str
        Keywords that something else writes.
    """
    held = {element.keyword: element for element in elements}
    for keyword, attribute in sorted(wanted.items()):
        if keyword in held:
            for fault in held[keyword].shortfalls(attribute):
                yield f"{keyword}{'' if fault.startswith('[') else f' (Type {attribute.type}) '}{fault}"
        elif keyword not in supplied:
            yield f"{keyword} (Type {attribute.type}) is missing"


def _class_conflicts(elements: Mapping[AttributeKey, VirtualElement], SOPClassUID: UID) -> Iterator[str]:  # noqa: N803 - DICOM's own
    element = elements.get(parse_tag("SOPClassUID"))
    if isinstance(element, StaticElement) and element.value != SOPClassUID:
        yield f"SOPClassUID is {UID(element.value).name} in {element!r}"
    elif isinstance(element, CopyingElement):
        yield "SOPClassUID is copied from the source, which may be of another class"


def _wrong_items(
    elements: Iterable[VirtualElement], known: Mapping[str, Attribute], checked: Mapping[str, Attribute]
) -> Iterator[str]:
    """Yield what the items of optional and conditional sequences lack."""
    for element in elements:
        attribute = known.get(element.keyword)
        if attribute is not None and attribute.items and element.keyword not in checked:
            items_only = Attribute(attribute.keyword, "3", attribute.items)
            yield from (f"{element.keyword}{f}" for f in element.shortfalls(items_only) if f.startswith("["))
