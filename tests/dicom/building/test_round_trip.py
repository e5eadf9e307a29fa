"""What is built from an array is read back as the array, whatever the array."""

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import PixelDataError
from sources import ct_slices, mr_slices, pet_slices

# Readers compute in double precision: integers above this are not told apart by them, and values above that
# overflow when stored values are scaled.
EXACT = 2**53
HUGE = 1e290

_turn = np.array([[0.8, 0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]])
AFFINES = {
    "axial": np.array([[0, 0, 0.7, -100.0], [0, 0.8, 0, -90.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1]]),
    "sagittal": np.array([[-3.0, 0, 0, 5.0], [0, 0, 1.1, 4.0], [0, -1.2, 0, 3.0], [0, 0, 0, 1]]),
    "oblique": np.block(
        [[_turn @ np.array([[0, 0, 2.0], [0, 2.0, 0], [1.5, 0, 0]]), np.ones((3, 1))], [0, 0, 0, 1]]
    ),
}

_dtypes = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)


def _values(dtype):
    if dtype.kind != "f":
        return None
    width = dtype.itemsize * 8
    anything = st.floats(width=width, allow_nan=False, allow_infinity=False)
    measured = st.floats(-1000, 3000, width=width)
    return st.one_of(anything, measured)


@st.composite
def volumes(draw):
    """Any real array of two to four axes, in any layout in memory."""
    dtype = draw(_dtypes)
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5))
    array = draw(arrays.arrays(dtype, shape, elements=_values(dtype)))
    layout = draw(st.sampled_from(["C", "F", "reversed", "stepped"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[::-1, ..., ::-1]
    if layout == "stepped":
        wide = np.zeros([2 * side for side in shape], dtype)
        wide[(slice(None, None, 2),) * len(shape)] = array
        return wide[(slice(None, None, 2),) * len(shape)]
    return array


HEADERS = {
    name: NumpyFactory().make_header(getattr(blueprints, f"{name}_blueprint"), sources())
    for name, sources in (
        ("ct", ct_slices),
        ("mr", mr_slices),
        ("pet", pet_slices),
        ("enhanced_ct", ct_slices),
        ("enhanced_mr", mr_slices),
        ("parametric_map", mr_slices),
        ("rt_dose", ct_slices),
    )
}


def steps_of(series):
    """Return the slope of each slice, which is the step of quantisation."""
    steps = []
    for image in series:
        frames = int(image.get("NumberOfFrames", 1))
        if "DoseGridScaling" in image:
            steps += [float(image.DoseGridScaling)] * frames
        elif image.get("FloatPixelData") or image.get("DoubleFloatPixelData"):
            steps += [0.0] * frames
        elif "PerFrameFunctionalGroupsSequence" in image:
            shared = image.SharedFunctionalGroupsSequence[0]
            for group in image.PerFrameFunctionalGroupsSequence:
                holder = group if "PixelValueTransformationSequence" in group else shared
                mapping = shared.get("RealWorldValueMappingSequence")
                steps.append(
                    float(mapping[0].RealWorldValueSlope)
                    if mapping
                    else float(holder.PixelValueTransformationSequence[0].RescaleSlope)
                )
        else:
            steps.append(float(image.get("RescaleSlope", 1)))
    return np.array(steps)


def excused(array, error):
    """Return whether an array cannot be stored for the reason that the message gives."""
    largest = float(np.abs(array.astype(np.float64)).max())
    text = str(error)
    if "too large and too close together" in text:
        return largest > EXACT
    return largest > HUGE and ("too large to be stored" in text or "does not fit a decimal string" in text)


CASES = [(name, False) for name in HEADERS] + [(name, True) for name in ("ct", "mr", "pet", "enhanced_ct")]


@pytest.mark.parametrize(("name", "per_slice"), CASES)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(array=volumes(), place=st.sampled_from(sorted(AFFINES)))
def test_any_array_is_read_back_within_half_a_step(name, per_slice, array, place):
    """The grinder's volume is off by at most half a RescaleSlope, and lies where it lay."""
    volume = Volume(array[0] if name == "rt_dose" and array.ndim == 4 else array, AFFINES[place])
    try:
        series = NumpyFactory().build_series(HEADERS[name], volume, per_slice=per_slice)
    except PixelDataError as error:
        event("refused")
        if not excused(array, error):
            raise
        return
    wanted = volume.slices.astype(np.float64)
    step = steps_of(series)[:, np.newaxis, np.newaxis]
    exact, usual = NumpyGrinder(dtype=np.float64)(series), NumpyGrinder()(series)
    assert exact.grid == usual.grid == volume.grid
    assert exact.times == volume.times
    rounding = 4 * np.spacing(np.abs(wanted).max())
    assert (np.abs(exact.slices - wanted) <= step / 2 + rounding).all()
    # single precision may add a sixteenth of a step, and what it cannot tell apart itself
    single = np.abs(wanted) * 2.0**-23 if usual.array.dtype == np.float32 else rounding
    assert (np.abs(usual.slices - wanted) <= step * (1 / 2 + 1 / 16) + single).all()
    np.testing.assert_allclose(exact.affine, AFFINES[place], atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(
    array=arrays.arrays(
        st.one_of(arrays.integer_dtypes(), arrays.unsigned_integer_dtypes(sizes=(8, 16, 32))),
        (2, 3, 4),
        elements=st.integers(0, 100),
    ),
    offset=st.integers(-(2**20), 2**20),
)
def test_whole_numbers_come_back_exactly(array, offset):
    """Integers whose span fits into the stored bits are not quantised, wherever they lie."""
    moved = array.astype(np.int64) + offset
    series = NumpyFactory().build_series(HEADERS["ct"], Volume(moved, AFFINES["axial"]))
    assert (NumpyGrinder()(series).array == moved).all()


@settings(deadline=None, max_examples=100)
@given(
    array=arrays.arrays(np.float64, (2, 3, 4), elements=st.floats(-1e6, 1e6)),
    zeros=arrays.arrays(bool, (2, 3, 4)),
)
def test_zero_stays_zero(array, zeros):
    """Background that is exactly zero is exactly zero afterwards, whatever the range around it."""
    array[zeros] = 0.0
    if array.min() > 0 or array.max() < 0:
        array[0, 0, 0] = 0.0
    series = NumpyFactory().build_series(HEADERS["ct"], Volume(array, AFFINES["axial"]))
    assert (NumpyGrinder()(series)[array == 0.0] == 0.0).all()
