"""Smooth one CT or MR series: the smallest complete pipeline, to copy from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicomnode import AbstractInput, AbstractPipeline, DicomOutput, InputContainer, NumpyFactory, NumpyGrinder


class Series(AbstractInput):
    """One CT or MR series, which ``process`` receives as a volume."""

    required_values = {"Modality": {"CT", "MR"}}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    image_grinder = NumpyGrinder()


@dataclass(frozen=True)
class Settings:
    """What a site can set.

    Attributes
    ----------
    sigma : float
        Width of the Gaussian in the slice plane, in pixels.
    """

    sigma: float = 1.5


class Smooth(AbstractPipeline):
    """Smooth each slice with a Gaussian and return the result as a derived series."""

    inputs = {"series": Series}
    Settings = Settings

    def process(self, inputs: InputContainer) -> DicomOutput:
        """Smooth the volume and build a series that lies where the source lies."""
        smoothed = gaussian(np.asarray(inputs["series"]), self.settings.sigma)
        return DicomOutput(NumpyFactory().build_series(inputs.header, smoothed))


def gaussian(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve rows and columns of every slice with a Gaussian; the border is repeated."""
    reach = max(1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (-2, -1):
        padding = [(0, 0)] * volume.ndim
        padding[axis] = (reach, reach)
        padded = np.pad(volume, padding, mode="edge")
        length = volume.shape[axis]
        volume = sum(weight * np.take(padded, range(k, k + length), axis) for k, weight in enumerate(weights))
    return volume.astype(np.float32)
