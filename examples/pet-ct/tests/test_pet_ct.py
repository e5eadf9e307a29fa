"""Resampling against a function that is known everywhere, and the whole pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from dicomnode_example_pet_ct import AIR, resampled
from pydicom.dataset import Dataset

from dicomnode import NumpyGrinder, Volume, errors

PET = {"shape": (4, 8, 8), "spacing": (3.0, 4.0, 4.0), "origin": (2.0, 2.0, 3.0)}
CT = {"shape": (9, 30, 30), "spacing": (2.0, 1.5, 1.5)}


def ramp(points):
    """Return a value that rises linearly in every direction of the patient."""
    return points @ np.array([3.0, -2.0, 5.0])


def grid_points(volume):
    """Return where the voxels of a volume lie."""
    return volume.to_patient(np.stack(np.meshgrid(*map(np.arange, volume.grid), indexing="ij"), axis=-1))


@pytest.fixture
def examination(synthetic_series):
    """Return the images of a PET of 350 MBq at the start of the scan, and of a CT."""
    isotope = Dataset()
    isotope.RadionuclideTotalDose, isotope.RadionuclideHalfLife = 350e6, 6586.2
    isotope.RadiopharmaceuticalStartTime = "101500"
    isotope.RadionuclideCodeSequence = []
    pet = synthetic_series("PT", **PET, RadiopharmaceuticalInformationSequence=[isotope])
    return pet, synthetic_series("CT", **CT, series=2)


def test_a_linear_function_is_met_exactly():
    """Linear interpolation of a ramp on another, tilted grid gives the ramp there; outside is air."""
    source = Volume(
        np.zeros((10, 20, 30)), np.array([[0, 0, 2, -5], [0, 3, 0, 4], [4, 0, 0, 7], [0, 0, 0, 1.0]])
    )
    source = source.with_array(ramp(grid_points(source)))
    turn = np.array([[0.1, 0.2, 1.0, 10], [0.2, 1.0, -0.1, 20], [1.5, 0.1, 0.1, 15], [0, 0, 0, 1.0]])
    target = Volume(np.zeros((6, 7, 8)), turn)
    made = resampled(source, like=target)
    assert np.allclose(made.array, ramp(grid_points(target)))
    far = Volume(np.zeros((2, 2, 2)), turn + np.array([[0, 0, 0, 1e4]] * 3 + [[0, 0, 0, 0]]))
    assert (resampled(source, like=far).array == AIR).all()


def test_the_pipeline(examination, run_pipeline):
    """Two series on the grid of the PET: SUV, and the CT."""
    pet, ct = examination
    result = run_pipeline("pet-ct", ct + pet)
    assert result.warnings == ()
    suv = NumpyGrinder()([image for image in result if image.Modality == "PT"])
    made_ct = NumpyGrinder()([image for image in result if image.Modality == "CT"])
    source = NumpyGrinder()(pet)
    assert suv.units == "GML"
    assert np.allclose(suv.array, source.array * 70000 / 350e6, atol=1e-4)
    assert np.allclose(made_ct.affine, source.affine)
    assert np.allclose(suv.affine, source.affine)
    expected = resampled(NumpyGrinder()(ct), like=source)
    assert np.abs(made_ct.array - expected.array).max() <= 0.5
    assert {image.SUVType for image in result if image.Modality == "PT"} == {"BW"}


def test_one_without_the_other(examination, run_pipeline):
    """The pipeline waits for both, and for every slice of the PET."""
    pet, ct = examination
    with pytest.raises(errors.InputsIncompleteError, match="ct"):
        run_pipeline("pet-ct", pet)
    with pytest.raises(errors.InputsIncompleteError, match="3 of 4 images"):
        run_pipeline("pet-ct", ct + pet[:3])


def test_a_pet_without_attenuation_correction(synthetic_series, run_pipeline):
    """It is refused when it arrives: it could not be quantified."""
    with pytest.raises(errors.ImageRefusedError, match="CorrectedImage"):
        run_pipeline("pet-ct", synthetic_series("PT", CorrectedImage=["DECY"]))


def test_over_the_network(examination, start_host):
    """PET and CT come by two associations; the job starts when both are whole."""
    pet, ct = examination
    host = start_host("pet-ct")
    assert set(host.send(pet) + host.send(ct)) == {0}
    host.wait_for_jobs()
    assert sorted({image.Modality for image in host.peer.received}) == ["CT", "PT"]
