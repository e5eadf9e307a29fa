"""Where a result comes from: what every derived image says without its author doing anything.

PS3.3 C.7.6.1 (General Image), C.12.4 (General Reference) and C.12.1 (SOP Common) say how.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint import Blueprint
from dicomnode.dicom.elements import (
    InstanceElement,
    InstanceEnvironment,
    SeriesElement,
    StaticElement,
    VirtualElement,
)

Code = tuple[str, str, str]
"""Code value, coding scheme designator, code meaning: ``("113085", "DCM", "Spatial resampling")``."""

PROCESSING_EQUIPMENT: Code = ("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE: Code = ("121322", "DCM", "Source image for image processing operation")


@dataclass(frozen=True)
class Equipment:
    """The software that made a result, for ContributingEquipmentSequence (PS3.3 C.12.1).

    Parameters
    ----------
    name : str
        The plugin's name: ManufacturerModelName.
    version : str
        Its version: SoftwareVersions.
    manufacturer : str
        Who makes it: Manufacturer.
    description : str, optional
        What it did to the images: ContributionDescription and DerivationDescription.
    codes : tuple of (str, str, str)
        What it did, as codes of CID 7203 for DerivationCodeSequence: (value, scheme, meaning).
    datetime : str, optional
        When, a DT. Left out by default, so that a job that is run again makes the same bytes.
    """

    name: str = "dicomnode-host"
    version: str = ""
    manufacturer: str = "dicomnode-host"
    description: str | None = None
    codes: tuple[Code, ...] = ()
    datetime: str | None = None

    def item(self) -> Dataset:
        """Return the item of ContributingEquipmentSequence."""
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
        item.Manufacturer = self.manufacturer[:64]
        item.ManufacturerModelName = self.name[:64]
        if self.version:
            item.SoftwareVersions = self.version[:64]
        if self.description:
            item.ContributionDescription = self.description[:1024]
        if self.datetime:
            item.ContributionDateTime = self.datetime
        return item


def code_item(code: Code) -> Dataset:
    """Return a code as a sequence item (PS3.3 table 8.8-1).

    Parameters
    ----------
    code : (str, str, str)
        Value, scheme designator, meaning.
    """
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def default_elements(
    blueprint: Blueprint,  # noqa: ARG001 - used once modules are known
    sources: Sequence[Dataset],
    equipment: Equipment | None,
) -> Blueprint:
    """Return what a derived image carries unless its blueprint says otherwise.

    ImageType with DERIVED, SourceImageSequence, DerivationDescription and DerivationCodeSequence,
    ContributingEquipmentSequence. To leave one out, a blueprint holds a ``DiscardElement`` for it.

    Parameters
    ----------
    blueprint : Blueprint
        What the author wrote; its SOP class decides which of these it can hold.
    sources : sequence of Dataset
        The source datasets; without any there is nothing to derive from.
    equipment : Equipment or None
        The software; dicomnode-host itself if not given.
    """
    who = equipment or Equipment()
    elements: list[VirtualElement] = [SeriesElement("ContributingEquipmentSequence", _Contributors(who))]
    if sources:
        elements += [
            SeriesElement("ImageType", derived_image_type),
            SourceImageElement(),
            StaticElement(
                "DerivationDescription", who.description or f"Processed by {who.name} {who.version}".strip()
            ),
        ]
        if who.codes:
            elements.append(StaticElement("DerivationCodeSequence", [code_item(code) for code in who.codes]))
    return Blueprint(elements)


def derived_image_type(sources: Sequence[Dataset]) -> list[str]:
    """Return the source's ImageType with DERIVED as its first value (PS3.3 C.7.6.1.1.2).

    Parameters
    ----------
    sources : sequence of Dataset
        The source datasets; the first one that has an ImageType counts.
    """
    values: Iterable[Any] = next(
        (s.ImageType for s in sources if s.get("ImageType")), ("ORIGINAL", "SECONDARY")
    )
    values = [values] if isinstance(values, str) else list(values)
    return ["DERIVED", *(str(value) for value in values[1:])] if len(values) > 1 else ["DERIVED", "SECONDARY"]


class _Contributors:
    """The source's own contributors, followed by the software that made the result."""

    def __init__(self, equipment: Equipment) -> None:
        self.equipment = equipment

    def __call__(self, sources: Sequence[Dataset]) -> list[Dataset]:
        before = sources[0].get("ContributingEquipmentSequence") if sources else None
        return [*copy.deepcopy(list(before or ())), self.equipment.item()]


class SourceImageElement(InstanceElement):
    """SourceImageSequence: the source slice at the same place, or all sources where there is none."""

    def __init__(self) -> None:
        super().__init__("SourceImageSequence")

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Refer to the instance's own source, or to all sources of the series."""
        if environment.source is not None:
            sources: Sequence[Dataset] = (environment.source,)
        else:
            sources = environment.header.sources if environment.header is not None else ()
        items = [reference_item(source) for source in sources if "SOPInstanceUID" in source]
        return self.element(items) if items else None


def reference_item(source: Dataset) -> Dataset:
    """Return an item that refers to an instance, with the purpose of reference (PS3.3 table 10-3)."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return item
