"""Slices made to measure, for the tests of geometry."""

import random

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.errors import GeometryError

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def image(position, orientation=AXIAL, *, number=None, rows=4, columns=5, spacing=(1.0, 1.0), **attributes):
    made = Dataset()
    made.SOPInstanceUID = f"1.2.{random.randrange(10**12)}"
    made.Rows, made.Columns = rows, columns
    if position is not None:
        made.ImagePositionPatient = list(position)
        made.ImageOrientationPatient = list(orientation)
    if spacing is not None:
        made.PixelSpacing = list(spacing)
    if number is not None:
        made.InstanceNumber = number
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def stack_of(count, step=2.5, **attributes):
    return [image((0, 0, step * k), number=k + 1, **attributes) for k in range(count)]


def enhanced(heights, **content):
    made = image(None, spacing=None)
    made.NumberOfFrames = len(heights)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), [0.5, 0.75]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number, height in enumerate(heights):
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [Dataset()]
        for keyword, values in content.items():
            setattr(frame.FrameContentSequence[0], keyword, values[number])
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    return made


def fault_of(images):
    """Return the faults and the message of images that form no volume."""
    stack = sort_by_geometry(images)
    with pytest.raises(GeometryError) as caught:
        stack.require_volume()
    return [problem.fault for problem in stack.problems], str(caught.value)


def positions(stack):
    """Return the positions of the images of a stack, in its order."""
    return [tuple(float(p) for p in im.ImagePositionPatient) for im in stack.images]
