"""What is put in the place of a value."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from dicomnode import IdentityMapping
from dicomnode_anonymize.dates import shifted
from dicomnode_anonymize.dummies import dummy, pdf
from dicomnode_anonymize.elements import TEXT_VRS, keyword_of
from dicomnode_anonymize.subject import Subject
from dicomnode_anonymize.words import Vocabulary

_TEXTS_AND_NAMES = TEXT_VRS | {"AE", "PN"}


class Replacements:
    """What is put in the place of the values of one data set.

    Parameters
    ----------
    mapping : IdentityMapping
        Where pseudonyms and new UIDs come from.
    subject : Subject
        Whose the data set is.
    vocabulary : Vocabulary or None
        The words that may stay; ``None`` where nothing is cleaned.
    """

    def __init__(self, mapping: IdentityMapping, subject: Subject, vocabulary: Vocabulary | None) -> None:
        self._mapping = mapping
        self._subject = subject
        self._vocabulary = vocabulary

    def pseudonym(self, dataset: Dataset, tag: BaseTag) -> str:
        """Return the pseudonym of Patient ID, name or Accession Number; for other attributes the empty text.

        The profile would allow zero length, but without these nothing could be found again. The name
        is the Patient ID's pseudonym: one patient, one name.
        """
        keyword = keyword_of(int(tag))
        if keyword in ("PatientID", "PatientName"):
            return self._subject.pseudonym
        if keyword == "AccessionNumber":
            return self._mapping.pseudonym(keyword, str(dataset[tag].value or ""))
        return ""

    def dummy(self, dataset: Dataset, tag: BaseTag, vr: str, *, is_descriptor: bool) -> Any:
        """Return a dummy: for identifiers and names one that is the same for the same value.

        Parameters
        ----------
        dataset, tag, vr
            The element.
        is_descriptor : bool
            Whether it is a description, which says nothing more once it is replaced.
        """
        if (made := self.pseudonym(dataset, tag)) != "":
            return made
        keyword = keyword_of(int(tag))
        if keyword == "EncapsulatedDocument" and _is_pdf(dataset):
            return pdf()
        if vr == "UI":
            return self.uids(dataset[tag].value)
        if vr in _TEXTS_AND_NAMES and vr != "UR" and not is_descriptor:
            return _each(dataset[tag].value, lambda value: self._mapping.pseudonym(keyword, str(value)))
        return _each(dataset[tag].value, lambda _: dummy(vr))

    def cleaned(self, dataset: Dataset, tag: BaseTag, vr: str) -> Any:
        """Return what can be kept of a value, or ``None``."""
        value = dataset[tag].value
        if vr in ("DA", "DT"):
            return self.dates(value)
        if vr == "TM":
            return value  # dates move by whole days
        if vr == "AE":
            return _each(value, lambda each: self._mapping.pseudonym("AE", str(each)))
        if vr in TEXT_VRS and vr != "UR":
            return self.text(value)
        return None

    def dates(self, value: Any) -> Any:
        """Return dates or date-times, moved by the patient's days; ``None`` when one of them is no date."""
        moved = _each(value, lambda each: shifted(str(each), self._subject.days))
        return None if moved is None or (isinstance(moved, list) and None in moved) else moved

    def text(self, value: Any) -> Any:
        """Return what is known to identify nobody of a text, ``None`` where that is nothing."""
        if self._vocabulary is None:
            return None
        vocabulary, identifying = self._vocabulary, self._subject.identifying
        cleaned = _each(value, lambda each: vocabulary.cleaned(str(each), identifying))
        return cleaned if any(cleaned) else None

    def uids(self, value: Any) -> Any:
        """Return new UIDs for one or several."""
        return _each(value, lambda each: self._mapping.uid(str(each)))

    def name(self, value: Any) -> str:
        """Return the pseudonym of a person who is not the patient."""
        return self._mapping.pseudonym("PersonName", str(value))

    def names_the_patient(self, dataset: Dataset, tag: BaseTag, vr: str) -> bool:
        """Say whether text holds the patient's own name or number. Meanings of public codes are left out."""
        sought = self._subject.sought
        if sought is None or vr not in TEXT_VRS or _is_public_meaning(dataset, tag):
            return False
        element = dataset.get_item(tag)
        value = None if element is None else element.value
        if isinstance(value, bytes):
            # Decoding by the character set is slow, and only names outside of ASCII need it.
            value = value.decode("latin-1") if sought.pattern.isascii() else dataset[tag].value
        return sought.search(str(value or "")) is not None


def _each(value: Any, change: Any) -> Any:
    """Apply a function to one value, or to each of several."""
    if isinstance(value, MultiValue | list | tuple):
        return [change(each) for each in value]
    return change(value)


def _is_public_meaning(dataset: Dataset, tag: BaseTag) -> bool:
    """Say whether an element is the meaning of a code of a public scheme (PS3.16 section 8.2)."""
    if keyword_of(int(tag)) != "CodeMeaning":
        return False
    return not str(dataset.get("CodingSchemeDesignator") or "99").startswith("99")


def _is_pdf(dataset: Dataset) -> bool:
    return str(dataset.get("MIMETypeOfEncapsulatedDocument") or "").strip().lower() == "application/pdf"
