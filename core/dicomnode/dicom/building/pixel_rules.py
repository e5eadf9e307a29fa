"""What the IODs ask of Pixel Data: bits, rescale, one frame or many (PS3.3 annex A and the modules named)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    MRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
)


class Frames(Enum):
    """How the slices of an array are spread over instances."""

    SINGLE = "an instance for each slice"
    PLAIN = "all slices as frames of one instance"
    ENHANCED = "all slices as frames of one instance, with functional groups"


class Scaling(Enum):
    """Where an IOD keeps the way from stored to physical values."""

    RESCALE = "RescaleSlope and RescaleIntercept"
    SLOPE = "RescaleSlope; RescaleIntercept is 0"
    DOSE = "DoseGridScaling"
    IDENTITY = "none: stored values are the values"
    FRAME = "PixelValueTransformationSequence"
    REAL_WORLD = "RealWorldValueMappingSequence, or floating point pixels"


@dataclass(frozen=True)
class PixelRules:
    """What one SOP class asks.

    Parameters
    ----------
    allocated : tuple of int
        BitsAllocated that may be, the usual one first.
    scaling : Scaling
        Where slope and intercept go.
    frames : Frames
        How many frames an instance has.
    unsigned : bool
        Whether stored values are never negative.
    window : bool
        Whether a window (VOI LUT) may be written.
    colour : bool or None
        Whether pixels are colour; ``None`` where both may be.
    """

    allocated: tuple[int, ...] = (16, 8, 32)
    scaling: Scaling = Scaling.RESCALE
    frames: Frames = Frames.SINGLE
    unsigned: bool = False
    window: bool = True
    colour: bool | None = None


_RULES: Final = {
    CTImageStorage: PixelRules((16,), colour=False),  # C.8.2.1
    MRImageStorage: PixelRules((16,), colour=False),  # C.8.3.1
    PositronEmissionTomographyImageStorage: PixelRules((16,), Scaling.SLOPE, colour=False),  # C.8.9.4
    NuclearMedicineImageStorage: PixelRules((16, 8), frames=Frames.PLAIN, colour=False),  # C.8.4.8
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage: PixelRules(  # A.8.3.4
        (8,), Scaling.IDENTITY, Frames.PLAIN, unsigned=True, colour=False
    ),
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage: PixelRules(  # A.8.4.4
        (16,), Scaling.IDENTITY, Frames.PLAIN, unsigned=True, colour=False
    ),
    MultiFrameTrueColorSecondaryCaptureImageStorage: PixelRules(  # A.8.5.4
        (8,), Scaling.IDENTITY, Frames.PLAIN, unsigned=True, window=False, colour=True
    ),
    RTDoseStorage: PixelRules(  # C.8.8.3
        (32, 16), Scaling.DOSE, Frames.PLAIN, window=False, colour=False
    ),
    EnhancedCTImageStorage: PixelRules((16,), Scaling.FRAME, Frames.ENHANCED, colour=False),  # C.8.15.2
    EnhancedMRImageStorage: PixelRules((16, 8), Scaling.FRAME, Frames.ENHANCED, colour=False),  # C.8.13.1
    EnhancedPETImageStorage: PixelRules((16,), Scaling.FRAME, Frames.ENHANCED, colour=False),  # C.8.22.3
    ParametricMapStorage: PixelRules(  # C.8.32.2
        (16,), Scaling.REAL_WORLD, Frames.ENHANCED, window=False, colour=False
    ),
}
_ANY: Final = PixelRules()


def pixel_rules(SOPClassUID: str) -> PixelRules:  # noqa: N803 - DICOM's own spelling
    """Return what a SOP class asks of its pixels; of an unknown one nothing.

    Parameters
    ----------
    SOPClassUID : str
        The SOP class.
    """
    return next((rules for uid, rules in _RULES.items() if uid == SOPClassUID), _ANY)


__all__ = ["Frames", "PixelRules", "Scaling", "pixel_rules"]
