"""Segmentations and reports, built by highdicom on our headers."""

import subprocess
import sys

import numpy as np
import pydicom
import pytest

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.building.highdicom_results import (
    Measurement,
    MeasurementGroup,
    Segment,
    build_report,
    build_segmentation,
)
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.errors import PixelDataError
from programs import program
from sources import ct_slices

hd = pytest.importorskip("highdicom")

LIVER = Segment("Liver", ("10200004", "SCT", "Liver"))
SPLEEN = Segment("Spleen", ("78961009", "SCT", "Spleen"))
VOLUME = Measurement(("118565006", "SCT", "Volume"), 12.5, ("cm3", "UCUM", "cubic centimeter"))


@pytest.fixture
def sources():
    return ct_slices()


def header_of(sources, blueprint=blueprints.segmentation_blueprint):
    return make_header(
        None, blueprint, sources, equipment=Equipment("organs", "2.1"), uids=UIDSource.derived("job 1")
    )


def two_organs(sources):
    mask = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), np.int64)
    mask[1:3, 4:8, 4:8] = 1
    mask[3, 3:5, 9:12] = 2
    return mask


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_mask_comes_back_as_it_was(sources, kind, tmp_path):
    """Highdicom reads from the file the mask that was given, slice for slice."""
    mask = two_organs(sources)
    built = build_segmentation(header_of(sources), mask, [LIVER, SPLEEN], kind=kind)
    pydicom.dcmwrite(tmp_path / "seg.dcm", built, enforce_file_format=True)
    read = hd.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in sources], combine_segments=True
    )
    np.testing.assert_array_equal(read, mask)


def test_a_segmentation_belongs_to_its_header(sources):
    """Patient, study, UIDs, equipment and description are the header's; made again it is the same."""
    built, again = (
        build_segmentation(header_of(sources), two_organs(sources), [LIVER, SPLEEN]) for _ in range(2)
    )
    assert built.PatientID == sources[0].PatientID
    assert built.StudyInstanceUID == sources[0].StudyInstanceUID
    assert built.SOPInstanceUID == again.SOPInstanceUID == built.file_meta.MediaStorageSOPInstanceUID
    assert built.SeriesInstanceUID == again.SeriesInstanceUID
    assert built.ManufacturerModelName == "organs"
    assert built.SeriesDescription.endswith("organs")
    assert built.ContributingEquipmentSequence[-1].SoftwareVersions == "2.1"
    assert list(built.ImageType) == ["DERIVED", "PRIMARY"]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 16, 16), bool), "slice for each of 5 sources"),
        (np.zeros((5, 8, 16), bool), "8 x 16 is not of 16 x 16 pixels"),
        (np.full((5, 16, 16), 3), "values from 3 to 3 does not fit 1 segments"),
        (np.full((5, 16, 16), -1), "values from -1"),
        (np.zeros((5, 16, 16)), "only become a FRACTIONAL"),
        (np.zeros((5, 16, 16, 2), bool), "2 planes does not fit 1 segments"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(sources, mask, message):
    """Number of slices, size, values and segments are compared before highdicom sees them."""
    with pytest.raises(PixelDataError, match=message):
        build_segmentation(header_of(sources), mask, [LIVER])


def test_a_report_holds_its_measurements(sources, tmp_path):
    """Highdicom's own reader finds finding, value and unit in the written report."""
    group = MeasurementGroup("Liver", (VOLUME,), finding=LIVER.kind, site=LIVER.kind)
    built = build_report(header_of(sources, blueprints.report_blueprint), [group])
    pydicom.dcmwrite(tmp_path / "sr.dcm", built, enforce_file_format=True)
    report = hd.sr.srread(tmp_path / "sr.dcm")
    measured = report.content.get_image_measurement_groups()[0].get_measurements()[0]
    assert (measured.value, measured.unit.value) == (12.5, "cm3")
    assert built.PatientID == sources[0].PatientID
    assert built.SeriesInstanceUID != sources[0].SeriesInstanceUID


@pytest.mark.peers
def test_dciodvfy_finds_no_error(sources, tmp_path):
    """dicom3tools accepts a binary segmentation and a report."""
    segmentation = build_segmentation(header_of(sources), two_organs(sources), [LIVER, SPLEEN])
    report = build_report(
        header_of(sources, blueprints.report_blueprint), [MeasurementGroup("Liver", (VOLUME,))]
    )
    for built in (segmentation, report):
        path = tmp_path / "built.dcm"
        pydicom.dcmwrite(path, built, enforce_file_format=True)
        done = subprocess.run(
            [program("dciodvfy"), "-new", path], capture_output=True, text=True, check=False
        )
        assert "Error" not in done.stderr + done.stdout


def test_without_highdicom_the_message_says_what_to_install():
    """The core works without highdicom, and says how to get it."""
    code = (
        "import sys; sys.modules['highdicom'] = None\n"
        "from dicomnode.dicom.building.highdicom_results import build_report\n"
        "try: build_report(None, [])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert done.startswith("DicomError")
    assert "dicomnode-host[highdicom]" in done
