"""Every file inside pydicom's wheel: read as pydicom reads it, or refused with a message."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut

from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import DicomError

ROOT = Path(pydicom.__file__).parent / "data"
FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc", ".json", ".txt", ".md", ".icc", ".dump"}
)

# What pydicom reads and we do not, and why.
REFUSED = {
    "liver_1frame.dcm": "PerFrameFunctionalGroupsSequence has 3 items, but NumberOfFrames is 1",
    "liver_expb_1frame.dcm": "PerFrameFunctionalGroupsSequence has 3 items, but NumberOfFrames is 1",
}


def by_pydicom(path):
    """Return pydicom's own reading: physical values, colour as RGB; or what it raises."""
    image = dcmread(path, force=True)
    array = image.pixel_array
    if image.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(array, image)[..., :3]
    if image.get("SamplesPerPixel", 1) > 1:
        return array
    if "DoseGridScaling" in image:
        return array * float(image.DoseGridScaling)
    return apply_modality_lut(array, image)


def theirs_of(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return by_pydicom(path)
        except (AttributeError, ValueError, RuntimeError, NotImplementedError, InvalidDicomError) as error:
            return error


def ours_of(image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return NumpyGrinder(dtype=None if image.get("SamplesPerPixel", 1) != 1 else np.float64)([image])
        except DicomError as error:
            return error


def agree(path, ours, theirs):
    if isinstance(theirs, Exception) or path.name in REFUSED:
        assert isinstance(ours, DicomError), theirs
        assert REFUSED.get(path.name, "") in str(ours)
        assert "\n" not in str(ours)
        return
    assert not isinstance(ours, Exception), ours
    assert (ours.array.reshape(theirs.shape) == theirs).all()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_as_pydicom_reads_it_or_refused(path):
    """The same values, bit by bit, or one of our errors; also through a handle that reads by itself."""
    theirs = theirs_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(path, ours_of(dcmread(path, force=True)), theirs)
        try:
            dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            with pytest.raises(DicomError):
                LazyDataset(path).get("Rows")
            return
        agree(path, ours_of(LazyDataset(path)), theirs)


def test_the_wheel_still_has_its_files():
    """Enough of them, and of every kind, that the test above means something."""
    syntaxes = set()
    for path in FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = dcmread(path, force=True, stop_before_pixels=True)
        syntaxes.add(str(image.file_meta.get("TransferSyntaxUID")) if hasattr(image, "file_meta") else "")
    assert len(FILES) > 150
    assert len(syntaxes) >= 12
