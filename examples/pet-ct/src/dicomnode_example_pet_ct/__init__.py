"""PET in SUV and CT on one grid: two named inputs, resampling, and the units of a PET."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    Blueprint,
    DicomOutput,
    InputContainer,
    NumpyFactory,
    NumpyGrinder,
    StaticElement,
    Volume,
    blueprints,
)
from dicomnode_example_pet_ct.suv import suv_body_weight_factor

AIR = -1024.0
"""HU, for what lies outside of the CT."""

SUV = blueprints.pet_blueprint + Blueprint(
    [
        StaticElement("Units", "GML"),
        StaticElement("SUVType", "BW"),
        StaticElement("SeriesDescription", "SUV body weight"),
    ]
)
CT_ON_PET = blueprints.ct_blueprint + Blueprint(
    [StaticElement("SeriesDescription", "CT on the grid of the PET")]
)


class Pet(AbstractInput):
    """One attenuation-corrected PET series."""

    required_values = {"Modality": "PT", "Units": {"BQML", "GML"}, "CorrectedImage": "ATTN"}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    image_grinder = NumpyGrinder()
    expected_images = "NumberOfSlices"
    complete_volume = True


class CT(AbstractInput):
    """One CT series of the same examination."""

    required_values = {"Modality": "CT"}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    image_grinder = NumpyGrinder()
    complete_volume = True


class PetCT(AbstractPipeline):
    """Give the PET in SUV, and the CT resampled to the grid of the PET, so that voxels can be compared."""

    inputs = {"pet": Pet, "ct": CT}
    blueprint = SUV
    header_input = "pet"

    def process(self, inputs: InputContainer) -> DicomOutput:
        """Scale the PET, resample the CT, build a series of each."""
        pet, ct = inputs["pet"], inputs["ct"]
        if pet.FrameOfReferenceUID != ct.FrameOfReferenceUID:
            raise ValueError("PET and CT have different frames of reference; register them first")
        factory = NumpyFactory()
        suv = pet.with_array(pet.array * suv_body_weight_factor(pet.sources))
        ct_header = inputs.header_from("ct", CT_ON_PET)
        return DicomOutput(
            [
                *factory.build_series(inputs.header, suv, key="SUV"),
                *factory.build_series(ct_header, resampled(ct, like=pet), key="CT"),
            ]
        )


def resampled(volume: Volume, like: Volume) -> Volume:
    """Interpolate a volume linearly at the voxels of another.

    The affines lead from an index of one over the patient to an index of the other. Where the target's voxels
    are much larger than the source's, smooth the source first: linear interpolation does not average.
    """
    index = np.linalg.inv(volume.affine) @ like.affine
    array = affine_transform(
        volume.array, index[:3, :3], index[:3, 3], output_shape=like.grid, order=1, cval=AIR
    )
    return Volume(array, like.affine, units=volume.units, FrameOfReferenceUID=like.FrameOfReferenceUID)
