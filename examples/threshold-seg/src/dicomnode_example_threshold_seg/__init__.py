"""A DICOM segmentation: everything in a CT that lies above a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    Blueprint,
    DicomOutput,
    InputContainer,
    NoOutput,
    NumpyGrinder,
    Segment,
    StaticElement,
    blueprints,
    build_segmentation,
)

BONE = Segment(
    label="Bone",
    kind=("272673000", "SCT", "Bone"),
    family=("123105", "DCM", "Histogram Analysis"),
)


class CT(AbstractInput):
    """One CT series without gaps, which ``process`` receives in Hounsfield units."""

    required_values = {"Modality": "CT"}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    image_grinder = NumpyGrinder()
    complete_volume = True


@dataclass(frozen=True)
class Settings:
    """What a site can set.

    Attributes
    ----------
    threshold : float
        In HU; what lies above it is bone.
    """

    threshold: float = 300.0


class ThresholdSeg(AbstractPipeline):
    """Mark what lies above a threshold as bone, in a segmentation of the CT."""

    inputs = {"ct": CT}
    blueprint = blueprints.segmentation_blueprint + Blueprint(
        [
            StaticElement("SeriesDescription", "Bone by threshold"),
            StaticElement("ContentLabel", "BONE"),
        ]
    )
    Settings = Settings

    def process(self, inputs: InputContainer) -> DicomOutput | NoOutput:
        """Compare with the threshold, and build a segmentation that refers to the CT's slices."""
        mask = np.asarray(inputs["ct"]) > self.settings.threshold
        if not mask.any():
            return NoOutput()  # a segmentation of nothing is no valid object
        return DicomOutput(build_segmentation(inputs.header, mask, [BONE]))
