"""Looking at an array before it is stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from built_results import MAP, build, read_back
from dicomnode.dicom.building.rescale import ValueRange
from dicomnode.dicom.building.value_range import as_numbers, finite_range, replace_nonfinite, value_range
from dicomnode.errors import PixelDataError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_voxels_that_are_no_numbers_are_counted_and_the_first_is_named(bad, dtype):
    """NaN and infinities have no place in integers, so they are an error by default."""
    array = np.zeros((2, 3, 4), dtype)
    array[1, 2, 3] = array[1, 0, 1] = bad
    with pytest.raises(
        PixelDataError, match=r"2 of 24 voxels are NaN or infinite, the first at index \(1, 0, 1\)"
    ):
        build(array)


def test_voxels_that_are_no_numbers_can_be_replaced():
    """The caller may say what to write in their place; nothing else changes."""
    array = np.array([[[1.5, np.nan], [np.inf, -np.inf]]])
    back = read_back(array, nonfinite=-1.0)
    assert back == pytest.approx(np.array([[[1.5, -1.0], [-1.0, -1.0]]]), abs=1e-4)


def test_a_parametric_map_of_floats_refuses_them_too():
    """A reader computes with what it finds; NaN is only written when it is asked for."""
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(PixelDataError, match="1 of 24 voxels"):
        build(array, MAP)


def test_a_masked_array_without_masked_voxels_is_an_array():
    """Only voxels that are really masked are in the way."""
    assert (read_back(np.ma.array(np.arange(24).reshape(2, 3, 4))).ravel() == np.arange(24)).all()


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([[1, 2]], np.int64),
        (np.ones(3, "?"), np.bool_),
        (np.ones(3, ">i2"), np.int16),
        (np.ones(3, "f2"), np.float32),
        (np.ones(3, "g"), np.float64),
        (np.ma.array([1, 2]), np.int64),
    ],
)
def test_numbers_are_of_a_type_that_is_computed_with(data, dtype):
    """Native byte order; half and long double become single and double."""
    made = as_numbers(data)
    assert made.dtype == dtype
    assert made.dtype.isnative
    assert (made == np.asarray(data)).all()


def test_an_array_of_numbers_is_not_copied():
    """A volume of gigabytes is looked at as it lies."""
    array = np.ones((3, 4))
    assert np.shares_memory(as_numbers(array), array)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.ones(3, complex), "take the magnitude"),
        (["a"], "dtype <U1"),
        ([], "empty"),
        ([[1], [2, 3]], "no array"),
        (np.ma.masked_equal([1, 2], 2), "masked"),
    ],
)
def test_what_is_no_number_is_refused(data, reason):
    """With what it is, and what to do."""
    with pytest.raises(PixelDataError, match=reason):
        as_numbers(data)


@given(
    arrays.arrays(
        st.sampled_from([np.int16, np.uint8, np.float32, np.float64, np.bool_]),
        arrays.array_shapes(min_dims=1, max_dims=3, max_side=4),
    )
)
def test_a_range_is_the_extremes_and_whether_all_are_whole(array):
    """As numpy says it, for every dtype; NaN and infinities have none."""
    if not np.isfinite(array).all():
        with pytest.raises(PixelDataError, match="NaN or infinite"):
            finite_range(array, None)
        return
    found = value_range(array)
    assert (found.lowest, found.highest) == (array.min(), array.max())
    exact = np.abs(array.astype(np.float64)).max() < 2.0**53
    assert found.whole is (array.dtype.kind in "biu" or bool(exact and (array == np.rint(array)).all()))
    assert finite_range(array, None) == (array, found) or finite_range(array, None)[0] is array


def test_ranges_of_large_arrays_are_found_block_by_block():
    """One voxel that is not whole, in the last block, counts."""
    array = np.zeros((3, 600, 600), np.float32)
    array[-1, -1, -1], array[1, 2, 3] = 0.5, -7
    assert value_range(array) == ValueRange(-7.0, 0.5, False)
    array[-1, -1, -1] = 9
    assert value_range(array) == ValueRange(-7.0, 9.0, True)


def test_replacing_leaves_the_array_itself_alone():
    """A new array where something is replaced, the very same one where nothing is."""
    array = np.array([1.0, np.nan, np.inf])
    assert replace_nonfinite(array, 0.0).tolist() == [1, 0, 0]
    assert np.isnan(array[1])
    whole = np.array([1.0, 2.0])
    assert replace_nonfinite(whole, 0.0) is whole
