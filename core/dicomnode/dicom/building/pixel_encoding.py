"""From an array to stored values, and the attributes that describe them (PS3.3 C.7.6.3, C.11.1, C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode.dicom.building.pixel_rules import PixelRules, Scaling
from dicomnode.dicom.building.rescale import (
    Rescale,
    StoredFormat,
    ValueRange,
    choose_rescale,
    decimal_string,
    quantise,
)
from dicomnode.dicom.building.value_range import finite_range, replace_nonfinite, value_range
from dicomnode.dicom.values.value_checks import trusted_element
from dicomnode.errors import PixelDataError

Window = Literal["auto"] | tuple[float, float] | None
"""``"auto"``, (centre, width) in physical units, or none."""
RescaleOption = Literal["auto"] | tuple[float, float] | None
"""``"auto"``, (slope, intercept), or ``None`` for stored values as they are."""

_BYTE: Final = 8
_COLOURS: Final = 3
_BRIGHTEST: Final = 0xFF
_LINEAR_WIDTH: Final = 1.0  # the least width that the VOI LUT function LINEAR allows (PS3.3 C.11.2.1.2.1)


@dataclass(frozen=True)
class EncodingOptions:
    """How an array is to be stored; see :meth:`NumpyFactory.build_series`."""

    rescale: RescaleOption = "auto"
    per_slice: bool = False
    bits: int | None = None
    bits_stored: int | None = None
    signed: bool | None = None
    window: Window = "auto"
    nonfinite: float | None = None


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """Stored values and how they become physical ones.

    Parameters
    ----------
    pixels : ndarray
        Little endian, C-contiguous, shape (slices, rows, columns[, 3]).
    stored : StoredFormat or None
        Bits and signedness; ``None`` for floating point pixels.
    rescales : tuple of Rescale
        One for all slices, or one each.
    window : (float, float), or None
        Centre and width.
    exact_window : bool
        Whether the window is narrower than the function LINEAR allows.
    """

    pixels: NDArray[Any]
    stored: StoredFormat | None
    rescales: tuple[Rescale, ...] = (Rescale(),)
    window: tuple[float, float] | None = None
    exact_window: bool = False
    colour: bool = field(default=False)

    def rescale(self, index: int) -> Rescale:
        """Return the rescale of a slice."""
        return self.rescales[index if len(self.rescales) > 1 else 0]


def encode_pixels(
    slices: NDArray[Any], options: EncodingOptions, rules: PixelRules, *, colour: bool = False
) -> StoredPixels:
    """Choose how an array is stored, and store it.

    Parameters
    ----------
    slices : ndarray, shape (slices, rows, columns) or (slices, rows, columns, 3)
        Real numbers, native byte order.
    options : EncodingOptions
        What the caller wants.
    rules : PixelRules
        What the SOP class allows.
    colour : bool
        Whether the last axis holds red, green and blue.

    Raises
    ------
    PixelDataError
        When it cannot be done, with the reason.
    """
    if rules.colour is not None and rules.colour != colour:
        raise PixelDataError(
            f"the SOP class holds {'colour' if rules.colour else 'grayscale'} images, but the array is"
            f" {'colour' if colour else 'grayscale'}"
            + ("" if colour else "; pass rgb=True for a last axis of 3")
        )
    if colour:
        return _colour(slices)
    if rules.scaling is Scaling.REAL_WORLD and slices.dtype.kind == "f" and options.bits is None:
        slices = replace_nonfinite(slices, options.nonfinite)
        return StoredPixels(np.ascontiguousarray(slices, slices.dtype.newbyteorder("<")), None)
    return _grayscale(slices, _complete(options, slices.dtype, rules), rules)


def _colour(slices: NDArray[Any]) -> StoredPixels:
    """Store red, green and blue in eight bits each (PS3.3 C.7.6.3.1.2)."""
    values = value_range(replace_nonfinite(slices, None))
    if not values.whole or values.lowest < 0 or values.highest > _BRIGHTEST:
        raise PixelDataError(
            f"colour is stored as whole numbers from 0 to 255, but the array goes from {values.lowest:g} to"
            f" {values.highest:g} ({slices.dtype}); scale it and cast it to uint8 first"
        )
    return StoredPixels(np.ascontiguousarray(slices, np.uint8), StoredFormat(8, 8), colour=True)


def _complete(options: EncodingOptions, dtype: np.dtype[Any], rules: PixelRules) -> EncodingOptions:
    """Fill in bits, and check what the caller chose."""
    bits = options.bits
    if bits is None:
        small = dtype.kind == "b" or dtype == np.uint8
        bits = (
            _BYTE
            if small and _BYTE in rules.allocated and rules.scaling is not Scaling.SLOPE
            else rules.allocated[0]
        )
    if bits not in rules.allocated:
        allowed = " or ".join(map(str, sorted(rules.allocated)))
        raise PixelDataError(f"bits={bits}: the SOP class allows {allowed} bits for a pixel")
    stored = options.bits_stored or bits
    if not 1 <= stored <= bits:
        raise PixelDataError(f"bits_stored={stored} does not fit into bits={bits}")
    if rules.unsigned and options.signed:
        raise PixelDataError("signed=True: the SOP class stores unsigned values only")
    return replace(options, bits=bits, bits_stored=stored, signed=False if rules.unsigned else options.signed)


def _grayscale(slices: NDArray[Any], options: EncodingOptions, rules: PixelRules) -> StoredPixels:
    slices, whole = finite_range(slices, options.nonfinite)
    if not options.per_slice:
        stored, rescale = _choose(whole, options, rules)
        rescales: tuple[Rescale, ...] = (rescale,)
    else:
        if rules.scaling not in (Scaling.RESCALE, Scaling.SLOPE, Scaling.FRAME):
            raise PixelDataError(
                f"per_slice=True: the SOP class has one scaling for all frames ({rules.scaling.value})"
            )
        signed = options.signed if options.signed is not None or whole.lowest >= 0 else True
        chosen = [_choose(value_range(part), replace(options, signed=signed), rules) for part in slices]
        stored = chosen[0][0]
        rescales = tuple(rescale for _, rescale in chosen)
    pixels = np.empty(slices.shape, stored.dtype)
    if len(rescales) == 1:
        quantise(slices, rescales[0], pixels)
    else:
        for part, rescale, out in zip(slices, rescales, pixels, strict=True):
            quantise(part, rescale, out)
    window, exact = _window(options.window, whole) if rules.window else (None, False)
    return StoredPixels(pixels, stored, rescales, window, exact)


def _choose(values: ValueRange, options: EncodingOptions, rules: PixelRules) -> tuple[StoredFormat, Rescale]:
    """Choose format and rescale of a range of values, or check those that the caller chose."""
    bits, bits_stored = options.bits or 16, options.bits_stored or 16
    if rules.scaling is Scaling.IDENTITY or options.rescale is None:
        return _as_they_are(values, options, bits, bits_stored)
    if options.rescale == "auto":
        signed = False if rules.scaling is Scaling.DOSE and values.lowest >= 0 else options.signed
        return choose_rescale(
            values,
            allocated=bits,
            stored=bits_stored,
            signed=signed,
            zero_intercept=rules.scaling in (Scaling.SLOPE, Scaling.DOSE),
        )
    rescale = Rescale.of(*options.rescale)
    if rules.scaling in (Scaling.SLOPE, Scaling.DOSE) and rescale.intercept != 0.0:
        raise PixelDataError(f"rescale={options.rescale}: the SOP class has no intercept but 0")
    ends = sorted(
        round((float(end) - rescale.intercept) / rescale.slope) for end in (values.lowest, values.highest)
    )
    for signed in (False, True) if options.signed is None else (options.signed,):
        stored = StoredFormat(bits, bits_stored, signed)
        if ends[0] >= stored.lowest and ends[1] <= stored.highest:
            return stored, rescale
    raise PixelDataError(
        f"rescale={options.rescale}: values from {values.lowest:g} to {values.highest:g} would be stored as"
        f" {ends[0]} to {ends[1]}, which {bits_stored} bits cannot hold"
    )


def _as_they_are(
    values: ValueRange, options: EncodingOptions, bits: int, bits_stored: int
) -> tuple[StoredFormat, Rescale]:
    for signed in (False, True) if options.signed is None else (options.signed,):
        stored = StoredFormat(bits, bits_stored, signed)
        if values.fits(stored):
            return stored, Rescale()
    kind = "" if values.whole else ", not all whole,"
    raise PixelDataError(
        f"values from {values.lowest:g} to {values.highest:g}{kind} cannot be stored as they are in"
        f" {bits_stored} bits, and there is no rescale; round and scale them first,"
        " or use a SOP class with a rescale"
    )


def _window(window: Window, values: ValueRange) -> tuple[tuple[float, float] | None, bool]:
    """Return centre and width that show the whole range (PS3.3 C.11.2.1.2)."""
    if window is None:
        return None, False
    if window != "auto":
        centre, width = float(window[0]), float(window[1])
        if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
            raise PixelDataError(f"window={window}: a centre and a width greater than 0 are needed")
        return (centre, width), width < _LINEAR_WIDTH
    lowest, highest = float(values.lowest), float(values.highest)
    # Halved before they are added: the sum of two numbers near the end of a double would be infinite.
    middle, span = lowest / 2 + highest / 2, highest - lowest
    if not np.isfinite(span):
        return None, False
    # LINEAR shows c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2 (PS3.3 C.11.2.1.2.1): the half and the one
    # more make that the lowest to the highest value.
    if values.whole:
        return (middle + 0.5 if span else middle, span + 1.0 if span else 1.0), False
    if span >= _LINEAR_WIDTH or span == 0.0:
        return (middle, max(span, 1.0)), False
    return (middle, span), True


def write_pixel_attributes(dataset: Dataset, stored: StoredPixels, frames: int | None = None) -> None:
    """Write the Image Pixel module, without the pixels (PS3.3 C.7.6.3).

    Parameters
    ----------
    dataset : Dataset
        Is changed.
    stored : StoredPixels
        What is described.
    frames : int, optional
        NumberOfFrames, for multi-frame images.
    """
    rows, columns = stored.pixels.shape[1:3]
    dataset.SamplesPerPixel = _COLOURS if stored.colour else 1
    dataset.PhotometricInterpretation = "RGB" if stored.colour else "MONOCHROME2"
    if stored.colour:
        dataset.PlanarConfiguration = 0
    if frames is not None:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = rows, columns
    if stored.stored is None:
        dataset.BitsAllocated = stored.pixels.dtype.itemsize * 8
        return
    dataset.BitsAllocated = stored.stored.allocated
    dataset.BitsStored = stored.stored.stored
    dataset.HighBit = stored.stored.stored - 1
    dataset.PixelRepresentation = int(stored.stored.signed)


def write_rescale(dataset: Dataset, rescale: Rescale) -> None:
    """Write RescaleSlope and RescaleIntercept."""
    dataset.RescaleIntercept = rescale.intercept_text
    dataset.RescaleSlope = rescale.slope_text


def rescale_elements(rescale: Rescale) -> dict[BaseTag, DataElement]:
    """Return RescaleSlope and RescaleIntercept as elements."""
    elements = (
        trusted_element("RescaleIntercept", "DS", rescale.intercept_text),
        trusted_element("RescaleSlope", "DS", rescale.slope_text),
    )
    return {element.tag: element for element in elements}


def write_window(dataset: Dataset, stored: StoredPixels) -> None:
    """Write WindowCenter and WindowWidth, if there is a window."""
    if stored.window is None:
        return
    dataset.WindowCenter = decimal_string(stored.window[0])
    dataset.WindowWidth = decimal_string(stored.window[1])
    if stored.exact_window:
        dataset.VOILUTFunction = "LINEAR_EXACT"


def pixel_element(stored: StoredPixels) -> tuple[str, str]:
    """Return keyword and VR of the pixels: OB for eight bits, OW above, OF and OD for floats (PS3.5 A.2)."""
    if stored.stored is not None:
        return "PixelData", "OB" if stored.stored.allocated <= _BYTE else "OW"
    if stored.pixels.dtype.itemsize == np.dtype(np.float32).itemsize:
        return "FloatPixelData", "OF"
    return "DoubleFloatPixelData", "OD"


__all__ = ["EncodingOptions", "RescaleOption", "StoredPixels", "Window", "encode_pixels"]
