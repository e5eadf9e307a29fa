"""What the result says of its own de-identification (PS3.15 section E.1.1, PS3.3 section C.7.1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode_anonymize.errors import AnonymizeError
from dicomnode_anonymize.options import Option, method_codes, temporal_information
from dicomnode_anonymize.profile import edition

_DISTRIBUTION = "dicomnode-anonymize"
_BY_ENCODING: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


@cache
def method() -> tuple[str, ...]:
    """Return the values of DeidentificationMethod, at most 64 characters each."""
    return (
        f"{edition()} Basic Application Confidentiality Profile",
        f"{_DISTRIBUTION} {version(_DISTRIBUTION)}; pixels unchanged",
    )


def note(dataset: Dataset, options: Iterable[Option], marks: Iterable[str] = ()) -> None:
    """Write into an instance that it is de-identified, and how.

    What an earlier de-identification has written is kept in front.

    Parameters
    ----------
    dataset : Dataset
        The instance; it is changed.
    options : iterable of Option
        The options that were used.
    marks : iterable of str
        What is to be known of its pixels.
    """
    dataset.PatientIdentityRemoved = "YES"
    before = dataset.get("DeidentificationMethod") or []
    methods = [before] if isinstance(before, str) else list(before)
    dataset.DeidentificationMethod = [
        *methods,
        *(each for each in (*method(), *marks) if each not in methods),
    ]
    items = list(dataset.get("DeidentificationMethodCodeSequence") or ())
    known = {(item.get("CodingSchemeDesignator"), item.get("CodeValue")) for item in items}
    items += [
        code for code in method_codes(options) if (code.CodingSchemeDesignator, code.CodeValue) not in known
    ]
    dataset.DeidentificationMethodCodeSequence = items
    dataset.LongitudinalTemporalInformationModified = temporal_information(options)


def file_meta(dataset: Dataset) -> FileMetaDataset:
    """Return new file meta information, which says nothing of who sent or wrote the file before.

    Parameters
    ----------
    dataset : Dataset
        The de-identified instance, still with the file meta information that it was read with.

    Raises
    ------
    AnonymizeError
        When nothing tells in which transfer syntax it is encoded.
    """
    made = FileMetaDataset()
    made.MediaStorageSOPClassUID = dataset.SOPClassUID
    made.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    made.TransferSyntaxUID = _transfer_syntax(dataset)
    made.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    made.ImplementationVersionName = "DICOMNODE_ANON"
    return made


def _transfer_syntax(dataset: Dataset) -> UID:
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and meta.get("TransferSyntaxUID"):
        return UID(meta.TransferSyntaxUID)
    syntax = _BY_ENCODING.get(dataset.original_encoding)
    if syntax is None:
        msg = "it has no file meta information, and nothing else tells its transfer syntax"
        raise AnonymizeError(msg)
    return syntax
