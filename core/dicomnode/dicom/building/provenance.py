"""Where a result comes from: what every derived instance says without its author doing anything.

PS3.3 C.7.6.1 (General Image), C.12.4 (General Reference), C.7.6.16.2.6 (Derivation Image) and C.12.1 (SOP
Common) say how.
"""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.encoding import encode_elements, encode_sequence, encode_text
from dicomnode.dicom.elements.standard_elements import (
    InstanceElement,
    InstanceEnvironment,
    SeriesElement,
    StaticElement,
    VirtualElement,
)
from dicomnode.dicom.elements.virtual_element import PreparedElement
from dicomnode.dicom.values.modules import IOD, iod_of
from dicomnode.errors import BlueprintError

Code = tuple[str, str, str]
"""Code value, coding scheme designator, code meaning: ``("113085", "DCM", "Spatial resampling")``."""

PROCESSING_EQUIPMENT: Final[Code] = ("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE: Final[Code] = ("121322", "DCM", "Source image for image processing operation")
IMAGE_PROCESSING: Final[Code] = ("110001", "DCM", "Image Processing")

_DESCRIPTION_LENGTH = 64  # SeriesDescription is an LO
_SERIES_NUMBER_STEP = 1000
_MANY_REFERENCES = 10_000


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
        What it did, as codes of CID 7203 for DerivationCodeSequence: (value, scheme, meaning). Without any it
        is "Image Processing" (DCM 110001).
    moment : datetime.datetime, optional
        When: ContributionDateTime, ContentDate and ContentTime. A host gives the moment when the job was
        made, so that a job that is run again makes the same bytes. Without it ContentDate and ContentTime are
        those of the header's making.
    serial_number : str
        DeviceSerialNumber, where an IOD wants one of the software itself (PS3.3 C.7.5.2).

    Examples
    --------
    >>> Equipment("smooth", "1.2", codes=(("113088", "DCM", "Gaussian blur"),)).item().SoftwareVersions
    '1.2'
    """

    name: str = "dicomnode-host"
    version: str = ""
    manufacturer: str = "dicomnode-host"
    description: str | None = None
    codes: tuple[Code, ...] = ()
    moment: dt.datetime | None = None
    serial_number: str = "0"

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
        if self.moment:
            item.ContributionDateTime = self.moment.strftime("%Y%m%d%H%M%S.%f%z")
        return item

    def derivation_description(self) -> str:
        """Return what DerivationDescription says, at most 1024 characters (an ST)."""
        return (self.description or f"Processed by {self.name} {self.version}".strip())[:1024]

    def derivation_codes(self) -> list[Dataset]:
        """Return the items of DerivationCodeSequence; always at least one, as PS3.3 C.7.6.16.2.6 wants."""
        return [code_item(code) for code in self.codes or (IMAGE_PROCESSING,)]


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
    who = equipment or Equipment()
    elements: list[VirtualElement] = [
        SeriesElement("ContributingEquipmentSequence", _Contributors(who)),
        *_content_moment(who),
        SeriesElement("SeriesNumber", derived_series_number),
        SeriesElement("ImageType", derived_image_type),
        SeriesElement("SeriesDescription", _SeriesDescription(who)),
    ]
    if sources:
        elements += [
            SourceElement("SourceImageSequence"),
            StaticElement("DerivationDescription", who.derivation_description()),
            StaticElement("DerivationCodeSequence", who.derivation_codes()),
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


def evidence_by_series(sources: Sequence[Dataset]) -> list[Dataset] | None:
    """Return ReferencedSeriesSequence: the sources by series (PS3.3 table 10-4); ``None`` without any."""
    series: dict[str, list[Dataset]] = {}
    for source in sources:
        if "SOPInstanceUID" in source and "SOPClassUID" in source and "SeriesInstanceUID" in source:
            series.setdefault(str(source.SeriesInstanceUID), []).append(source)
    items = []
    for uid, members in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [_plain_reference(source) for source in members]
        items.append(item)
    return items or None


def evidence_by_study(sources: Sequence[Dataset]) -> list[Dataset] | None:
    """Return SourceImageEvidenceSequence: the sources by study and series (PS3.3 C.17.2.1 macro)."""
    studies: dict[str, list[Dataset]] = {}
    for source in sources:
        if "StudyInstanceUID" in source:
            studies.setdefault(str(source.StudyInstanceUID), []).append(source)
    items = []
    for uid, members in studies.items():
        item = Dataset()
        item.StudyInstanceUID = uid
        item.ReferencedSeriesSequence = evidence_by_series(members) or []
        for series in item.ReferencedSeriesSequence:
            series.ReferencedSOPSequence = series.ReferencedInstanceSequence
            del series.ReferencedInstanceSequence
        items.append(item)
    return items or None


def _plain_reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item


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
        who = (header.equipment if header is not None else None) or Equipment()
        return self.element(getattr(who, _EQUIPMENT_FIELDS[self.keyword])[:64] or "unknown")


_EQUIPMENT_FIELDS: Final = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "name",
    "DeviceSerialNumber": "serial_number",
    "SoftwareVersions": "version",
}


class SourceElement(InstanceElement):
    """A sequence that refers to the source at the same place, or to all sources where there is none.

    Parameters
    ----------
    tag : str
        ``"SourceImageSequence"`` or another sequence of references.
    """

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Refer to the instance's own source, or to all sources of the series."""
        items = reference_items(environment)
        return DataElement(self.tag, "SQ", DicomSequence(items)) if items else None

    def prepare(self, environment: InstanceEnvironment) -> PreparedElement | None:
        """Return the reference to the instance's own source as bytes: every slice of a result has one."""
        source = environment.source
        if source is None or "SOPInstanceUID" not in source or "SOPClassUID" not in source:
            return None
        names = str(source.SOPClassUID), str(source.SOPInstanceUID)
        if not all(name.isascii() for name in names):
            return None
        return PreparedElement(
            self.tag, _encoded_reference(self.tag, *names), partial(self.produce, environment)
        )


def _encoded_reference(tag: BaseTag, sop_class: str, instance: str) -> bytes:
    """Return a sequence with one item as :func:`reference_item` makes it."""
    body = encode_text(0x00081150, b"UI", sop_class.encode("ascii"))
    body += encode_text(0x00081155, b"UI", instance.encode("ascii")) + _encoded_purpose()
    return encode_sequence(tag, [body])


@cache
def _encoded_purpose() -> bytes:
    item: Dataset = pickle.loads(_reference_template())  # noqa: S301 - our own bytes
    return b"".join(encoded for _, encoded in encode_elements(item, None))


def reference_items(environment: InstanceEnvironment) -> list[Dataset]:
    """Return items that refer to what an instance was derived from.

    Parameters
    ----------
    environment : InstanceEnvironment
        The instance. With a source of its own that is the one; without, all sources of the header are meant.
        Where that would be more than ten thousand references in a series, none are returned.
    """
    sources: Sequence[Dataset] = ()
    if environment.source is not None:
        sources = (environment.source,)
    elif environment.header is not None:
        everything = environment.header.sources
        sources = everything if len(everything) * environment.total <= _MANY_REFERENCES else ()
    return [reference_item(s) for s in sources if "SOPInstanceUID" in s and "SOPClassUID" in s]


def reference_item(source: Dataset) -> Dataset:
    """Return an item that refers to an instance, with the purpose of reference (PS3.3 table 10-3)."""
    item: Dataset = pickle.loads(_reference_template())  # noqa: S301 - our own bytes, quicker than building it
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


@cache
def _reference_template() -> bytes:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return pickle.dumps(item)


def derivation_image_item(sources: Iterable[Dataset], equipment: Equipment | None) -> Dataset:
    """Return the item of DerivationImageSequence, by which a frame names its sources (PS3.3 C.7.6.16.2.6).

    Parameters
    ----------
    sources : iterable of Dataset
        What the frame was derived from.
    equipment : Equipment or None
        The software.
    """
    who = equipment or Equipment()
    item = Dataset()
    item.DerivationDescription = who.derivation_description()
    item.DerivationCodeSequence = who.derivation_codes()
    item.SourceImageSequence = [
        reference_item(s) for s in sources if "SOPInstanceUID" in s and "SOPClassUID" in s
    ]
    return item
