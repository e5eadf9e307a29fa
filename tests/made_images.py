"""Data sets of four identifiers, for the tests of trees."""

from __future__ import annotations

from pydicom.dataset import Dataset


def image(name: str, series: str = "1.3", study: str = "1.2", patient: str = "P", **more: object) -> Dataset:
    """Return a dataset of four identifiers."""
    made = Dataset()
    made.SOPInstanceUID, made.SeriesInstanceUID = f"1.4.{name}", series
    made.StudyInstanceUID, made.PatientID = study, patient
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made
