"""The parts that ready-made blueprints share, and the one for any derived slices."""

from __future__ import annotations

from typing import Final

from dicomnode.dicom.blueprint import Blueprint
from dicomnode.dicom.elements import CopyElement, InstanceCopyElement


def _type2(*keywords: str) -> list[CopyElement]:
    """Copy, and write an empty element if the source lacks it (Type 2)."""
    return [CopyElement(keyword, default=None) for keyword in keywords]


def _optional(*keywords: str) -> list[CopyElement]:
    return [CopyElement(keyword, optional=True) for keyword in keywords]


patient_blueprint: Final = Blueprint(
    [
        *_type2("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *_optional(
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
        *_type2("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
        *_optional(
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
        *_optional("BodyPartExamined", "PatientPosition", "Laterality", "ProtocolName"),
    ],
    name="series",
)
"""General Series (PS3.3 C.7.3.1) without its UID, which is new."""

equipment_blueprint: Final = Blueprint(
    [
        *_type2("Manufacturer"),
        *_optional(
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

geometry_blueprint: Final = Blueprint(
    [
        CopyElement("FrameOfReferenceUID"),
        *_type2("PositionReferenceIndicator"),
        CopyElement("ImageOrientationPatient"),
        CopyElement("PixelSpacing"),
        *_type2("SliceThickness"),
        *_optional("SpacingBetweenSlices"),
        InstanceCopyElement("ImagePositionPatient"),
        InstanceCopyElement("SliceLocation", optional=True),
    ],
    name="geometry",
)
"""Frame of Reference and Image Plane (PS3.3 C.7.4.1, C.7.6.2): each slice lies where its source lies."""

derived_image_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + series_blueprint
    + equipment_blueprint
    + geometry_blueprint
    + Blueprint(
        [
            CopyElement("SOPClassUID"),
            InstanceCopyElement("AcquisitionDate", optional=True),
            InstanceCopyElement("AcquisitionTime", optional=True),
            InstanceCopyElement("AcquisitionNumber", optional=True),
        ],
        name="derived image",
    )
)
"""A result with the geometry and the SOP class of its source, slice for slice: a filtered CT or MR."""
