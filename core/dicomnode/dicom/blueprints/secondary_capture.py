"""Ready-made blueprints of pictures: Secondary Capture, single and multi-frame, without geometry."""

from __future__ import annotations

from typing import Final

from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import laterality, optional, patient_blueprint, study_blueprint, type2
from dicomnode.dicom.elements.standard_elements import CopyElement, SeriesElement, StaticElement

_picture: Final = (
    patient_blueprint
    + study_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "OT"),
            StaticElement("ConversionType", "WSD"),
            StaticElement("ImageType", ["DERIVED", "SECONDARY"]),
            CopyElement("BurnedInAnnotation", default="NO"),
            *optional("BodyPartExamined"),
            *type2("PatientOrientation"),
            SeriesElement("Laterality", laterality),
        ]
    )
)

secondary_capture_blueprint: Final = _picture.with_sop_class(
    SecondaryCaptureImageStorage, name="Secondary Capture"
)
"""Secondary Capture (PS3.3 A.8.1): a picture, grey or colour, one instance each."""

_grayscale: Final = Blueprint(
    [StaticElement("PresentationLUTShape", "IDENTITY"), StaticElement("RescaleType", "US")]
)

multiframe_grayscale_byte_blueprint: Final = (_picture + _grayscale).with_sop_class(
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage, name="Multi-frame Grayscale Byte SC"
)
"""Multi-frame Grayscale Byte SC (PS3.3 A.8.3): frames of 8 bits."""

multiframe_grayscale_word_blueprint: Final = (_picture + _grayscale).with_sop_class(
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage, name="Multi-frame Grayscale Word SC"
)
"""Multi-frame Grayscale Word SC (PS3.3 A.8.4): frames of 9 to 16 bits."""

multiframe_true_color_blueprint: Final = _picture.with_sop_class(
    MultiFrameTrueColorSecondaryCaptureImageStorage, name="Multi-frame True Color SC"
)
"""Multi-frame True Color SC (PS3.3 A.8.5): frames in RGB."""
