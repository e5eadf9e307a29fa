"""Where a result comes from: what every derived instance says without its author doing anything.

PS3.3 C.7.6.1 (General Image), C.12.4 (General Reference), C.7.6.16.2.6 (Derivation Image) and C.12.1 (SOP
Common) say how.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.references import SourceElement, evidence_by_series, evidence_by_study
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import InstanceElement, SeriesElement, StaticElement
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.iod import IOD, iod_of
from dicomnode.errors import BlueprintError

_DESCRIPTION_LENGTH = 64  # SeriesDescription is an LO
_SERIES_NUMBER_STEP = 1000


def default_elements(
    blueprint: Blueprint, sources: Sequence[Dataset], equipment: Equipment | None
) -> Blueprint:
    """Return what a derived instance carries unless its blueprint says otherwise.

    ImageType with DERIVED, SourceImageSequence (of a document SourceInstanceSequence), DerivationDescription
    and DerivationCodeSequence, ContributingEquipmentSequence, ContentDate and ContentTime, SeriesNumber and
    SeriesDescription, and that a source was once compressed with loss. To leave one out, a blueprint holds
    a ``DiscardElement`` for it.

    Parameters
    ----------
    blueprint : Blueprint
        What the author wrote; its SOP class decides which of these it can hold.
    sources : sequence of Dataset
        The source datasets; without any there is nothing to derive from.
    equipment : Equipment or None
        The software; dicomnode-host itself if not given.
    """
    software = equipment or Equipment()
    elements: list[VirtualElement] = [
        SeriesElement("ContributingEquipmentSequence", _Contributors(software)),
        *_content_moment(software),
        SeriesElement("SeriesNumber", derived_series_number),
        SeriesElement("ImageType", derived_image_type),
        SeriesElement("SeriesDescription", _SeriesDescription(software)),
    ]
    if sources:
        elements += [
            SourceElement("SourceImageSequence"),
            StaticElement("DerivationDescription", software.derivation_description()),
            StaticElement("DerivationCodeSequence", software.derivation_codes()),
            *_lossy_past(sources),
        ]
    iod = _iod(blueprint, sources)
    if iod is None:
        return Blueprint(elements)
    if not iod.is_image:
        elements.append(SourceElement("SourceInstanceSequence"))
    if "SharedFunctionalGroupsSequence" in iod.attributes:
        # The frames name their sources; these tell in which series they are (PS3.3 C.12.2, C.8.13.2.1).
        elements += [
            SeriesElement("SourceImageEvidenceSequence", evidence_by_study),
            SeriesElement("ReferencedSeriesSequence", evidence_by_series),
        ]
    # An attribute of no module of the IOD would make a standard extended SOP class of it (PS3.2 section 7.3).
    return Blueprint(element for element in elements if element.keyword in iod.attributes)


def _iod(blueprint: Blueprint, sources: Sequence[Dataset]) -> IOD | None:
    """Return the IOD of the result as far as it is known."""
    named = blueprint.SOPClassUID
    if named is None and (element := blueprint.get("SOPClassUID")) is not None:
        if isinstance(element, StaticElement):
            named = element.value
        elif sources:
            named = sources[0].get("SOPClassUID")
    return None if named is None else iod_of(str(named))


def derived_image_type(sources: Sequence[Dataset]) -> list[str]:
    """Return the source's ImageType with DERIVED as its first value (PS3.3 C.7.6.1.1.2).

    Parameters
    ----------
    sources : sequence of Dataset
        The source datasets; the first one that has an ImageType counts.
    """
    found: Any = next((source.ImageType for source in sources if source.get("ImageType")), ())
    values = [found] if isinstance(found, str) else [str(value) for value in found]
    return ["DERIVED", *values[1:]] if len(values) > 1 else ["DERIVED", "SECONDARY"]


def derived_series_number(sources: Sequence[Dataset]) -> int:
    """Return a series number that tells the result from its source: the source's, and 1000 more."""
    number = next((int(s.SeriesNumber) for s in sources if s.get("SeriesNumber") not in (None, "")), 0)
    larger = number + _SERIES_NUMBER_STEP
    return larger if larger < 2**31 else _SERIES_NUMBER_STEP


class _SeriesDescription:
    """The source's description and the name of the software, so that a reader can tell the series apart."""

    def __init__(self, equipment: Equipment) -> None:
        self.name = equipment.name[:_DESCRIPTION_LENGTH].strip()

    def __call__(self, sources: Sequence[Dataset]) -> str:
        before = next((str(s.SeriesDescription) for s in sources if s.get("SeriesDescription")), "")
        room = _DESCRIPTION_LENGTH - len(self.name) - 1
        return f"{before[:room].strip()} {self.name}".strip() if room > 0 else self.name


class _Contributors:
    """The source's own contributors, followed by the software that made the result."""

    def __init__(self, equipment: Equipment) -> None:
        self.equipment = equipment

    def __call__(self, sources: Sequence[Dataset]) -> list[Dataset]:
        before = sources[0].get("ContributingEquipmentSequence") if sources else None
        return [*copy.deepcopy(list(before or ())), self.equipment.item()]


def _content_moment(equipment: Equipment) -> list[VirtualElement]:
    moment = equipment.moment or dt.datetime.now()
    return [StaticElement("ContentDate", moment), StaticElement("ContentTime", moment)]


def _lossy_past(sources: Sequence[Dataset]) -> list[VirtualElement]:
    """Say that pixels came from a lossy compression; once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    lossy = next((s for s in sources if s.get("LossyImageCompression") == "01"), None)
    if lossy is None:
        return []
    keywords = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
    return [StaticElement(k, lossy[k].value) for k in keywords if k in lossy]


class EquipmentElement(InstanceElement):
    """What the enhanced general equipment module wants (PS3.3 C.7.5.2): of the source, else of the software.

    Parameters
    ----------
    tag : str
        ``"Manufacturer"``, ``"ManufacturerModelName"``, ``"DeviceSerialNumber"`` or ``"SoftwareVersions"``.
    copy_source : bool
        Whether the source's value comes first. ``False`` for what software alone makes: a parametric map.
    """

    def __init__(self, tag: str, *, copy_source: bool = True) -> None:
        super().__init__(tag)
        if self.keyword not in _EQUIPMENT_FIELDS:
            raise BlueprintError(f"EquipmentElement({tag!r}): it is one of {', '.join(_EQUIPMENT_FIELDS)}")
        self.copy_source = copy_source

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Return the source's value or the software's, never an empty one."""
        header = environment.header
        sources = header.sources if header is not None and self.copy_source else ()
        for source in sources:
            if (found := self.find(source)) is not None and not found.is_empty:
                return found
        software = (header.equipment if header is not None else None) or Equipment()
        return self.element(getattr(software, _EQUIPMENT_FIELDS[self.keyword])[:64] or "unknown")


_EQUIPMENT_FIELDS: Final = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "name",
    "DeviceSerialNumber": "serial_number",
    "SoftwareVersions": "version",
}
