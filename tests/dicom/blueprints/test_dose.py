"""The ready-made blueprint of RT Dose."""

from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprints.dose import first_position
from dicomnode.dicom.building.header import make_header
from sources import ct_slices, dose_grid


def test_a_dose_begins_where_its_first_source_lies():
    """One position for all frames: that of the first in the header's order (PS3.3 C.8.8.3)."""
    sources = ct_slices()
    assert first_position(sources) == sources[0].ImagePositionPatient
    assert first_position([]) is None
    assert first_position([Dataset()]) is None
    shared = make_header(None, blueprints.rt_dose_blueprint, sources).shared
    assert shared.ImagePositionPatient == sources[0].ImagePositionPatient


def test_a_dose_is_in_gray_and_of_a_plan_unless_the_source_says_otherwise():
    """What a CT does not say has the usual value; what a dose says is kept."""
    new = make_header(None, blueprints.rt_dose_blueprint, ct_slices()).shared
    assert (new.Modality, new.DoseUnits, new.DoseType) == ("RTDOSE", "GY", "PHYSICAL")
    assert new.DoseSummationType == "PLAN"
    dose = dose_grid()
    dose.DoseType, dose.DoseSummationType = "EFFECTIVE", "FRACTION"
    kept = make_header(None, blueprints.rt_dose_blueprint, [dose]).shared
    assert (kept.DoseType, kept.DoseSummationType) == ("EFFECTIVE", "FRACTION")
    assert kept.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
