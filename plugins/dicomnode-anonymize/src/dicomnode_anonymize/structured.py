"""Content items of structured reports and acquisition contexts (PS3.15 section E.3.4, Table E.3.4-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from dicomnode_anonymize.dummies import TEXT, dummy
from dicomnode_anonymize.options import Option
from dicomnode_anonymize.profile import Action, Profile, Row, content_rows
from dicomnode_anonymize.replacements import Replacements

_VALUES: Mapping[str, str] = {
    "DATE": "Date",
    "DATETIME": "DateTime",
    "PNAME": "PersonName",
    "TEXT": "TextValue",
    "TIME": "Time",
    "UIDREF": "UID",
}
"""Value type -> the attribute that holds the value. The others' values are references, codes and numbers."""

_DUMMIES = {"DATE": dummy("DA"), "DATETIME": dummy("DT"), "TIME": dummy("TM"), "TEXT": TEXT}
_TEMPORAL: Row = {
    "basic": "D",
    "options": {
        Option.RETAIN_LONGITUDINAL_FULL_DATES.column: "K",
        Option.RETAIN_LONGITUDINAL_MODIFIED_DATES.column: "C",
    },
}
_UNLISTED: Mapping[str, Row] = {
    "DATE": _TEMPORAL,
    "DATETIME": _TEMPORAL,
    "TIME": _TEMPORAL,
    "PNAME": {"basic": "D"},
    "TEXT": {"basic": "C"},
    "UIDREF": {"basic": "U", "options": {Option.RETAIN_UIDS.column: "K"}},
}
"""What becomes of an item whose concept Table E.3.4-1 does not list."""


def is_content_item(item: Dataset) -> bool:
    """Say whether an item of a sequence is a content item (PS3.3 sections C.17.3 and 10.2)."""
    return "ConceptNameCodeSequence" in item and _value_type(item) != ""


def clean(item: Dataset, profile: Profile, replace: Replacements) -> frozenset[str] | None:
    """Clean the value of a content item; what is below it is not looked at.

    Parameters
    ----------
    item : Dataset
        The item; it is changed.
    profile : Profile
        Which says what is done.
    replace : Replacements
        What is put in place.

    Returns
    -------
    frozenset of str or None
        The keywords of what was dealt with here, or ``None`` if the item must go with all that is below it.
    """
    value_type = _value_type(item)
    keyword = _VALUES.get(value_type, "")
    row = _row(item, value_type)
    if row is None:
        return frozenset()
    # An item of a template may be mandatory in ways that no table of Types tells: a dummy is always valid.
    action = Action.CLEAN if row["basic"] == "C" else profile.of_row(row, "1")
    if action is Action.REMOVE:
        return None
    if keyword in item and action is not Action.KEEP:
        item[keyword].value = _replaced(item[keyword].value, value_type, action, replace)
    return frozenset({keyword})


def dummy_item() -> Dataset:
    """Return the one item that a report's content becomes when it is not cleaned: a comment that says so."""
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "121106", "DCM", "Comment"
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [concept]
    item.TextValue = "Removed in de-identification"
    return item


def _value_type(item: Dataset) -> str:
    """Return the value type; in an acquisition context it may be told by the value alone."""
    named = str(item.get("ValueType") or "").strip()
    return named or next((each for each, keyword in _VALUES.items() if keyword in item), "")


def _row(item: Dataset, value_type: str) -> Row | None:
    names = item.get("ConceptNameCodeSequence")
    if names:
        scheme = str(names[0].get("CodingSchemeDesignator") or "").strip()
        code = (
            names[0].get("CodeValue") or names[0].get("LongCodeValue") or names[0].get("URNCodeValue") or ""
        )
        row = content_rows().get((scheme, str(code).strip(), value_type))
        if row is not None:
            return row
    return _UNLISTED.get(value_type)


def _replaced(value: Any, value_type: str, action: Action, replace: Replacements) -> Any:
    if value_type == "PNAME":
        return replace.name(value)
    if value_type == "UIDREF":
        return replace.uids(value)
    if action is Action.CLEAN:
        if value_type == "TEXT":
            return replace.text(value) or TEXT
        if value_type == "TIME":
            return value
        return replace.dates(value) or _DUMMIES[value_type]
    return _DUMMIES[value_type]
