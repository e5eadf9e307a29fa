"""Synthetic images: the geometry, values and attributes that were asked for, valid in their IODs."""

import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode import NumpyGrinder
from dicomnode.testing import synthetic_series, synthetic_study
from programs import program

VOLUMES = ["CT", "MR", "PT", "NM", "RTDOSE"]


@pytest.mark.parametrize("modality", VOLUMES)
def test_a_series_is_the_volume_that_was_asked_for(modality):
    """Shape, spacing and values come back through the grinder, whatever the modality's units and frames."""
    array = np.linspace(0, 40, 3 * 4 * 5).reshape(3, 4, 5)
    volume = NumpyGrinder()(
        synthetic_series(modality, array=array, spacing=(2.5, 0.5, 0.75), origin=(1, 2, 3))
    )
    assert volume.array.shape == (3, 4, 5)
    assert np.allclose(volume.spacing, (2.5, 0.5, 0.75))
    assert np.allclose(volume.affine[:3, 3], (1, 2, 3))
    assert np.abs(volume.array - array).max() <= 0.5


@given(
    slices=st.integers(2, 4),
    normal=st.sampled_from(
        [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, -0.8, 0.6, 0)]
    ),
    spacing=st.floats(0.5, 10).map(lambda value: round(value, 3)),
)
@settings(max_examples=20, deadline=None)
def test_any_orientation_forms_a_volume(slices, normal, spacing):
    """Axial, coronal, sagittal and oblique slices are found by the grinder at the asked distance."""
    volume = NumpyGrinder()(
        synthetic_series("MR", (slices, 6, 7), orientation=normal, spacing=(spacing, 1, 2))
    )
    assert volume.array.shape == (slices, 6, 7)
    assert np.allclose(volume.spacing, (spacing, 1, 2), atol=1e-3)


def test_the_same_arguments_give_the_same_images():
    """UIDs follow from patient, study, series and slice: a test can be run again; another series differs."""
    first, again, other = synthetic_series(), synthetic_series(), synthetic_series(series=2)
    assert [image.SOPInstanceUID for image in first] == [image.SOPInstanceUID for image in again]
    assert not {image.SOPInstanceUID for image in first} & {image.SOPInstanceUID for image in other}
    assert len({image.SOPInstanceUID for image in first}) == len(first)
    assert first == again


def test_attributes_are_added_replaced_and_left_out():
    """By keyword: a value, a function of the slice's index, or None."""
    images = synthetic_series(
        "CT", SeriesDescription="mine", AcquisitionNumber=lambda index: index * 10, KVP=None, PatientID="P"
    )
    assert {image.SeriesDescription for image in images} == {"mine"}
    assert [image.AcquisitionNumber for image in images] == [0, 10, 20, 30, 40]
    assert "KVP" not in images[0]
    assert images[0].PatientID == "P"


def test_an_array_of_another_shape_is_refused():
    """Four axes are no series."""
    with pytest.raises(ValueError, match=r"not \(slices, rows, columns\)"):
        synthetic_series(array=np.zeros((2, 2, 2, 2)))


def test_a_study_is_of_one_patient_in_one_frame_of_reference():
    """Its series can be laid on each other."""
    images = synthetic_study(["CT", "PT", "CT"], patient="P7", shape=(2, 8, 8))
    assert len(images) == 6
    assert {image.PatientID for image in images} == {"P7"}
    assert len({image.StudyInstanceUID for image in images}) == 1
    assert len({image.FrameOfReferenceUID for image in images}) == 1
    assert len({image.SeriesInstanceUID for image in images}) == 3


@pytest.mark.peers
@pytest.mark.parametrize("modality", [*VOLUMES, "CR", "US", "ANY"])
def test_images_are_valid(modality, tmp_path):
    """No error is found by dciodvfy."""
    file = tmp_path / "image.dcm"
    synthetic_series(modality)[0].save_as(file, enforce_file_format=True)
    found = subprocess.run([program("dciodvfy"), file], capture_output=True, text=True, check=False).stderr
    assert [line for line in found.splitlines() if line.startswith("Error")] == []
