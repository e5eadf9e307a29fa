"""A built instance of each ready-made blueprint before dicom3tools' dciodvfy."""

import subprocess

import numpy as np
import pydicom
import pytest

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.values.equipment import Equipment
from programs import program
from sources import ct_slices, dose_grid, mr_slices, nm_image, pet_slices

pytestmark = pytest.mark.peers

# What a PACS need not mind, and why a result may still say it.
PARDONED = (
    "would be needed to build DICOMDIR",  # the sources may lack it, and nothing may be invented
    "is only permitted to be empty when actually unknown",  # it is unknown: the source names no body part
    "Unrecognized defined term",  # copied from the source
)


def of(sources, dtype=np.float32, colour=False):
    shape = (len(sources), sources[0].Rows, sources[0].Columns)
    values = np.arange(np.prod(shape)).reshape(shape) % 251
    return np.stack([values] * 3, axis=-1).astype(dtype) if colour else values.astype(dtype)


CASES = {
    "ct": (ct_slices, np.float32, False),
    "ct from pet": (pet_slices, np.float32, False),
    "mr": (mr_slices, np.float32, False),
    "pet": (pet_slices, np.float32, False),
    "derived_image": (ct_slices, np.int16, False),
    "derived_image from mr": (mr_slices, np.float64, False),
    "derived_image from pet": (pet_slices, np.float64, False),
    "nm": (lambda: [nm_image()], np.uint16, False),
    "enhanced_ct": (ct_slices, np.float32, False),
    "enhanced_mr": (mr_slices, np.float32, False),
    "parametric_map": (mr_slices, np.float32, False),
    "parametric_map of integers": (mr_slices, np.uint16, False),
    "rt_dose": (lambda: [dose_grid()], np.float32, False),
    "secondary_capture": (ct_slices, np.uint8, False),
    "secondary_capture in colour": (ct_slices, np.uint8, True),
    "multiframe_grayscale_byte": (ct_slices, np.uint8, False),
    "multiframe_grayscale_word": (ct_slices, np.uint16, False),
    "multiframe_true_color": (ct_slices, np.uint8, True),
}


def faults_of(dataset, folder):
    path = folder / "built.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    done = subprocess.run([program("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning")) and not any(pardoned in line for pardoned in PARDONED)
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_built_instance_has_no_errors(case, tmp_path):
    """Dicom3tools finds nothing in an instance of each ready-made blueprint that is not pardoned above."""
    sources, dtype, colour = CASES[case]
    factory = NumpyFactory()
    header = factory.make_header(
        getattr(blueprints, f"{case.split()[0]}_blueprint"),
        sources(),
        equipment=Equipment("peer test", "1.0"),
    )
    array = header.sources[0].pixel_array if len(header.sources) == 1 else of(header.sources, dtype, colour)
    built = factory.build_series(
        header, array.astype(dtype), rgb=colour, source_matching=None if "secondary" in case else "geometry"
    )
    assert faults_of(built[0], tmp_path) == []
    assert faults_of(built[-1], tmp_path) == []


def test_a_built_report_has_no_errors(tmp_path):
    """Dicom3tools finds nothing in an encapsulated PDF."""
    document = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    built = NumpyFactory().build(blueprints.pdf_blueprint(document, "Report"), ct_slices()[0])
    assert faults_of(built, tmp_path) == []
