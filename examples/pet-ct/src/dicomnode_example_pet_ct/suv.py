"""Standardised uptake value by body weight.

SUV = activity concentration (Bq/ml) x body weight (g) / injected activity (Bq), both activities at one time.
The attributes are those of PS3.3 sections C.8.9.1 (PET Series) and C.8.9.2 (PET Isotope). The time to which
images are decay-corrected is found as in QIBA's vendor-neutral description of the calculation.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM


def suv_body_weight_factor(images: Sequence[Dataset]) -> float:
    """Return what a PET in Bq/ml is multiplied by to be in g/ml.

    Parameters
    ----------
    images : sequence of Dataset
        The images of the series.

    Returns
    -------
    float
        g/Bq; 1 for a series that is in SUV by body weight already.

    Raises
    ------
    ValueError
        When the series does not say what is needed. Attributes are named, values are not.
    """
    first = images[0]
    if first.Units == "GML":
        if first.get("SUVType", "BW") != "BW":
            raise ValueError("the PET is in SUV, but not by body weight (SUVType)")
        return 1.0
    weight = float(first.get("PatientWeight") or 0)
    if weight <= 0:
        raise ValueError("PatientWeight is missing")
    isotopes = first.get("RadiopharmaceuticalInformationSequence") or []
    if len(isotopes) != 1:
        raise ValueError(f"RadiopharmaceuticalInformationSequence has {len(isotopes)} items, not one")
    return 1000.0 * weight / activity_at_reference(images, isotopes[0])


def activity_at_reference(images: Sequence[Dataset], isotope: Dataset) -> float:
    """Return what is left of the injected activity, in Bq, at the time that images are corrected to."""
    missing = [each for each in ("RadionuclideTotalDose", "RadionuclideHalfLife") if not isotope.get(each)]
    if missing:
        raise ValueError(f"{' and '.join(missing)} of the radiopharmaceutical is missing")
    dose, half_life = float(isotope.RadionuclideTotalDose), float(isotope.RadionuclideHalfLife)
    correction = images[0].get("DecayCorrection")
    if correction == "ADMIN":  # corrected to the time of administration: nothing has decayed
        return dose
    if correction != "START" or "DECY" not in images[0].get("CorrectedImage", ()):
        raise ValueError("the PET is not decay-corrected to its start or to administration (DecayCorrection)")
    start = scan_start(images, half_life)
    injected = injection(isotope, start)
    elapsed = (start - injected).total_seconds()
    if not 0 <= elapsed < 10 * half_life:
        raise ValueError("the radiopharmaceutical was given after the scan, or over ten half-lives before")
    return dose * 2.0 ** (-elapsed / half_life)


def scan_start(images: Sequence[Dataset], half_life: float) -> dt.datetime:
    """Return the time to which images with DecayCorrection START are corrected.

    It is the series' time, unless that was rewritten by later processing: then it lies after the first
    acquisition, and the start follows from the time within the first frame that its average count rate is of.
    """
    series = moment(images[0], "Series")
    first = min(images, key=lambda image: moment(image, "Acquisition"))
    acquired = moment(first, "Acquisition")
    if series <= acquired:
        return series
    if not first.get("FrameReferenceTime") or not first.get("ActualFrameDuration"):
        raise ValueError("the series' time lies after the acquisition, and the frames do not tell its start")
    decay = math.log(2) / half_life
    in_frame = decay * float(first.ActualFrameDuration) / 1000
    average = math.log(in_frame / (1 - math.exp(-in_frame))) / decay
    return acquired + dt.timedelta(seconds=average - float(first.FrameReferenceTime) / 1000)


def injection(isotope: Dataset, start: dt.datetime) -> dt.datetime:
    """Return when the radiopharmaceutical was given: as a date and time, or a time of the day of the scan."""
    if isotope.get("RadiopharmaceuticalStartDateTime"):
        return DT(isotope.RadiopharmaceuticalStartDateTime).replace(tzinfo=None)
    if isotope.get("RadiopharmaceuticalStartTime"):
        given = dt.datetime.combine(start.date(), TM(isotope.RadiopharmaceuticalStartTime))
        return given if given <= start else given - dt.timedelta(days=1)
    raise ValueError("RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are missing")


def moment(image: Dataset, of: str) -> dt.datetime:
    """Return the date and time of the series or the acquisition of an image."""
    date, time = image.get(f"{of}Date"), image.get(f"{of}Time")
    if not date or not time:
        raise ValueError(f"{of}Date or {of}Time is missing")
    return dt.datetime.combine(DA(date), TM(time))
