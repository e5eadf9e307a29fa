"""Average repeated MR series of one study: an input that takes several series."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydicom.dataset import Dataset

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    DicomOutput,
    DicomTree,
    InputContainer,
    NumpyFactory,
    NumpyGrinder,
    Volume,
)

FEWEST = 2


def volume_of_each_series(images: Iterable[Dataset]) -> list[Volume]:
    """Turn the images of an input into one volume a series: any function can be a grinder."""
    tree = DicomTree()
    tree.add_images(images)
    return [
        NumpyGrinder()(series)
        for patient in tree.patients.values()
        for study in patient.studies.values()
        for series in study.series.values()
    ]


class Repeats(AbstractInput):
    """The repeats of one MR acquisition: two series or more, each as long as the others."""

    required_values = {"Modality": "MR"}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    several_series = True
    image_grinder = staticmethod(volume_of_each_series)

    def validate(self) -> str | None:
        """Say what is missing. A series that is shorter than another has not come to its end."""
        series = [image.SeriesInstanceUID for image in self]
        lengths = {uid: series.count(uid) for uid in series}
        if len(lengths) < FEWEST:
            return f"{len(lengths)} series; an average needs {FEWEST}"
        if len(set(lengths.values())) > 1:
            return f"the series have {sorted(lengths.values())} images"
        return None


class Average(AbstractPipeline):
    """Average all series of a study, voxel by voxel.

    Nothing in an image says how many repeats there are, so a job starts when no more come: half a minute
    after the end of the last association that brought one.
    """

    inputs = {"repeats": Repeats}
    settle = 30.0

    def process(self, inputs: InputContainer) -> DicomOutput:
        """Check that all series lie on one grid, and build their mean as a series on that grid."""
        volumes: list[Volume] = inputs["repeats"]
        first = volumes[0]
        for volume in volumes[1:]:
            if volume.shape != first.shape or not np.allclose(volume.affine, first.affine, atol=0.01):
                raise ValueError("the series do not lie on one grid; register and resample them first")
        mean = np.mean([volume.array for volume in volumes], axis=0)
        return DicomOutput(NumpyFactory().build_series(inputs.header, first.with_array(mean)))
