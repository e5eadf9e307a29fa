"""Looking at an array before it is stored: what kind of numbers, how far they reach, what does not fit."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.dicom.building.rescale import ValueRange
from dicomnode.errors import PixelDataError

# 64 slices of 512 x 512 float32 take 17 ms slice by slice, 80 as a whole: the second look, whether all are
# whole numbers, then finds nothing in the cache.
_BLOCK: Final = 1 << 18
_WHOLE_LIMIT: Final = 2.0**53


def as_numbers(data: Any) -> NDArray[Any]:
    """Return data as an array of real numbers in native byte order; a view where possible.

    Parameters
    ----------
    data : array_like
        Booleans, integers or floats of any size and byte order.

    Returns
    -------
    ndarray
        float16 becomes float32 and long double float64, everything else keeps its type.

    Raises
    ------
    PixelDataError
        When it is something else, ragged, masked with masked values, or empty.
    """
    if isinstance(data, np.ma.MaskedArray):
        if np.ma.is_masked(data):
            raise PixelDataError("the array is masked: fill the masked voxels first, array.filled(value)")
        data = data.data
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise PixelDataError(f"the data are no array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise PixelDataError(
            f"an array of dtype {array.dtype} cannot become Pixel Data: booleans, integers and floats can"
            + (" (take the magnitude, or the real part)" if array.dtype.kind == "c" else "")
        )
    if not array.size:
        raise PixelDataError(f"the array is empty: its shape is {array.shape}")
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(np.float64).itemsize:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def replace_nonfinite(array: NDArray[Any], value: float | None) -> NDArray[Any]:
    """Refuse NaN and infinities, or write a number instead of them.

    Parameters
    ----------
    array : ndarray
        Not changed.
    value : float or None
        What to write; ``None`` to refuse.

    Raises
    ------
    PixelDataError
        When there are any and no value is given. Their number and the first place are named.
    """
    if array.dtype.kind != "f" or np.isfinite(_extremes(array)).all():
        return array
    finite = np.isfinite(array)
    if value is not None:
        return np.where(finite, array, array.dtype.type(value))
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    raise PixelDataError(
        f"{int((~finite).sum())} of {array.size} voxels are NaN or infinite, the first at index {first};"
        " Pixel Data of integers has no such value: pass nonfinite=0.0, or another value, to write instead"
    )


def finite_range(array: NDArray[Any], nonfinite: float | None) -> tuple[NDArray[Any], ValueRange]:
    """Do what :func:`replace_nonfinite` and :func:`value_range` do, with one look if all is well.

    Parameters
    ----------
    array : ndarray
        Not changed.
    nonfinite : float or None
        What to write instead of NaN and infinities; ``None`` to refuse.

    Raises
    ------
    PixelDataError
        When there are any and no value is given.
    """
    extremes = _extremes(array)
    if array.dtype.kind != "f" or np.isfinite(extremes).all():
        return array, _range_of(array, *extremes)
    array = replace_nonfinite(array, nonfinite)
    return array, value_range(array)


def value_range(array: NDArray[Any]) -> ValueRange:
    """Return the extremes of an array and whether all its values are whole.

    Parameters
    ----------
    array : ndarray
        Finite numbers.
    """
    return _range_of(array, *_extremes(array))


def _range_of(array: NDArray[Any], lowest: Any, highest: Any) -> ValueRange:
    if array.dtype.kind in "biu":
        return ValueRange(int(lowest), int(highest), True)
    whole = max(abs(float(lowest)), abs(float(highest))) < _WHOLE_LIMIT and _all_whole(array)
    return ValueRange(float(lowest), float(highest), whole)


def _extremes(array: NDArray[Any]) -> tuple[Any, Any]:
    """Return minimum and maximum, block by block so that the second look finds the block in the cache."""
    if array.ndim > 1 and array.size > _BLOCK and len(array) > 1:
        found = [_extremes(part) for part in array]
        low, high = zip(*found, strict=True)
        return np.min(low), np.max(high)
    return array.min(), array.max()


def _all_whole(array: NDArray[Any]) -> bool:
    """Return whether floats are whole; measured data are found out in the first block."""
    if array.ndim > 1 and array.size > _BLOCK:
        return all(_all_whole(part) for part in array)
    return bool((np.rint(array) == array).all())


__all__ = ["as_numbers", "finite_range", "replace_nonfinite", "value_range"]
