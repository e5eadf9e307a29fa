"""The segmentation: its voxels, what it refers to, and what highdicom makes of it."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from dicomnode import NumpyGrinder

SHAPE = (4, 16, 20)
BONE = 700.0


@pytest.fixture
def phantom():
    """Return a CT of air with a block of bone that is not symmetric in any direction."""
    array = np.full(SHAPE, -1000.0)
    array[1:3, 2:5, 7:15] = BONE
    return array


def mask_of(segmentation, images):
    """Return the first segment as highdicom reads it, slice by slice as the volume of the images has them."""
    read = highdicom.seg.Segmentation.from_dataset(segmentation)
    uids = [image.SOPInstanceUID for image in NumpyGrinder()(images).sources]
    return read.get_pixels_by_source_instance(
        uids, segment_numbers=[1], assert_missing_frames_are_empty=True
    )[..., 0]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_voxels(phantom, synthetic_series, run_pipeline, turn):
    """Exactly the voxels above the threshold are marked, on the right slices, in any order of arrival."""
    images = synthetic_series("CT", array=phantom)[::turn]
    (made,) = run_pipeline("threshold-seg", images)
    assert np.array_equal(mask_of(made, images), phantom > 300)


def test_what_it_is(phantom, synthetic_series, run_pipeline):
    """A binary segmentation of the CT's study and frame of reference, with bone as its only segment."""
    images = synthetic_series("CT", array=phantom)
    result = run_pipeline("threshold-seg", images)
    made = result[0]
    assert (made.Modality, made.SegmentationType) == ("SEG", "BINARY")
    assert made.StudyInstanceUID == images[0].StudyInstanceUID
    assert made.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    (segment,) = made.SegmentSequence
    assert segment.SegmentLabel == "Bone"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "272673000"
    assert result.warnings == ()


def test_the_threshold_is_a_setting(phantom, synthetic_series, run_pipeline):
    """Above everything there is nothing to deliver."""
    images = synthetic_series("CT", array=phantom)
    assert run_pipeline("threshold-seg", images, settings={"threshold": BONE}) == []
    assert len(run_pipeline("threshold-seg", images, settings={"threshold": BONE - 1})) == 1


def test_over_the_network(phantom, synthetic_series, start_host):
    """Sent by C-STORE, the segmentation arrives at the peer."""
    host = start_host("threshold-seg", threshold=500.0)
    assert set(host.send(synthetic_series("CT", array=phantom))) == {0}
    host.wait_for_jobs()
    assert [image.Modality for image in host.peer.received] == ["SEG"]
