"""What the IODs ask of Pixel Data."""

import numpy as np
import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
)

from built_results import AFFINE, FACTORY, MR, PET, build, header_of
from dicomnode.dicom.building.pixel_rules import Frames, Scaling, pixel_rules
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.iod import iod_of
from sources import dose_grid


def test_a_pet_has_a_slope_and_no_intercept():
    """RescaleIntercept of PET is always 0 (PS3.3 C.8.9.4)."""
    array = np.linspace(500, 900, 24).reshape(2, 3, 4)
    built = build(array, PET)
    assert {image.RescaleIntercept for image in built} == {0}
    assert built[0].Units == "BQML"


def test_a_dose_is_scaled_by_one_number():
    """DoseGridScaling, frame offsets along the normal, and no rescale (PS3.3 C.8.8.3)."""
    header = header_of("rt_dose", lambda: [dose_grid()])
    (dose,) = FACTORY.build_series(header, Volume(np.linspace(0, 60, 60).reshape(3, 4, 5), AFFINE))
    assert "RescaleSlope" not in dose
    assert [float(offset) for offset in dose.GridFrameOffsetVector] == [0, 2.5, 5]
    assert (
        np.abs(dose.pixel_array * float(dose.DoseGridScaling) - np.linspace(0, 60, 60).reshape(3, 4, 5)).max()
        < 1e-6
    )


def test_whole_numbers_of_an_mr_need_no_rescale():
    """An identity is left out where the IOD has no Modality LUT module."""
    assert "RescaleSlope" not in build(np.ones((2, 3, 4), "u2"), MR)[0]
    assert "RescaleSlope" in build(np.full((2, 3, 4), 0.1), MR)[0]


@pytest.mark.parametrize(
    ("sop_class", "frames", "scaling", "bits"),
    [
        (CTImageStorage, Frames.SINGLE, Scaling.RESCALE, (16,)),
        (PositronEmissionTomographyImageStorage, Frames.SINGLE, Scaling.SLOPE, (16,)),
        (RTDoseStorage, Frames.PLAIN, Scaling.DOSE, (32, 16)),
        (EnhancedMRImageStorage, Frames.ENHANCED, Scaling.FRAME, (16, 8)),
        (ParametricMapStorage, Frames.ENHANCED, Scaling.REAL_WORLD, (16,)),
        ("1.2.3", Frames.SINGLE, Scaling.RESCALE, (16, 8, 32)),
    ],
)
def test_a_sop_class_has_its_rules(sop_class, frames, scaling, bits):
    """Frames, scaling and bits as the IODs say; a class that nobody knows may have all."""
    rules = pixel_rules(sop_class)
    assert (rules.frames, rules.scaling, rules.allocated) == (frames, scaling, bits)


def test_rules_agree_with_the_iod_tables():
    """Functional groups, dose scaling and frames are attributes of the IODs that are said to have them."""
    for uid in UID_dictionary:
        iod = iod_of(uid)
        rules = pixel_rules(uid)
        if iod is None or not iod.is_image:
            continue
        if rules.frames is Frames.ENHANCED:
            assert "PerFrameFunctionalGroupsSequence" in iod.attributes, uid
        if rules.frames is Frames.PLAIN:
            assert "NumberOfFrames" in iod.attributes, uid
        if rules.scaling is Scaling.DOSE:
            assert "DoseGridScaling" in iod.attributes, uid
        if rules.scaling is Scaling.SLOPE:
            assert "RescaleSlope" in iod.attributes, uid
