"""From stored to physical values: rescale, Modality LUT, dose scaling, real world values (PS3.3 C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import ParametricMapStorage

from dicomnode.dicom.reading.pixels import PixelLayout, image_name
from dicomnode.dicom.reading.planes import Plane
from dicomnode.errors import PixelDataError

_FLOAT32_DIGITS: Final = 2.0**-24
_FLOAT32_SMALLEST: Final = float(np.finfo(np.float32).tiny)
_FLOAT32_LARGEST: Final = float(np.finfo(np.float32).max)
# float32 has 24 bits: it is off by 2**-24 of a value at most. Of the largest value that may be a 64th of the
# slope, far less than the half by which quantisation is off, so that no two stored values become one.
_FINE: Final = 64
_HOUNSFIELD: Final = "HU"
_UNSPECIFIED: Final = "US"


@dataclass(frozen=True, slots=True)
class Linear:
    """``slope * stored + intercept``, and the unit of the result.

    Parameters
    ----------
    slope, intercept : float
        As written in the image.
    units : str or None
        ``"HU"``, ``"BQML"``, ``"GY"``, ...
    """

    slope: float = 1.0
    intercept: float = 0.0
    units: str | None = None

    def into(self, stored: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the physical values of a slice into an array of floats or integers."""
        if self.slope == 1.0 and self.intercept == 0.0:
            fits = out.dtype.kind == "f" or np.can_cast(stored.dtype, out.dtype)
            np.copyto(out, stored if fits else _whole(stored, out.dtype), casting="unsafe")
            return
        if out.dtype.kind != "f":
            out[...] = _whole(stored * self.slope + self.intercept, out.dtype)
            return
        np.copyto(out, stored, casting="unsafe")  # at once: half the time of casting within the operation
        if self.slope != 1.0:
            out *= out.dtype.type(self.slope)
        if self.intercept:
            out += out.dtype.type(self.intercept)

    def needs_double(self, layout: PixelLayout) -> bool:
        """Return whether float32 would lose what the stored values tell apart."""
        if layout.keyword == "DoubleFloatPixelData":
            return True
        if layout.keyword == "FloatPixelData":
            return False
        largest = abs(self.slope) * 2.0**layout.stored + abs(self.intercept)
        if abs(self.slope) < _FLOAT32_SMALLEST or not largest < _FLOAT32_LARGEST:
            return True
        if self.slope == int(self.slope) and self.intercept == int(self.intercept):
            return largest > 1 / _FLOAT32_DIGITS
        return not largest * _FLOAT32_DIGITS * _FINE <= abs(self.slope)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A Modality LUT: a table of values."""

    image: Dataset
    units: str | None = None

    def into(self, stored: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the physical values of a slice."""
        try:
            out[...] = apply_modality_lut(stored, self.image)
        except Exception as error:
            raise PixelDataError(
                f"{image_name(self.image)}: its Modality LUT cannot be used: {error}"
            ) from error

    def needs_double(self, layout: PixelLayout) -> bool:  # noqa: ARG002 - entries have 16 bits at most
        """Return ``False``."""
        return False


Transform = Linear | Lookup


def transform_of(plane: Plane) -> Transform:
    """Return how the stored values of a plane become physical ones.

    In this order: a parametric map's linear RealWorldValueMapping, the frame's PixelValueTransformation
    (enhanced images), a Modality LUT, DoseGridScaling, RescaleSlope and RescaleIntercept, the values
    themselves.

    Parameters
    ----------
    plane : Plane
        A grayscale plane.

    Raises
    ------
    PixelDataError
        When slope or intercept are no finite numbers, or the slope is zero.
    """
    image = plane.header
    if image.get("SOPClassUID") == ParametricMapStorage:
        for group in plane.groups:
            if items := group.get("RealWorldValueMappingSequence"):
                return _real_world(image, items[0])
    for group in plane.groups:
        if items := group.get("PixelValueTransformationSequence"):
            return _linear(image, items[0], units=_rescale_units(image, items[0]))
    if image.get("ModalityLUTSequence"):
        return Lookup(plane.image, str(image.ModalityLUTSequence[0].get("ModalityLUTType") or "") or None)
    if image.get("DoseGridScaling") not in (None, ""):
        return _linear(image, image, "DoseGridScaling", None, str(image.get("DoseUnits") or "") or None)
    return _linear(image, image, units=_rescale_units(image, image))


def _linear(
    image: Any,
    holder: Any,
    slope: str = "RescaleSlope",
    intercept: str | None = "RescaleIntercept",
    units: str | None = None,
) -> Linear:
    given = [holder.get(slope), holder.get(intercept) if intercept else 0.0]
    try:
        numbers = [
            float(default if value in (None, "") else value)
            for value, default in zip(given, (1.0, 0.0), strict=True)
        ]
    except (TypeError, ValueError) as error:
        raise PixelDataError(
            f"{image_name(image)}: {slope} and intercept are {given}, not numbers"
        ) from error
    if not np.isfinite(numbers).all() or numbers[0] == 0.0:
        raise PixelDataError(
            f"{image_name(image)}: {slope} {given[0]} with intercept {given[1]} is no rescale"
        )
    return Linear(numbers[0], numbers[1], units)


def _real_world(image: Any, item: Dataset) -> Linear:
    codes = item.get("MeasurementUnitsCodeSequence")
    units = str(codes[0].get("CodeValue") or "") or None if codes else None
    if "RealWorldValueSlope" not in item:
        raise PixelDataError(
            f"{image_name(image)}: its real world values are a table, which is not read here"
        )
    return _linear(image, item, "RealWorldValueSlope", "RealWorldValueIntercept", units)


def _rescale_units(image: Any, holder: Any) -> str | None:
    """Return the unit: Units of PET (PS3.3 C.8.9.1), else RescaleType, which for CT is HU unless stated."""
    stated = image.get("Units") or holder.get("RescaleType")
    if stated:
        return None if stated == _UNSPECIFIED else str(stated)
    return _HOUNSFIELD if image.get("Modality") == "CT" and "RescaleIntercept" in holder else None


def _whole(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as integers, if they are whole and fit."""
    if dtype.kind == "b":
        if not np.isin(values, (0, 1)).all():
            raise PixelDataError("values other than 0 and 1 do not go into an array of booleans")
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if not (np.rint(values) == values).all() or values.min() < limits.min or values.max() > limits.max:
        raise PixelDataError(
            f"values from {values.min():g} to {values.max():g} do not go into an array of {dtype}"
            " without a loss: choose a floating dtype, or rescale=False for the stored values"
        )
    return values.astype(dtype)


__all__ = ["Linear", "Lookup", "Transform", "transform_of"]
