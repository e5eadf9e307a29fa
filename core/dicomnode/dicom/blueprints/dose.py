"""Ready-made blueprint of RT Dose: a dose grid in one multi-frame instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import (
    equipment_blueprint,
    frame_of_reference_blueprint,
    optional,
    patient_blueprint,
    study_blueprint,
    type2,
)
from dicomnode.dicom.elements.standard_elements import CopyElement, SeriesElement, StaticElement


def first_position(sources: Sequence[Dataset]) -> object:
    """Return ImagePositionPatient of the first frame: the first source in geometric order."""
    return sources[0].ImagePositionPatient if sources and "ImagePositionPatient" in sources[0] else None


rt_dose_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + frame_of_reference_blueprint
    + equipment_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "RTDOSE"),
            *type2("OperatorsName", "SliceThickness"),
            CopyElement("ImageOrientationPatient"),
            CopyElement("PixelSpacing"),
            SeriesElement("ImagePositionPatient", first_position),
            StaticElement("DoseUnits", "GY"),
            CopyElement("DoseType", default="PHYSICAL"),
            CopyElement("DoseSummationType", default="PLAN"),
            *optional(
                "DoseComment",
                "NormalizationPoint",
                "TissueHeterogeneityCorrection",
                "ReferencedRTPlanSequence",
                "ReferencedStructureSetSequence",
                "ReferencedTreatmentRecordSequence",
            ),
        ]
    )
).with_sop_class(RTDoseStorage, name="RT Dose")
"""RT Dose (PS3.3 A.18.3) in gray. A plan's dose must name it in ReferencedRTPlanSequence."""
