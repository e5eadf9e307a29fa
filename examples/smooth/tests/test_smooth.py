"""Smoothing: on arrays, through the pipeline, and over the network."""

from __future__ import annotations

import numpy as np
import pytest
from dicomnode_example_smooth import gaussian

from dicomnode import NumpyGrinder, errors


def test_a_gaussian():
    """A point becomes a Gaussian of the given width, nothing is lost, and a constant stays as it is."""
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 1.0
    smoothed = gaussian(point, 2.0)[0]
    offset = np.arange(41) - 20
    assert smoothed.sum() == pytest.approx(1.0, rel=1e-3)
    assert (smoothed.sum(axis=0) * offset**2).sum() == pytest.approx(4.0, rel=0.05)
    assert np.allclose(gaussian(np.full((2, 8, 8), 7.0), 1.5), 7.0)


def test_the_pipeline(synthetic_series, run_pipeline):
    """The result is the smoothed volume, in a new series that lies where the source lies."""
    images = synthetic_series("MR")
    result = run_pipeline("smooth", images, settings={"sigma": 2.0})
    source, made = NumpyGrinder()(images), NumpyGrinder()(result)
    assert np.abs(made.array - gaussian(source.array, 2.0)).max() <= 0.51 * float(result[0].RescaleSlope)
    assert np.allclose(made.affine, source.affine)
    assert result.warnings == ()


def test_other_modalities(synthetic_series, run_pipeline):
    """A PET is refused when it arrives."""
    with pytest.raises(errors.ImageRefusedError, match="Modality is PT"):
        run_pipeline("smooth", synthetic_series("PT"))


def test_over_the_network(synthetic_series, start_host):
    """Sent by C-STORE, the smoothed series arrives at the peer."""
    host = start_host("smooth", sigma=1.0)
    assert set(host.send(synthetic_series("CT"))) == {0}
    host.wait_for_jobs()
    assert len(host.peer.received) == 5
