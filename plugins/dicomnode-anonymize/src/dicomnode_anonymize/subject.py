"""Whose a data set is: what becomes of the patient's identifiers, the same in every instance."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicomnode import IdentityMapping
from dicomnode_anonymize.words import identifying_words, sought_identifiers


@dataclass(frozen=True)
class Subject:
    """One data set's patient.

    Attributes
    ----------
    pseudonym : str
        The new Patient ID, and the new name; empty where the data set names nobody.
    days : int
        By how much the patient's dates are moved.
    identifying : frozenset of str
        Words that are somebody's or some place's, see :func:`~dicomnode_anonymize.words.identifying_words`.
    sought : re.Pattern or None
        What finds the patient's own name and numbers in text.
    """

    pseudonym: str
    days: int
    identifying: frozenset[str]
    sought: re.Pattern[str] | None


def subject_of(dataset: Dataset, mapping: IdentityMapping, *, words: bool) -> Subject:
    """Return whose a data set is.

    The patient is the one that the Patient ID and its issuer name; without a Patient ID the name, and without
    a name the study stands for the patient, so that dates move by the same days in all of it.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    mapping : IdentityMapping
        Where pseudonyms come from.
    words : bool
        Whether the words that identify are wanted, for cleaning descriptions.
    """
    number, issuer, name = (
        str(dataset.get(keyword) or "").strip()
        for keyword in ("PatientID", "IssuerOfPatientID", "PatientName")
    )
    if number:
        pseudonym, key = mapping.patient_id(number, issuer), f"{number}\\{issuer}" if issuer else number
    elif name.strip("^= "):
        pseudonym, key = mapping.pseudonym("PatientName", name), f"name\\{name}"
    else:
        pseudonym, key = "", f"study\\{dataset.get('StudyInstanceUID') or ''}"
    return Subject(
        pseudonym=pseudonym,
        days=mapping.days(key),
        identifying=identifying_words(dataset) if words else frozenset(),
        sought=sought_identifiers(dataset),
    )
