"""Which attributes the standard asks of an instance: the IOD and module tables of PS3.3.

The tables are data (``data/iod_tables.json``), made by ``tools/make_iod_tables.py`` from those that highdicom
carries; the file names its edition. Only modules that an IOD makes mandatory are asked for, and of these the
Type 1 and Type 2 attributes: what Type 1C and 2C depend on is written in prose, which no table can check.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

_ORDER = ("1", "1C", "2", "2C", "3")

IDENTITY = frozenset({"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber"})
"""What names an instance: the factory writes it, from the blueprint's SOP class and new UIDs."""

PIXELS = frozenset(
    {
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "NumberOfFrames",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "RescaleSlope",
        "RescaleIntercept",
        "DoseGridScaling",
    }
)
"""What describes the pixels: the factory knows it from the array."""

FRAMES = frozenset(
    {
        "FrameIncrementPointer",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "DimensionOrganizationSequence",
        "DimensionIndexSequence",
    }
)
"""What distinguishes the frames of a multi-frame image: the factory knows it from array and geometry."""

BY_DEFAULT = frozenset({"ImageType", "ContentDate", "ContentTime", "SeriesNumber"})
"""What every derived image gets from :func:`~dicomnode.dicom.building.derivation.default_elements`."""

DOCUMENT = frozenset({"EncapsulatedDocument"})
"""The document itself: it is added with the data."""

SUPPLIED = IDENTITY | PIXELS | FRAMES | BY_DEFAULT | DOCUMENT
"""What a blueprint need not hold, because something else writes it."""


@dataclass(frozen=True)
class Attribute:
    """One row of a module table.

    Parameters
    ----------
    keyword : str
        The attribute.
    type : str
        ``"1"``, ``"1C"``, ``"2"``, ``"2C"`` or ``"3"`` (PS3.5 section 7.4).
    items : mapping of str to Attribute
        What each item of a sequence must hold.
    """

    keyword: str
    type: str
    items: Mapping[str, Attribute] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class IOD:
    """An information object definition.

    Parameters
    ----------
    name : str
        Its name in the tables, such as ``"ct-image"``.
    modules : mapping of str to str
        Module to usage: ``"M"`` mandatory, ``"C"`` conditional, ``"U"`` user option.
    required : mapping of str to Attribute
        The Type 1 and Type 2 attributes of the mandatory modules, at the root of the dataset.
    attributes : mapping of str to Attribute
        Every attribute of every module, at the root of the dataset.
    """

    name: str
    modules: Mapping[str, str]
    required: Mapping[str, Attribute]
    attributes: Mapping[str, Attribute]

    @property
    def is_image(self) -> bool:
        """Whether the instances hold pixels, at least optionally."""
        return "Rows" in self.attributes


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    text = resources.files("dicomnode.dicom").joinpath("data/iod_tables.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def edition() -> str:
    """Return the edition of the standard that the tables are of."""
    return str(_tables()["edition"])


@cache
def iod_of(SOPClassUID: str) -> IOD | None:  # noqa: N803 - DICOM's own spelling
    """Return the IOD of a SOP class, ``None`` if the tables do not know the class.

    Parameters
    ----------
    SOPClassUID : str
        The SOP class.
    """
    tables = _tables()
    name = tables["sop_classes"].get(str(SOPClassUID))
    if name is None:
        return None
    modules: dict[str, str] = tables["iods"][name]
    required: dict[str, Attribute] = {}
    for module, usage in modules.items():
        if usage == "M":
            _merge(required, module_attributes(module))
    attributes: dict[str, Attribute] = {}
    for module in modules:
        _merge(attributes, module_attributes(module))
    return IOD(
        name,
        MappingProxyType(modules),
        MappingProxyType({k: a for k, a in required.items() if a.type in ("1", "2")}),
        MappingProxyType(attributes),
    )


def region_code(body_part: str) -> tuple[str, str, str] | None:
    """Return the code of an anatomic region: scheme, value, meaning (PS3.16 annex L).

    Parameters
    ----------
    body_part : str
        A BodyPartExamined; spaces do not matter.
    """
    row = _body_part(body_part)
    return None if row is None else (row[0], row[1], row[2])


def is_paired(body_part: str) -> bool | None:
    """Return whether a body part is one of a pair, ``None`` where annex L does not know it.

    Parameters
    ----------
    body_part : str
        A BodyPartExamined.
    """
    row = _body_part(body_part)
    return None if row is None else bool(row[3])


def _body_part(body_part: str) -> list[Any] | None:
    row: list[Any] | None = _tables()["body_parts"].get(body_part.replace(" ", "").upper())
    return row


def module_attributes(module: str) -> Mapping[str, Attribute]:
    """Return the attributes of a module at the root of the dataset, by keyword.

    Parameters
    ----------
    module : str
        Its name in the tables, such as ``"general-study"``.

    Raises
    ------
    KeyError
        When the tables have no such module.
    """
    return _set(_tables()["modules"][module])


@cache
def _set(number: int) -> Mapping[str, Attribute]:
    rows: dict[str, Any] = _tables()["sets"][number]
    return MappingProxyType(
        {
            keyword: Attribute(keyword, row)
            if isinstance(row, str)
            else Attribute(keyword, row[0], _set(row[1]))
            for keyword, row in rows.items()
        }
    )


def _merge(into: dict[str, Attribute], more: Mapping[str, Attribute]) -> None:
    """Add attributes; one that two modules define keeps the stricter type (PS3.3 section A.1.3)."""
    for keyword, attribute in more.items():
        before = into.get(keyword)
        if before is None or _ORDER.index(attribute.type) < _ORDER.index(before.type):
            into[keyword] = attribute


def missing_attributes(dataset: Dataset) -> list[str]:
    """Return what a dataset lacks of the Type 1 and Type 2 attributes of its SOP class.

    Parameters
    ----------
    dataset : Dataset
        A whole instance, with ``SOPClassUID``.

    Returns
    -------
    list of str
        One line for each fault, such as ``"PatientID (Type 2) is missing"``; empty if there is none, or the
        SOP class is not in the tables.
    """
    iod = iod_of(UID(str(dataset.get("SOPClassUID", ""))))
    return [] if iod is None else list(missing_attributes_in(dataset, iod.required))


def missing_attributes_in(dataset: Dataset, wanted: Mapping[str, Attribute], path: str = "") -> Iterator[str]:
    """Yield what a dataset, or an item of a sequence, lacks of the attributes that are wanted.

    Parameters
    ----------
    dataset : Dataset
        A dataset or an item.
    wanted : mapping of str to Attribute
        Type 1 and Type 2 attributes.
    path : str
        What to write in front of a keyword.
    """
    for keyword, attribute in sorted(wanted.items()):
        if keyword not in dataset:
            yield f"{path}{keyword} (Type {attribute.type}) is missing"
        elif dataset[keyword].is_empty:
            if attribute.type == "1":
                yield f"{path}{keyword} (Type 1) is empty"
        elif attribute.items and dataset[keyword].VR == "SQ":
            for number, item in enumerate(dataset[keyword].value):
                yield from missing_attributes_in(item, attribute.items, f"{path}{keyword}[{number}].")
