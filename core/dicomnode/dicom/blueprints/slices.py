"""Ready-made blueprints of slices: CT, MR and PET, one instance a slice."""

from __future__ import annotations

from typing import Final

from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import (
    FirstValue,
    image_type,
    optional,
    optional_by_instance,
    slices_blueprint,
    type2,
)
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    CallElement,
    CopyElement,
    InstanceCopyElement,
    SeriesElement,
    StaticElement,
)

ct_blueprint: Final = (
    slices_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "CT"),
            image_type("SECONDARY", "AXIAL", modality="CT"),
            *type2("KVP", "PatientPosition"),
            *optional(
                "ConvolutionKernel",
                "ContrastBolusAgent",
                "DataCollectionDiameter",
                "ReconstructionDiameter",
                "GantryDetectorTilt",
                "RotationDirection",
                "FilterType",
                "RescaleType",
            ),
            *optional_by_instance("ExposureTime", "XRayTubeCurrent", "Exposure"),
        ]
    )
).with_sop_class(CTImageStorage, name="CT")
"""CT Image (PS3.3 A.3), from CT sources or any others with slices in the same places."""

mr_blueprint: Final = (
    slices_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "MR"),
            image_type("SECONDARY", "OTHER", modality="MR"),
            CopyElement("ScanningSequence", default="RM"),
            CopyElement("SequenceVariant", default="NONE"),
            *type2("ScanOptions", "MRAcquisitionType", "PatientPosition"),
            InstanceCopyElement("EchoTime", default=None),
            InstanceCopyElement("RepetitionTime", default=None),
            InstanceCopyElement("EchoTrainLength", default=None),
            *optional_by_instance(
                "InversionTime", "EchoNumbers", "TriggerTime", "TemporalPositionIdentifier"
            ),
            *optional(
                "SequenceName",
                "MagneticFieldStrength",
                "ImagingFrequency",
                "ImagedNucleus",
                "FlipAngle",
                "NumberOfAverages",
                "NumberOfTemporalPositions",
                "ReceiveCoilName",
                "InPlanePhaseEncodingDirection",
            ),
        ]
    )
).with_sop_class(MRImageStorage, name="MR")
"""MR Image (PS3.3 A.4). Where a source is no MR image, ScanningSequence says RM (research mode)."""


def number_of_slices(instance: InstanceEnvironment) -> int:
    """Return NumberOfSlices: of a dynamic series those of one volume, else all of them (PS3.3 C.8.9.1)."""
    stated = instance.source.get("NumberOfSlices") if instance.source is not None else None
    return int(stated) if stated and instance.total % int(stated) == 0 else instance.total


def image_index(instance: InstanceEnvironment) -> int:
    """Return ImageIndex: the one-based place within the series (PS3.3 C.8.9.4.1.9)."""
    return instance.instance_number


pet_blueprint: Final = (
    slices_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "PT"),
            image_type("SECONDARY", modality="PT"),
            SeriesElement("SeriesDate", FirstValue("SeriesDate", "AcquisitionDate", "StudyDate")),
            SeriesElement("SeriesTime", FirstValue("SeriesTime", "AcquisitionTime", "StudyTime")),
            CopyElement("Units"),
            CopyElement("CountsSource", default="EMISSION"),
            CopyElement("SeriesType", default=["STATIC", "IMAGE"]),
            CopyElement("DecayCorrection", default="NONE"),
            *type2(
                "CollimatorType",
                "CorrectedImage",
                "RadiopharmaceuticalInformationSequence",
                "PatientOrientationCodeSequence",
                "PatientGantryRelationshipCodeSequence",
            ),
            CallElement("NumberOfSlices", number_of_slices),
            CallElement("ImageIndex", image_index),
            InstanceCopyElement("AcquisitionDate", default=None),
            InstanceCopyElement("AcquisitionTime", default=None),
            InstanceCopyElement("ActualFrameDuration", default=None),
            InstanceCopyElement("FrameReferenceTime", default=0),
            *optional_by_instance(
                "DecayFactor",
                "ScatterFractionFactor",
                "DeadTimeFactor",
                "DoseCalibrationFactor",
                "TriggerTime",
                "FrameTime",
            ),
            *optional(
                "NumberOfTimeSlices",
                "NumberOfRRIntervals",
                "NumberOfTimeSlots",
                "ReprojectionMethod",
                "RandomsCorrectionMethod",
                "AttenuationCorrectionMethod",
                "ScatterCorrectionMethod",
                "ReconstructionMethod",
                "ConvolutionKernel",
                "SUVType",
            ),
        ]
    )
).with_sop_class(PositronEmissionTomographyImageStorage, name="PET")
"""PET Image (PS3.3 A.21). Units are the source's; a blueprint whose result has others overrides them."""


def _as_the_source_has_it(*blueprints: Blueprint) -> Blueprint:
    """Return what blueprints copy, as far as a source has it."""
    return Blueprint(
        {
            element.key: type(element)(element.keyword, optional=True)
            for blueprint in blueprints
            for element in blueprint
            if isinstance(element, CopyElement | InstanceCopyElement)
        }.values()
    )


derived_image_blueprint: Final = (
    _as_the_source_has_it(ct_blueprint, mr_blueprint, pet_blueprint)
    + Blueprint(
        [
            *optional_by_instance("ImageIndex"),
            *optional("NumberOfSlices", "SeriesDate", "SeriesTime"),
        ]
    )
    + slices_blueprint
    + Blueprint([CopyElement("SOPClassUID")], name="derived image")
)
"""A result with the geometry and SOP class of its source, slice for slice: a filtered CT, MR or PET."""
