"""The options of the profile (PS3.15 section E.3), and how they are recorded in the result."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomnode_anonymize.errors import AnonymizeError


class Option(StrEnum):
    """An option of the Basic Application Level Confidentiality Profile."""

    RETAIN_SAFE_PRIVATE = "retain-safe-private"
    RETAIN_UIDS = "retain-uids"
    RETAIN_DEVICE_IDENTITY = "retain-device-identity"
    RETAIN_INSTITUTION_IDENTITY = "retain-institution-identity"
    RETAIN_PATIENT_CHARACTERISTICS = "retain-patient-characteristics"
    RETAIN_LONGITUDINAL_FULL_DATES = "retain-longitudinal-full-dates"
    RETAIN_LONGITUDINAL_MODIFIED_DATES = "retain-longitudinal-modified-dates"
    CLEAN_DESCRIPTORS = "clean-descriptors"
    CLEAN_STRUCTURED_CONTENT = "clean-structured-content"
    CLEAN_GRAPHICS = "clean-graphics"

    @property
    def column(self) -> str:
        """The option's column in the tables."""
        return self.value.replace("-", "_")


PROFILE_CODE = "BasicApplicationConfidentialityProfile"
_CODES = {
    Option.RETAIN_SAFE_PRIVATE: "RetainSafePrivateOption",
    Option.RETAIN_UIDS: "RetainUidsOption",
    Option.RETAIN_DEVICE_IDENTITY: "RetainDeviceIdentityOption",
    Option.RETAIN_INSTITUTION_IDENTITY: "RetainInstitutionIdentityOption",
    Option.RETAIN_PATIENT_CHARACTERISTICS: "RetainPatientCharacteristicsOption",
    Option.RETAIN_LONGITUDINAL_FULL_DATES: "RetainLongitudinalTemporalInformationFullDatesOption",
    Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: "RetainLongitudinalTemporalInformationModifiedDatesOption",
    Option.CLEAN_DESCRIPTORS: "CleanDescriptorsOption",
    Option.CLEAN_STRUCTURED_CONTENT: "CleanStructuredContentOption",
    Option.CLEAN_GRAPHICS: "CleanGraphicsOption",
}

_DATES = {Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}


def checked_options(names: Iterable[str]) -> frozenset[Option]:
    """Return options by name.

    Parameters
    ----------
    names : iterable of str
        Their names, such as ``"retain-uids"``.

    Raises
    ------
    AnonymizeError
        When there is no such option, or two exclude each other.
    """
    made = set()
    for name in names:
        try:
            made.add(Option(name.strip().lower().replace("_", "-")))
        except ValueError:
            msg = f"there is no option {name!r}; there are: {', '.join(Option)}"
            raise AnonymizeError(msg) from None
    if made >= _DATES:
        msg = "dates are kept in full or modified: choose one of " + " and ".join(sorted(_DATES))
        raise AnonymizeError(msg)
    return frozenset(made)


def method_codes(options: Iterable[Option]) -> list[Dataset]:
    """Return the items of DeidentificationMethodCodeSequence (PS3.16 CID 7050)."""
    chosen = set(options)
    keywords = [PROFILE_CODE, *(keyword for option, keyword in _CODES.items() if option in chosen)]
    return [_item(getattr(codes.cid7050, keyword)) for keyword in keywords]


def temporal_information(options: Iterable[Option]) -> str:
    """Return the value of LongitudinalTemporalInformationModified (PS3.3 section C.7.1.1)."""
    chosen = set(options)
    if Option.RETAIN_LONGITUDINAL_FULL_DATES in chosen:
        return "UNMODIFIED"
    return "MODIFIED" if Option.RETAIN_LONGITUDINAL_MODIFIED_DATES in chosen else "REMOVED"


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
