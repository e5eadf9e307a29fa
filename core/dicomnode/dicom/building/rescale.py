"""Choosing how an array is stored: bits, signedness, slope and intercept (PS3.3 C.7.6.3, C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import PixelDataError

DS_LENGTH: Final = 16
_MOST_DIGITS: Final = 17
_SMALLEST_SLOPE: Final = 1e-300  # far below what is measured, and its reciprocal is still finite
_EXACT_FLOAT: Final = 2**53

Rounding = Literal["nearest", "up", "down"]
_MODES: Final = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}


def decimal_string(value: float, rounding: Rounding = "nearest") -> str:
    """Return a number as a DS of at most 16 characters, with as many digits as fit (PS3.5 section 6.2).

    Parameters
    ----------
    value : float
        A finite number.
    rounding : {"nearest", "up", "down"}
        Where the digits that do not fit go.

    Raises
    ------
    PixelDataError
        When the number is not finite, or rounding takes it beyond what a float holds.

    Examples
    --------
    >>> decimal_string(1 / 3)
    '0.33333333333333'
    >>> float(decimal_string(1 / 3, "up")) > 1 / 3
    True
    """
    if not np.isfinite(value):
        raise PixelDataError(f"{value} cannot be written as a decimal string (DS)")
    shortest = Decimal(repr(float(value)))
    exact = next((text for text in _texts(shortest) if len(text) <= DS_LENGTH), None)
    if exact is not None:
        return exact
    for digits in range(_MOST_DIGITS, 0, -1):
        rounded = Context(prec=digits, rounding=_MODES[rounding]).create_decimal(shortest)
        for text in _texts(rounded):
            if len(text) <= DS_LENGTH and np.isfinite(float(text)):
                return text
    raise PixelDataError(f"{value!r} does not fit a decimal string (DS) of 16 characters")


def _texts(number: Decimal) -> list[str]:
    """Return the ways to write a decimal, the shortest first."""
    if not number:
        return ["0"]
    sign, digits, exponent = number.normalize().as_tuple()
    mantissa = "".join(str(digit) for digit in digits)
    minus = "-" * sign
    fraction = f".{mantissa[1:]}" if mantissa[1:] else ""
    scientific = f"{minus}{mantissa[0]}{fraction}E{int(exponent) + len(mantissa) - 1}"
    short = f"{minus}{mantissa}E{exponent}" if exponent else f"{minus}{mantissa}"
    plain = [f"{number:f}"] if -DS_LENGTH <= int(exponent) <= DS_LENGTH else []
    if plain and "." in plain[0]:
        plain = [plain[0].rstrip("0").rstrip(".")]
    return sorted([*plain, scientific, short], key=len)


@dataclass(frozen=True)
class Rescale:
    """How stored values become physical ones: ``slope * stored + intercept``.

    Parameters
    ----------
    slope_text, intercept_text : str
        As they are written (DS). The numbers used to quantise are these texts parsed again, so that what a
        reader computes is what was meant.
    """

    slope_text: str = "1"
    intercept_text: str = "0"

    @classmethod
    def of(cls, slope: float, intercept: float = 0.0) -> Rescale:
        """Return the rescale nearest to two numbers that can be written.

        Raises
        ------
        PixelDataError
            When the slope is zero or either is not finite.
        """
        rescale = cls(decimal_string(slope), decimal_string(intercept))
        if rescale.slope == 0.0:
            raise PixelDataError(f"RescaleSlope {slope!r} is zero")
        return rescale

    @cached_property
    def slope(self) -> float:
        """The slope, units of the data per stored step: twice the largest quantisation error."""
        return float(self.slope_text)

    @cached_property
    def intercept(self) -> float:
        """The value of a stored zero."""
        return float(self.intercept_text)

    @property
    def identity(self) -> bool:
        """Whether stored values are the values."""
        return self.slope == 1.0 and self.intercept == 0.0


@dataclass(frozen=True)
class StoredFormat:
    """The integers that Pixel Data holds.

    Parameters
    ----------
    allocated, stored : int
        BitsAllocated and BitsStored.
    signed : bool
        PixelRepresentation 1: two's complement.
    """

    allocated: int = 16
    stored: int = 16
    signed: bool = False

    @property
    def lowest(self) -> int:
        """The smallest stored value."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest stored value."""
        return (1 << (self.stored - self.signed)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The little-endian dtype of BitsAllocated."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")


@dataclass(frozen=True)
class ValueRange:
    """What has to be stored.

    Parameters
    ----------
    lowest, highest : float or int
        The extremes.
    whole : bool
        Whether all values are whole numbers.
    """

    lowest: float | int
    highest: float | int
    whole: bool

    def fits(self, stored: StoredFormat) -> bool:
        """Return whether the values can be stored as they are."""
        return self.whole and self.lowest >= stored.lowest and self.highest <= stored.highest


def choose_rescale(
    values: ValueRange,
    *,
    allocated: int,
    stored: int,
    signed: bool | None,
    zero_intercept: bool = False,
) -> tuple[StoredFormat, Rescale]:
    """Choose signedness, slope and intercept for a range of values.

    Whole numbers that fit are stored as they are; where only their span fits, shifted. Everything else is
    quantised so that no voxel is off by more than half the slope. Zero stays exactly zero where it
    lies within the range, at the cost of at most one bit.

    Parameters
    ----------
    values : ValueRange
        The values.
    allocated, stored : int
        The bits.
    signed : bool or None
        ``None`` to choose: unsigned unless there are negative values.
    zero_intercept : bool
        Whether the intercept must be 0 (PET, RT Dose).

    Raises
    ------
    PixelDataError
        When it cannot be done in these bits.
    """
    formats = [
        StoredFormat(allocated, stored, sign) for sign in ((False, True) if signed is None else (signed,))
    ]
    for stored_format in formats:
        if values.fits(stored_format):
            return stored_format, Rescale()
    lowest, highest = float(values.lowest), float(values.highest)
    largest = max(abs(lowest), abs(highest))
    _refuse_coarse(values, formats[0])
    last = formats[0]
    if not zero_intercept and (shifted := _shifted(values, last)):
        return last, shifted
    if zero_intercept or _near_zero(lowest, highest):
        if lowest < 0 and signed is False and zero_intercept:
            raise PixelDataError(f"values down to {lowest:g} cannot be stored unsigned without an intercept")
        if not (lowest < 0 and signed is False):
            chosen = formats[0] if lowest >= 0 else formats[-1]
            return chosen, _checked(Rescale(_slope(_unit(lowest, highest, chosen)), "0"), chosen, largest)
    return last, _checked(_with_intercept(lowest, highest, last), last, largest)


def _near_zero(lowest: float, highest: float) -> bool:
    """Return whether counting from zero costs at most a bit."""
    return lowest <= 0 <= highest or min(abs(lowest), abs(highest)) <= abs(highest / 2 - lowest / 2) * 2


def _unit(lowest: float, highest: float, stored: StoredFormat) -> float:
    """Return the least slope that reaches both ends from an intercept of 0."""
    down = lowest / stored.lowest if lowest < 0 else 0.0
    return max(down, highest / stored.highest if highest > 0 else 0.0)


def _slope(least: float) -> str:
    # Rounded up, so that the ends of the range still fit with the digits that a DS can hold.
    return decimal_string(max(least, _SMALLEST_SLOPE), "up")


def _shifted(values: ValueRange, stored: StoredFormat) -> Rescale | None:
    """Return a slope of 1 with an intercept, where that stores whole numbers exactly."""
    span = int(values.highest) - int(values.lowest) if values.whole else None
    if span is None or span > stored.highest - stored.lowest:
        return None
    shift = int(values.lowest) - stored.lowest
    if max(abs(shift), abs(values.lowest), abs(values.highest)) > _EXACT_FLOAT or len(str(shift)) > DS_LENGTH:
        return None
    return Rescale("1", str(shift))


def _with_intercept(lowest: float, highest: float, stored: StoredFormat) -> Rescale:
    steps = stored.highest - stored.lowest
    start = lowest - stored.lowest * ((highest / steps) - (lowest / steps))
    text = decimal_string(start, "down")
    floor = float(text)
    least = _reach(highest, floor, stored.highest)
    if stored.lowest:
        least = max(least, _reach(lowest, floor, stored.lowest))
    return Rescale(_slope(least) if least > 0 else "1", text)


def _reach(end: float, start: float, steps: int) -> float:
    """Return the slope that takes a start to an end; halves, where the difference overflows."""
    span = end - start
    return span / steps if abs(span) < float("inf") else end / steps - start / steps


def _checked(rescale: Rescale, stored: StoredFormat, largest: float) -> Rescale:
    # A reader computes slope * stored + intercept, also of stored values that do not occur here.
    with np.errstate(over="ignore"):
        extremes = [
            np.float64(rescale.slope) * end + rescale.intercept for end in (stored.lowest, stored.highest)
        ]
    if not np.isfinite(extremes).all():
        raise PixelDataError(f"values as large as {largest:g} are too large to be stored with a RescaleSlope")
    return rescale


def _refuse_coarse(values: ValueRange, stored: StoredFormat) -> None:
    """Refuse integers so large that float64, in which readers compute, is coarser than a step."""
    if not values.whole:
        return
    largest = max(abs(int(values.lowest)), abs(int(values.highest)))
    step = (int(values.highest) - int(values.lowest)) / (stored.highest - stored.lowest)
    if largest > _EXACT_FLOAT and step < np.spacing(float(largest)):
        raise PixelDataError(
            f"whole numbers from {values.lowest} to {values.highest} are too large and too close together to"
            " be told apart after a rescale; subtract an offset first"
        )


def quantise(values: NDArray[Any], rescale: Rescale, out: NDArray[Any]) -> None:
    """Write ``rint((values - intercept) / slope)`` into an integer array.

    Parameters
    ----------
    values : ndarray
        Finite numbers of any real dtype, shape as ``out``.
    rescale : Rescale
        Chosen so that all values fit; they are not checked again.
    out : ndarray of integer
        C-contiguous. Computed block by block in double precision, so that the work stays in the cache and no
        copy of the array is made.
    """
    if rescale.identity and values.dtype.kind in "biu":
        np.copyto(out, values, casting="unsafe")
        return
    # A multiplication takes a fifth of the time of a division; where the reciprocal is no number, divide.
    per = 1.0 / rescale.slope
    exact_division = not np.isfinite(per) or per == 0.0
    buffer = np.empty(_BLOCK)
    for source, target in _blocks(values, out):
        work = buffer[: source.size].reshape(source.shape)
        np.copyto(work, source)
        if not rescale.identity:
            work -= rescale.intercept
            if exact_division:
                work /= rescale.slope
            else:
                work *= per
        np.rint(work, out=work)
        np.copyto(target, work, casting="unsafe")


# A block of doubles and its results fit into the second-level cache: 64 slices of 512 x 512 take 55 ms with
# it, 121 with an eighth of the block and 139 with the whole array at once.
_BLOCK: Final = 1 << 15


def _blocks(values: NDArray[Any], out: NDArray[Any]) -> Any:
    """Yield matching pieces of two arrays, small enough for the cache."""
    if values.ndim > 1 and values.size > _BLOCK:
        if not values.flags.c_contiguous or values.size // max(len(values), 1) > _BLOCK:
            for source, target in zip(values, out, strict=True):
                yield from _blocks(source, target)
            return
        rows = max(_BLOCK // max(values.size // len(values), 1), 1)
    else:
        rows = _BLOCK
    if values.ndim == 0:
        yield values.reshape(1), out.reshape(1)
        return
    for start in range(0, len(values), rows):
        yield values[start : start + rows], out[start : start + rows]


__all__ = ["Rescale", "StoredFormat", "ValueRange", "choose_rescale", "decimal_string", "quantise"]
