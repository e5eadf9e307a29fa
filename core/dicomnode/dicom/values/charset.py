"""Choosing SpecificCharacterSet so that every text can be written (PS3.5 section 6.1; PS3.3 C.12.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

UNICODE: Final = "ISO_IR 192"
_DEFAULT_REPERTOIRE: Final = ("", "ISO_IR 6", "ISO 2022 IR 6")
_TEXTUAL: Final = frozenset({*map(str, CUSTOMIZABLE_CHARSET_VR), "SQ"})


def settle_charset(dataset: Dataset, texts: Iterable[DataElement] | None = None) -> None:
    """Set SpecificCharacterSet to UTF-8 if the one in the dataset cannot hold its texts; keep it otherwise.

    Parameters
    ----------
    dataset : Dataset
        Is changed at SpecificCharacterSet only.
    texts : iterable of DataElement, optional
        The elements to look at, all of the dataset if not given.
    """
    if not charset_holds(dataset.get("SpecificCharacterSet"), dataset if texts is None else texts):
        dataset.SpecificCharacterSet = UNICODE


def charset_holds(declared: object, texts: Iterable[DataElement]) -> bool:
    """Return whether a character set can hold the texts of elements.

    Parameters
    ----------
    declared : str, list of str or None
        SpecificCharacterSet.
    texts : iterable of DataElement
        Of any VR; what is nested counts.
    """
    if declared == UNICODE:
        return True
    textual = [element for element in texts if element.VR in _TEXTUAL]
    return not textual or all(_fits(element, _encoding_of(declared)) for element in textual)


def _encoding_of(declared: object) -> str:
    """Return one Python encoding; ASCII where code extensions (ISO 2022) would have to be juggled.

    ASCII also for the default repertoire and for a set that pydicom does not know: it would write Latin-1 for
    both, which no reader expects.
    """
    if not isinstance(declared, str) or declared in _DEFAULT_REPERTOIRE:
        return "ascii"
    return str(python_encoding.get(declared, "ascii"))


def _fits(element: DataElement, encoding: str) -> bool:
    if element.VR == "SQ":
        return all(_fits(nested, encoding) for item in element.value or () for nested in item)
    if element.VR not in CUSTOMIZABLE_CHARSET_VR or not element.value:
        return True
    values = element.value if element.VM > 1 else (element.value,)
    try:
        for value in values:
            str(value).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
