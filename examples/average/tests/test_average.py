"""The average of series: on arrays, through the pipeline, and over the network."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode import NumpyGrinder, errors

SHAPE = (4, 16, 16)


@pytest.fixture
def repeats(synthetic_series):
    """Return a function that makes the images of some repeats, each with noise of its own."""

    def make(count: int):
        noise = np.random.default_rng(7)
        arrays = [noise.integers(0, 1000, SHAPE) for _ in range(count)]
        images = [
            image
            for number, array in enumerate(arrays, 1)
            for image in synthetic_series("MR", series=number, array=array)
        ]
        return images, np.mean(arrays, axis=0)

    return make


def test_the_mean(repeats, run_pipeline):
    """Three series become one new series with the mean of each voxel, where the sources lie."""
    images, mean = repeats(3)
    result = run_pipeline("average", images)
    volume = NumpyGrinder()(result)
    assert np.abs(volume.array - mean).max() <= 0.51 * float(result[0].get("RescaleSlope", 1)) + 1e-3
    assert np.allclose(volume.affine, NumpyGrinder()(images[:4]).affine)
    assert {image.SeriesInstanceUID for image in result}.isdisjoint(i.SeriesInstanceUID for i in images)
    assert result[0].ImageType[0] == "DERIVED"
    assert result.warnings == ()


def test_the_order_of_arrival_does_not_matter(repeats, run_pipeline):
    """Interleaved series give the same instances."""
    images, _ = repeats(2)
    assert run_pipeline("average", images[::-1]) == run_pipeline("average", images)


def test_one_series_is_not_enough(repeats, run_pipeline):
    """The pipeline waits, and says what for."""
    images, _ = repeats(1)
    with pytest.raises(errors.InputsIncompleteError, match="needs 2"):
        run_pipeline("average", images)


def test_a_series_that_is_not_whole(repeats, run_pipeline):
    """While one series is shorter than the other, the pipeline waits."""
    images, _ = repeats(2)
    with pytest.raises(errors.InputsIncompleteError, match=r"\[3, 4\] images"):
        run_pipeline("average", images[:-1])


def test_other_grids(synthetic_series, run_pipeline):
    """Series that lie elsewhere are no repeats: the job fails, and says why."""
    moved = synthetic_series("MR", SHAPE, series=2, origin=(5.0, 0.0, 0.0))
    with pytest.raises(errors.JobFailedError, match="one grid"):
        run_pipeline("average", synthetic_series("MR", SHAPE) + moved)


def test_over_the_network(repeats, start_host):
    """Two associations, one study, one job, when no more comes."""
    images, _ = repeats(2)
    host = start_host({"average": {"settle": "2 s"}})
    assert set(host.send(images[:4]) + host.send(images[4:])) == {0}
    host.wait_for_jobs()
    assert len(host.peer.received) == 4
