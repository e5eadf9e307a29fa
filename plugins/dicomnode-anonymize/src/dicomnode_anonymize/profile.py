"""What the profile and its options do to an attribute: Table E.1-1 of PS3.15, as data.

Table E.1-1a gives compound actions such as ``X/Z/D``: the least that leaves a valid instance, which depends
on the attribute's Type in its IOD. :func:`resolved` decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from dicomnode_anonymize.options import Option


class Action(StrEnum):
    """What is done to an attribute (PS3.15 Table E.1-1a)."""

    DUMMY = "D"
    """Replaced by a value that means nothing and fits the VR."""
    ZERO = "Z"
    """Replaced by a value of zero length, or by a dummy."""
    REMOVE = "X"
    KEEP = "K"
    """Kept; sequences are walked."""
    CLEAN = "C"
    """Replaced by something of similar meaning that is known to identify nobody."""
    UID = "U"
    """Replaced by a new UID, the same everywhere; sequences are walked."""


Row = Mapping[str, Any]

_DATE_OPTIONS = {
    Option.RETAIN_LONGITUDINAL_FULL_DATES.column: "K",
    Option.RETAIN_LONGITUDINAL_MODIFIED_DATES.column: "C",
}
_TEMPORAL: Row = {"basic": "X/Z/D", "options": _DATE_OPTIONS}
# The table cannot name what was added to the standard after it: these VRs alone say that a value identifies.
_BY_VR: Mapping[str, Row] = {
    "DA": _TEMPORAL,
    "DT": _TEMPORAL,
    "TM": _TEMPORAL,
    "PN": {"basic": "X/Z/D"},
    "UR": {"basic": "X/Z/D"},  # where to fetch the original, as a rule by its UIDs
    "UI": {"basic": "U", "options": {Option.RETAIN_UIDS.column: "K"}},
}
_NAMES_A_CLASS = ("SOPClass", "TransferSyntax")
_NAMES_A_SCHEME = frozenset(
    {
        "CodingSchemeUID",
        "CodingSchemeURL",
        "ContextGroupExtensionCreatorUID",
        "ContextUID",
        "CreatorVersionUID",
        "ImplementationClassUID",
        "MappingResourceUID",
    }
)
_CURVES, _OVERLAYS = 0x5000, 0x6000
_REPEATING = 0xFF00


@cache
def tables() -> Mapping[str, Any]:
    """Return what ``data/confidentiality.json`` holds."""
    text = resources.files(__package__).joinpath("data/confidentiality.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def edition() -> str:
    """Return the edition of the standard that the tables are of, such as ``DICOM PS3.15 2026d``."""
    return str(tables()["edition"])


def resolved(action: str, attribute_type: str | None) -> Action:
    """Return what a compound action means for an attribute of a Type.

    Parameters
    ----------
    action : str
        An action of the table: ``"X"``, ``"Z/D"``, ``"X/Z/U*"``.
    attribute_type : str or None
        The Type in the IOD (PS3.5 section 7.4). What is present although it is conditional counts as if it
        were not. ``None`` where it is not known: then a dummy is taken where the action offers one, since
        it is valid wherever a value was.
    """
    parts = [part.rstrip("*") for part in action.split("/")]
    if "U" in parts:
        return Action.UID
    if attribute_type in ("2", "2C"):
        order = "ZDX"
    elif attribute_type == "3":
        order = "XZD"
    else:
        order = "DZX"
    chosen = Action(next(each for each in order if each in parts))
    # "Z" allows a dummy where zero length would not be valid.
    return Action.DUMMY if chosen is Action.ZERO and attribute_type in ("1", "1C") else chosen


class Profile:
    """The Basic Profile with a set of options.

    Parameters
    ----------
    options : iterable of Option
        The options.
    """

    def __init__(self, options: Iterable[Option] = ()) -> None:
        self.options = frozenset(options)
        self._columns = frozenset(option.column for option in self.options)
        self._rows: Mapping[str, Row] = tables()["attributes"]
        self._actions: dict[tuple[int, str, str, str | None], Action | None] = {}

    def action(self, tag: int, keyword: str, vr: str, attribute_type: str | None) -> Action | None:
        """Return what becomes of an attribute, ``None`` where the profile leaves it alone.

        Parameters
        ----------
        tag : int
            The tag, of an even group.
        keyword : str
            Its keyword, empty if it has none.
        vr : str
            Its VR.
        attribute_type : str or None
            Its Type, as in :func:`resolved`.
        """
        key = (tag, keyword, vr, attribute_type)
        if key not in self._actions:
            row = self.row(tag, keyword, vr)
            self._actions[key] = None if row is None else self.of_row(row, attribute_type)
        return self._actions[key]

    def of_row(self, row: Row, attribute_type: str | None) -> Action:
        """Return what a row of a table means with these options.

        Of two options that speak of one attribute, cleaning goes before keeping.
        """
        spoken = {action for column, action in row.get("options", {}).items() if column in self._columns}
        for action in (Action.CLEAN, Action.KEEP):
            if action in spoken:
                return action
        return resolved(row["basic"], attribute_type)

    def basic(self, tag: int, keyword: str, vr: str, attribute_type: str | None) -> Action | None:
        """Return what becomes of an attribute without any option."""
        row = self.row(tag, keyword, vr)
        return None if row is None else resolved(row["basic"], attribute_type)

    def is_descriptor(self, tag: int) -> bool:
        """Say whether an attribute holds a description, rather than an identifier.

        One that the table does not list counts as a description.
        """
        row = self._rows.get(f"{tag:08X}")
        return row is None or Option.CLEAN_DESCRIPTORS.column in row.get("options", {})

    def row(self, tag: int, keyword: str, vr: str) -> Row | None:
        """Return the row of Table E.1-1, or one that the VR asks for, or ``None``."""
        group = tag >> 16
        if group & _REPEATING == _CURVES:
            return self._rows["50xxxxxx"]
        if group & _REPEATING == _OVERLAYS:
            return self._rows.get(f"60xx{tag & 0xFFFF:04X}")
        row = self._rows.get(f"{tag:08X}")
        if row is None and not _is_well_known(keyword):
            return _BY_VR.get(vr)
        return row


def _is_well_known(keyword: str) -> bool:
    """Say whether an attribute names a class, a syntax or a coding scheme rather than an object."""
    return keyword in _NAMES_A_SCHEME or any(part in keyword for part in _NAMES_A_CLASS)


@cache
def content_rows() -> Mapping[tuple[str, str, str], Row]:
    """Return Table E.3.4-1: coding scheme, code value and value type of a content item -> row."""
    return {(row["scheme"], row["code"], row["value_type"]): row for row in tables()["content_items"]}
