"""SUV by body weight: numbers that can be worked out on paper."""

from __future__ import annotations

import pytest
from dicomnode_example_pet_ct.suv import scan_start, suv_body_weight_factor
from pydicom.dataset import Dataset

HALF_LIFE = 6586.2
DOSE = 350e6


def isotope(**attributes):
    """Return fluorine-18, given an hour before the scan."""
    made = Dataset()
    made.RadionuclideTotalDose, made.RadionuclideHalfLife = DOSE, HALF_LIFE
    made.RadiopharmaceuticalStartTime = "091500"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.fixture
def pet(synthetic_series):
    """Return a function that makes a PET series; it starts on 2026-01-02 at 10:15, the patient has 70 kg."""

    def make(given=None, **attributes):
        attributes["RadiopharmaceuticalInformationSequence"] = [given or isotope()]
        return synthetic_series("PT", (2, 4, 4), **attributes)

    return make


def test_an_hour_of_decay(pet):
    """70 kg, 350 MBq an hour before the start: 70000 g / (350 MBq x 2^(-3600 s / 6586.2 s))."""
    assert suv_body_weight_factor(pet()) == pytest.approx(70000 / (350e6 * 0.684633), rel=1e-5)


def test_one_half_life(pet):
    """A half-life after the injection the factor is twice that at the injection."""
    seconds = isotope(RadionuclideHalfLife=3600)
    assert suv_body_weight_factor(pet(seconds)) == pytest.approx(2 * 70000 / 350e6)


def test_corrected_to_administration(pet):
    """Nothing has decayed where the images are corrected to the time of administration."""
    assert suv_body_weight_factor(pet(DecayCorrection="ADMIN")) == pytest.approx(70000 / 350e6)


def test_already_in_suv(pet):
    """A series in g/ml by body weight is left alone; by lean body mass it is another quantity."""
    assert suv_body_weight_factor(pet(Units="GML")) == 1.0
    with pytest.raises(ValueError, match="SUVType"):
        suv_body_weight_factor(pet(Units="GML", SUVType="LBM"))


def test_past_midnight(pet):
    """An injection by time of day at 23:50 before a scan at 00:20 was on the day before."""
    late = isotope(RadiopharmaceuticalStartTime="235000", RadionuclideHalfLife=1800)
    assert suv_body_weight_factor(pet(late, SeriesTime="002000")) == pytest.approx(2 * 70000 / 350e6)


def test_date_and_time_of_the_injection(pet):
    """The date and time goes before the time of day."""
    given = isotope(RadiopharmaceuticalStartDateTime="20260102081500.000000", RadionuclideHalfLife=3600)
    assert suv_body_weight_factor(pet(given)) == pytest.approx(4 * 70000 / 350e6)


def test_a_series_time_that_was_rewritten(pet):
    """Then the start follows from the first frame: 10:15 acquired, count rate average 60 s after the start.

    Of a frame of 120 s the average count rate of fluorine-18 is reached after 59.94 s.
    """
    images = pet(SeriesTime="120000", FrameReferenceTime="60000", ActualFrameDuration="120000")
    start = scan_start(images, HALF_LIFE)
    assert start.strftime("%H:%M:%S") in ("10:14:59", "10:15:00")
    later = pet(SeriesTime="120000", FrameReferenceTime="360000", ActualFrameDuration="120000")
    assert (start - scan_start(later, HALF_LIFE)).total_seconds() == pytest.approx(300)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"PatientWeight": None}, "PatientWeight"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection"),
        ({"CorrectedImage": ["ATTN"]}, "DecayCorrection"),
        ({"SeriesTime": None}, "SeriesTime"),
        ({"given": isotope(RadionuclideTotalDose=None)}, "RadionuclideTotalDose"),
        ({"given": isotope(RadiopharmaceuticalStartTime=None)}, "RadiopharmaceuticalStart"),
        ({"given": isotope(RadiopharmaceuticalStartDateTime="20260102120000")}, "after the scan"),
        ({"given": isotope(RadionuclideTotalDose=0)}, "RadionuclideTotalDose"),
    ],
)
def test_what_is_missing_is_named(pet, change, told):
    """No factor is better than a wrong one."""
    with pytest.raises(ValueError, match=told):
        suv_body_weight_factor(pet(**change))
