"""Ready-made blueprints of what highdicom builds: the parts of patient, study and provenance.

They hold no SOP class to be checked against, because :mod:`.highdicom_results` adds the rest.
"""

from __future__ import annotations

from typing import Final

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import optional, patient_blueprint, study_blueprint
from dicomnode.dicom.elements.standard_elements import DiscardElement

_built_by_highdicom: Final = [
    DiscardElement(keyword)
    for keyword in (
        "SOPClassUID",
        "SourceImageSequence",
        "SourceInstanceSequence",
        "DerivationDescription",
        "DerivationCodeSequence",
        "ImageType",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    )
]

segmentation_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + Blueprint([*_built_by_highdicom, *optional("BodyPartExamined")], name="segmentation")
)
"""Segmentation (PS3.3 A.51), for :func:`~dicomnode.dicom.building.highdicom_results.build_segmentation`."""

report_blueprint: Final = patient_blueprint + study_blueprint + Blueprint(_built_by_highdicom, name="report")
"""Enhanced SR (PS3.3 A.35.2), for :func:`~dicomnode.dicom.building.highdicom_results.build_report`."""
