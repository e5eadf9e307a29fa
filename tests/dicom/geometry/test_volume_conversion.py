"""Volumes to nibabel and SimpleITK and back; and both libraries' own reading of the same series agrees."""

import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - what everybody calls it
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.built_series import encode_series
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import DicomError, GeometryError, PixelDataError
from sources import ct_slices, mr_slices, pet_slices

TURN = np.array([[0.8, 0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]])
AFFINES = {
    "axial": np.array([[0, 0, 0.7, -100.0], [0, 0.8, 0, -90.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1]]),
    "coronal": np.array([[0, 0, 0.7, -100.0], [3, 0, 0, -90.0], [0, -0.8, 0, 12.0], [0, 0, 0, 1]]),
    "oblique": np.block(
        [[TURN @ np.array([[0, 0, 2.0], [0, 2.5, 0], [1.5, 0, 0]]), np.ones((3, 1))], [0, 0, 0, 1]]
    ),
    "sheared": np.array([[0, 0, 0.7, -100.0], [0.5, 0.8, 0, -90.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1]]),
}

_arrays = arrays.arrays(
    st.sampled_from([np.dtype(kind) for kind in ("u1", "i2", "u2", "i4", "f4", "f8")]),
    arrays.array_shapes(min_dims=3, max_dims=4, max_side=4),
    elements=st.integers(0, 100),
)


@given(array=_arrays, place=st.sampled_from(sorted(AFFINES)))
def test_there_and_back_through_nibabel(array, place):
    """Voxels, affine and dtype are the same again."""
    volume = Volume(array, AFFINES[place], units="HU")
    back = Volume.from_nibabel(volume.to_nibabel(), units="HU")
    assert (back.array == volume.array).all()
    assert back.array.dtype == array.dtype
    assert np.allclose(back.affine, volume.affine, atol=1e-5)  # NIfTI keeps single precision
    assert back.units == "HU"


@given(array=_arrays, place=st.sampled_from(sorted(AFFINES)))
def test_there_and_back_through_simpleitk(array, place):
    """Voxels, affine and dtype are the same again."""
    volume = Volume(array, AFFINES[place])
    back = Volume.from_sitk(volume.to_sitk())
    assert (back.array == volume.array).all()
    assert back.array.dtype == array.dtype
    assert np.allclose(back.affine, volume.affine)


@pytest.mark.parametrize("convert", [Volume.to_nibabel, Volume.to_sitk])
@pytest.mark.parametrize(("dtype", "expected"), [(bool, np.uint8), (np.float16, np.float32)])
def test_dtypes_that_they_do_not_know_are_widened(convert, dtype, expected):
    """Booleans become bytes, half precision single."""
    image = convert(Volume(np.ones((2, 3, 4), dtype), AFFINES["axial"]))
    back = Volume.from_nibabel(image) if convert is Volume.to_nibabel else Volume.from_sitk(image)
    assert back.array.dtype == expected
    assert (back.array == 1).all()


def test_colour_goes_both_ways():
    """Red, green and blue stay what they are."""
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    volume = Volume(array, AFFINES["axial"], colour=True)
    for back in (Volume.from_nibabel(volume.to_nibabel()), Volume.from_sitk(volume.to_sitk())):
        assert back.colour
        assert (back.array == array).all()


def test_a_volume_over_time_is_four_dimensional():
    """Time is the last axis of nibabel and SimpleITK."""
    volume = Volume(np.zeros((5, 2, 3, 4)), AFFINES["oblique"])
    assert volume.to_nibabel().shape == (4, 3, 2, 5)
    assert volume.to_sitk().GetSize() == (4, 3, 2, 5)


def test_voxels_lie_at_the_same_place_in_all_three():
    """The patient coordinates of a voxel agree (RAS where NIfTI says RAS)."""
    volume = Volume(np.zeros((5, 6, 7)), AFFINES["oblique"])
    place = volume.to_patient([1, 2, 3])
    assert np.allclose(volume.to_sitk().TransformIndexToPhysicalPoint((3, 2, 1)), place)
    ras = nibabel.affines.apply_affine(volume.to_nibabel().affine, (3, 2, 1))
    assert np.allclose(ras * [-1, -1, 1], place)


def test_both_forms_of_a_nifti_agree_unless_the_stack_is_sheared():
    """A rotation is written as qform too; a gantry tilt only fits the sform."""
    straight = Volume(np.zeros((5, 6, 7)), AFFINES["oblique"]).to_nibabel()
    assert np.allclose(straight.get_qform(), straight.get_sform(), atol=1e-5)
    sheared = Volume(np.zeros((5, 6, 7)), AFFINES["sheared"]).to_nibabel()
    assert sheared.get_qform(coded=True)[1] == 0
    assert sheared.header.get_xyzt_units()[0] == "mm"


def test_what_is_no_volume_is_refused():
    """No place, colour of sixteen bits, too many or too few axes, vectors."""
    with pytest.raises(GeometryError, match="do not say where they lie"):
        Volume(np.zeros((2, 3, 4))).to_sitk()
    with pytest.raises(GeometryError, match="do not say where they lie"):
        Volume(np.zeros((2, 3, 4))).to_nibabel()
    with pytest.raises(PixelDataError, match="8 bits, not uint16"):
        Volume(np.zeros((2, 3, 4, 3), "u2"), AFFINES["axial"], colour=True).to_nibabel()
    for shape in ((2, 3), (2, 3, 4, 5, 6)):
        with pytest.raises(PixelDataError, match=r"axes|volume"):
            Volume.from_nibabel(nibabel.Nifti1Image(np.zeros(shape), np.eye(4)))
    with pytest.raises(PixelDataError, match="2 axes"):
        Volume.from_sitk(sitk.GetImageFromArray(np.zeros((3, 4))))
    with pytest.raises(PixelDataError, match="2 components"):
        Volume.from_sitk(sitk.GetImageFromArray(np.zeros((3, 4, 5, 2)), isVector=True))


@pytest.mark.parametrize(("name", "extra"), [("nibabel", "nibabel"), ("SimpleITK", "sitk")])
def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch, name, extra):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, name, None)
    convert = Volume.to_nibabel if name == "nibabel" else Volume.to_sitk
    with pytest.raises(DicomError, match=rf"{name} is not installed.*\[{extra}\]"):
        convert(Volume(np.zeros((2, 3, 4)), AFFINES["axial"]))


# -- another implementation's reading of the same series ----------------------------------------------------


def read_by_simpleitk(folder):
    """Return what SimpleITK (GDCM) makes of a folder with one series."""
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    assert names
    reader.SetFileNames(names)
    return reader.Execute()


def agree(volume, image):
    """Assert that affine and voxels are the same."""
    theirs = Volume.from_sitk(image)
    assert np.allclose(theirs.affine, volume.affine, atol=1e-3)
    assert theirs.array.shape == volume.array.shape
    assert np.allclose(theirs.array, volume.array, rtol=1e-6, atol=1e-4)


def compressed(images, syntax):
    for image in images:
        image.compress(syntax, generate_instance_uid=False)
    return images


SERIES = {
    "ct": ct_slices,
    "mr": mr_slices,
    "pet": pet_slices,
    "ct, RLE": lambda: compressed(ct_slices(), RLELossless),
    "mr, JPEG-LS": lambda: compressed(mr_slices(), JPEGLSLossless),
    "mr, JPEG 2000": lambda: compressed(mr_slices(), JPEG2000Lossless),
}


@pytest.mark.parametrize("name", SERIES)
def test_simpleitk_reads_the_same_volume_of_a_real_series(name, tmp_path):
    """Affine and voxels of the sources, in an order of files that says nothing."""
    images = SERIES[name]()
    for number, image in enumerate(images):
        dcmwrite(tmp_path / f"{(7 * number) % len(images)}.dcm", image)
    agree(NumpyGrinder()(images[::-1]), read_by_simpleitk(tmp_path))


BUILT = [("ct", ct_slices), ("mr", mr_slices), ("pet", pet_slices)]


@pytest.mark.parametrize("place", ["axial", "coronal", "oblique"])
@pytest.mark.parametrize(("name", "sources"), BUILT)
def test_simpleitk_reads_the_same_volume_of_a_built_series(name, sources, place, tmp_path):
    """What the factory writes lies where its affine said, for a reader that knows nothing of us."""
    values = np.random.default_rng(1).gamma(2, 300, (4, 5, 6))
    header = NumpyFactory().make_header(getattr(blueprints, f"{name}_blueprint"), sources())
    built = NumpyFactory().build_series(header, Volume(values, AFFINES[place]))
    for number, instance in enumerate(encode_series(built)):
        (tmp_path / f"{number}.dcm").write_bytes(bytes(instance))
    image = read_by_simpleitk(tmp_path)
    agree(NumpyGrinder()(built), image)
    theirs = Volume.from_sitk(image)
    index = theirs.to_index(Volume(values, AFFINES[place]).to_patient([1, 2, 3]))
    assert theirs.array[tuple(np.rint(index).astype(int))] == pytest.approx(values[1, 2, 3], abs=0.1)


@pytest.mark.parametrize(("name", "sources"), [("enhanced_ct", ct_slices), ("enhanced_mr", mr_slices)])
def test_simpleitk_reads_the_same_volume_of_a_multi_frame_image(name, sources, tmp_path):
    """Functional groups are understood by another implementation."""
    values = np.random.default_rng(1).gamma(2, 300, (4, 5, 6))
    header = NumpyFactory().make_header(getattr(blueprints, f"{name}_blueprint"), sources())
    built = NumpyFactory().build_series(header, Volume(values, AFFINES["oblique"]))
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(bytes(built.encode(0)))
    agree(NumpyGrinder()(built), sitk.ReadImage(str(path)))


def test_simpleitk_reads_the_same_dose():
    """The grid of an RT Dose; GDCM leaves DoseGridScaling to its user."""
    image = sitk.ReadImage(get_testdata_file("rtdose.dcm"))
    dose = dcmread(get_testdata_file("rtdose.dcm"))
    volume = NumpyGrinder()([dose])
    assert np.allclose(Volume.from_sitk(image).affine, volume.affine, atol=1e-3)
    scaled = sitk.GetArrayFromImage(image) * float(dose.DoseGridScaling)
    assert np.allclose(scaled, volume.array, rtol=1e-12)
