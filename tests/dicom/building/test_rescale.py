"""Slope and intercept: chosen, written as decimal strings, and quantised with."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from built_results import build, read_back
from dicomnode.dicom.building.rescale import (
    Rescale,
    StoredFormat,
    ValueRange,
    choose_rescale,
    decimal_string,
    quantise,
)
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.errors import PixelDataError


@pytest.mark.parametrize(
    "value", [0, 0.0, 1, -1, 1000.25, -3e-7, 1e200, -1e200, 5e-324, 65535, 65536, -32769]
)
@pytest.mark.parametrize("per_slice", [False, True])
def test_constants_come_back(value, per_slice):
    """A constant array has no range to divide by, and is stored all the same."""
    back = read_back(np.full((2, 3, 4), value), per_slice=per_slice)
    assert back == pytest.approx(np.full((2, 3, 4), value, np.float64), rel=2.0**-16, abs=1e-300)
    if value == 0:
        assert (back == 0).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[[np.finfo(float).min, 0.0]]]), r"as large as 1.79769e\+308 are too large to be stored"),
        (np.array([[[2**63, 2**63 + 1, 2**63 + 2**20]]], np.uint64), "too large and too close together"),
    ],
)
def test_what_readers_could_not_compute_is_refused(array, reason):
    """Values beyond what a slope and double precision can say are an error, never wrong numbers."""
    with pytest.raises(PixelDataError, match=reason):
        build(array)


@settings(deadline=None, max_examples=300)
@given(
    lowest=st.floats(allow_nan=False, allow_infinity=False),
    width=st.floats(0, allow_nan=False, allow_infinity=False),
)
def test_no_decimal_string_is_longer_than_sixteen_characters(lowest, width):
    """Slope, intercept and window fit a DS (PS3.5 section 6.2), for whatever range of values."""
    array = np.array([[[lowest, min(lowest + width, np.finfo(float).max)]]])
    if np.abs(array).max() > 1e290:
        with suppress(PixelDataError):  # the message is held above
            build(array)
        return
    (dataset,) = build(array)
    for element in dataset:
        if element.VR == "DS":
            values = element.value if element.VM > 1 else [element.value]
            assert all(len(str(value)) <= 16 for value in values), element


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["nearest", "up", "down"]))
def test_a_decimal_string_is_rounded_to_the_asked_side(number, rounding):
    """It has at most 16 characters, and is off by less than a unit of its last digit on the right side."""
    try:
        text = decimal_string(number, rounding)
    except PixelDataError:
        assert abs(number) > 1e307
        return
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8)
    assert rounding != "up" or float(text) >= number
    assert rounding != "down" or float(text) <= number


def test_the_quantisation_error_is_half_a_step():
    """Rounded, not cut off: over many values the error is centred and reaches half a RescaleSlope."""
    array = np.random.default_rng(7).normal(40, 200, (4, 50, 50))
    built = build(array)
    error = NumpyGrinder(dtype=np.float64)(built).array - array
    step = float(built[0].RescaleSlope)
    assert 0.49 * step < np.abs(error).max() <= step / 2 * (1 + 1e-9)
    assert abs(error.mean()) < 0.02 * step
    assert step < np.ptp(array) / 2**15


@pytest.mark.parametrize(
    ("stored", "lowest", "highest", "dtype"),
    [
        (StoredFormat(16, 16), 0, 65535, "<u2"),
        (StoredFormat(16, 12), 0, 4095, "<u2"),
        (StoredFormat(16, 12, signed=True), -2048, 2047, "<i2"),
        (StoredFormat(8, 8), 0, 255, "<u1"),
        (StoredFormat(32, 32, signed=True), -(2**31), 2**31 - 1, "<i4"),
    ],
)
def test_a_format_knows_what_it_holds(stored, lowest, highest, dtype):
    """BitsStored decide the range, BitsAllocated the dtype (PS3.3 C.7.6.3.1)."""
    assert (stored.lowest, stored.highest, stored.dtype) == (lowest, highest, np.dtype(dtype))


@pytest.mark.parametrize(
    ("values", "options", "signed", "slope", "intercept"),
    [
        (ValueRange(0, 4095, True), {}, False, 1, 0),
        (ValueRange(-1024, 3071, True), {}, True, 1, 0),
        (ValueRange(70000, 70100, True), {}, False, 1, 70000),  # only the span fits
        (ValueRange(-1024, 3071, True), {"signed": False}, False, 1, -1024),
        (ValueRange(0.0, 131070.0, False), {}, False, 2, 0),  # zero stays zero
        (ValueRange(5.0, 5.0, False), {"zero_intercept": True}, False, None, 0),
    ],
)
def test_a_rescale_is_chosen_for_the_range(values, options, signed, slope, intercept):
    """Whole numbers as they are where they fit, shifted where their span does, else quantised."""
    chosen = {"allocated": 16, "stored": 16, "signed": None, **options}
    stored, rescale = choose_rescale(values, **chosen)
    assert stored.signed is signed
    assert rescale.intercept == intercept
    assert slope is None or rescale.slope == pytest.approx(slope, rel=1e-4)
    for end in (values.lowest, values.highest):
        assert stored.lowest <= round((end - rescale.intercept) / rescale.slope) <= stored.highest


def test_a_negative_value_needs_a_sign_or_an_intercept():
    """PET has neither when it is to be stored unsigned (PS3.3 C.8.9.4)."""
    with pytest.raises(PixelDataError, match="down to -5 cannot be stored unsigned"):
        choose_rescale(
            ValueRange(-5.0, 5.5, False), allocated=16, stored=16, signed=False, zero_intercept=True
        )


@settings(deadline=None, max_examples=100)
@given(
    lowest=st.floats(-1e6, 1e6),
    span=st.floats(0, 1e6),
    signed=st.sampled_from([None, True, False]),
    stored_bits=st.sampled_from([8, 12, 16]),
)
def test_every_value_of_the_range_is_stored_within_half_a_step(lowest, span, signed, stored_bits):
    """Both ends fit into the stored bits, and what is between them is off by half the slope at most."""
    highest = lowest + span
    stored, rescale = choose_rescale(
        ValueRange(lowest, highest, False), allocated=16, stored=stored_bits, signed=signed
    )
    values = np.linspace(lowest, highest, 50)
    out = np.empty(50, stored.dtype)
    quantise(values, rescale, out)
    assert stored.lowest <= out.min()
    assert out.max() <= stored.highest
    back = out.astype(np.float64) * rescale.slope + rescale.intercept
    assert np.abs(back - values).max() <= rescale.slope / 2 + 8 * np.spacing(max(abs(lowest), abs(highest)))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 300, 300), (2, 40000)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_quantising_by_blocks_is_quantising(shape, order):
    """Of any shape and layout, the same as of the whole at once."""
    values = np.asarray(np.linspace(-3, 900, int(np.prod(shape))).reshape(shape), order=order)
    rescale, out = Rescale("0.25", "-3"), np.empty(shape, np.uint16)
    quantise(values, rescale, out)
    assert (out == np.rint((values + 3) * 4)).all()


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 0.0), (np.nan, 0.0), (1.0, np.inf)])
def test_a_rescale_is_of_finite_numbers_and_a_slope(slope, intercept):
    """What cannot be written or computed with is refused."""
    with pytest.raises(PixelDataError):
        Rescale.of(slope, intercept)


def test_a_rescale_computes_with_what_is_written():
    """A third is written with 14 digits, and these are the slope."""
    rescale = Rescale.of(1 / 3)
    assert rescale.slope_text == "0.33333333333333"
    assert rescale.slope == 0.33333333333333
    assert not rescale.identity
    assert Rescale().identity
