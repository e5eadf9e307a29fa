"""Ready-made blueprint of nuclear medicine images: all frames of an image in one instance."""

from __future__ import annotations

from typing import Final

from pydicom.uid import NuclearMedicineImageStorage

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import (
    acquisition_blueprint,
    equipment_blueprint,
    image_type,
    optional,
    patient_blueprint,
    series_blueprint,
    study_blueprint,
    type2,
)
from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement

nm_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + series_blueprint
    + equipment_blueprint
    + acquisition_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "NM"),
            image_type("SECONDARY", "STATIC", "EMISSION", modality="NM"),
            *optional("FrameOfReferenceUID", "PositionReferenceIndicator"),
            *type2(
                "PatientOrientationCodeSequence",
                "PatientGantryRelationshipCodeSequence",
                "PixelSpacing",
                "CountsAccumulated",
                "EnergyWindowInformationSequence",
                "RadiopharmaceuticalInformationSequence",
                "DetectorInformationSequence",
            ),
            CopyElement("FrameIncrementPointer"),
            CopyElement("NumberOfEnergyWindows", default=1),
            CopyElement("NumberOfDetectors", default=1),
            *optional(
                "EnergyWindowVector",
                "DetectorVector",
                "PhaseVector",
                "NumberOfPhases",
                "RotationVector",
                "NumberOfRotations",
                "RRIntervalVector",
                "NumberOfRRIntervals",
                "TimeSlotVector",
                "NumberOfTimeSlots",
                "SliceVector",
                "NumberOfSlices",
                "AngularViewVector",
                "TimeSliceVector",
                "PhaseInformationSequence",
                "RotationInformationSequence",
                "GatedInformationSequence",
                "TypeOfDetectorMotion",
                "SpacingBetweenSlices",
                "SliceThickness",
                "ReconstructionDiameter",
                "ConvolutionKernel",
                "ActualFrameDuration",
                "CorrectedImage",
            ),
        ]
    )
).with_sop_class(NuclearMedicineImageStorage, name="NM")
"""NM Image (PS3.3 A.5): the frames are laid out as the source's; other layouts override the vectors."""
