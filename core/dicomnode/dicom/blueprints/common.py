"""The parts that ready-made blueprints share, and the one for any derived slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.derivation import EquipmentElement, derived_image_type
from dicomnode.dicom.elements.standard_elements import CopyElement, InstanceCopyElement, SeriesElement
from dicomnode.dicom.values.iod import is_paired


def type2(*keywords: str) -> list[CopyElement]:
    """Return elements that copy, and write an empty element if the source lacks it (Type 2)."""
    return [CopyElement(keyword, default=None) for keyword in keywords]


def optional(*keywords: str) -> list[CopyElement]:
    """Return elements that copy what there is."""
    return [CopyElement(keyword, optional=True) for keyword in keywords]


def optional_by_instance(*keywords: str) -> list[InstanceCopyElement]:
    """Return elements that copy what there is, slice by slice."""
    return [InstanceCopyElement(keyword, optional=True) for keyword in keywords]


def image_type(*fallback: str, modality: str | None = None) -> SeriesElement:
    """Return ImageType: DERIVED, then the source's further values, then ``fallback`` where it has none.

    Parameters
    ----------
    *fallback : str
        Values 2, 3, ... for a source that does not say.
    modality : str, optional
        Whose values from the third on are taken: other IODs mean other things by them.
    """
    return SeriesElement("ImageType", DerivedImageType(fallback, modality))


class DerivedImageType:
    """Works out ImageType; a class and not a closure, so that blueprints can be pickled and compared."""

    def __init__(self, fallback: tuple[str, ...], modality: str | None) -> None:
        self.fallback = fallback
        self.modality = modality

    def __call__(self, sources: Sequence[Dataset]) -> list[str]:
        """Return the values."""
        values = derived_image_type(sources)
        if not sources or sources[0].get("Modality") != self.modality:
            values = values[:2]
        return values + list(self.fallback[len(values) - 1 :])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DerivedImageType) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.fallback, self.modality))


class FirstValue:
    """The first value that the first source has of several attributes; a fallback where it has none.

    Parameters
    ----------
    *keywords : str
        Where to look, in this order.
    fallback : str, optional
        What to return otherwise.
    """

    def __init__(self, *keywords: str, fallback: str | None = None) -> None:
        self.keywords = keywords
        self.fallback = fallback

    def __call__(self, sources: Sequence[Dataset]) -> object:
        """Return the value."""
        for keyword in self.keywords:
            for source in sources[:1]:
                if source.get(keyword) not in (None, ""):
                    return source[keyword].value
        return self.fallback

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FirstValue) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.keywords, self.fallback))


def laterality(sources: Sequence[Dataset]) -> str | None:
    """Return Laterality (PS3.3 C.7.3.1): the source's, nothing for an unpaired body part, else empty.

    Parameters
    ----------
    sources : sequence of Dataset
        The first one counts.
    """
    source = sources[0] if sources else Dataset()
    if source.get("Laterality"):
        return str(source.Laterality)
    if source.get("ImageLaterality") or is_paired(str(source.get("BodyPartExamined") or "")) is False:
        return None
    return ""


patient_blueprint: Final = Blueprint(
    [
        *type2("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *optional(
            "IssuerOfPatientID",
            "OtherPatientIDsSequence",
            "PatientSpeciesDescription",
            "PatientSpeciesCodeSequence",
            "PatientIdentityRemoved",
            "DeidentificationMethod",
            "DeidentificationMethodCodeSequence",
        ),
    ],
    name="patient",
)
"""Patient module (PS3.3 C.7.1.1): copied, empty where the source is silent."""

study_blueprint: Final = Blueprint(
    [
        CopyElement("StudyInstanceUID"),
        *type2("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
        *optional(
            "StudyDescription",
            "IssuerOfAccessionNumberSequence",
            "ProcedureCodeSequence",
            "PatientAge",
            "PatientSize",
            "PatientWeight",
            "TimezoneOffsetFromUTC",
        ),
    ],
    name="study",
)
"""General Study (PS3.3 C.7.2.1) and Patient Study (C.7.2.2): the result belongs to the source's study."""

series_blueprint: Final = Blueprint(
    [
        CopyElement("Modality"),
        *optional("BodyPartExamined", "PatientPosition", "ProtocolName"),
        SeriesElement("Laterality", laterality),
    ],
    name="series",
)
"""General Series (PS3.3 C.7.3.1); its UID is new, number and description are derived by default."""

equipment_blueprint: Final = Blueprint(
    [
        *type2("Manufacturer"),
        *optional(
            "InstitutionName",
            "StationName",
            "ManufacturerModelName",
            "DeviceSerialNumber",
            "SoftwareVersions",
        ),
    ],
    name="equipment",
)
"""General Equipment (PS3.3 C.7.5.1): what acquired the source; the plugin is a contributor."""

enhanced_equipment_blueprint: Final = Blueprint(
    [
        EquipmentElement("Manufacturer"),
        EquipmentElement("ManufacturerModelName"),
        EquipmentElement("DeviceSerialNumber"),
        EquipmentElement("SoftwareVersions"),
        *optional("InstitutionName", "StationName"),
    ],
    name="enhanced equipment",
)
"""Enhanced General Equipment (PS3.3 C.7.5.2): what acquired the source; where it is silent, the software."""

frame_of_reference_blueprint: Final = Blueprint(
    [CopyElement("FrameOfReferenceUID"), *type2("PositionReferenceIndicator")], name="frame of reference"
)
"""Frame of Reference (PS3.3 C.7.4.1): the result lies in the source's space."""

geometry_blueprint: Final = frame_of_reference_blueprint + Blueprint(
    [
        CopyElement("ImageOrientationPatient"),
        CopyElement("PixelSpacing"),
        *type2("SliceThickness"),
        *optional("SpacingBetweenSlices"),
        InstanceCopyElement("ImagePositionPatient"),
        *optional_by_instance("SliceLocation"),
    ],
    name="geometry",
)
"""Frame of Reference and Image Plane (PS3.3 C.7.4.1, C.7.6.2): each slice lies where its source lies."""

acquisition_blueprint: Final = Blueprint(
    [
        InstanceCopyElement("AcquisitionNumber", default=None),
        *optional_by_instance("AcquisitionDate", "AcquisitionTime"),
    ],
    name="acquisition",
)
"""General Acquisition (PS3.3 C.7.10.1): when each slice's source was acquired."""

slices_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + series_blueprint
    + equipment_blueprint
    + geometry_blueprint
    + acquisition_blueprint
)
"""What slices of every modality have in common."""
