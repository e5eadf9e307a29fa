"""What pixels may show, and headers alone cannot remove: burned-in text and faces.

This plugin does not change pixels. It says where they may identify somebody, so that whoever is responsible
can look, or so that such images are refused.
"""

from __future__ import annotations

from typing import Literal

from pydicom.dataset import Dataset

_WRITES_ON_IMAGES = frozenset({"DOC", "ES", "GM", "IVUS", "OP", "OT", "SC", "SM", "US", "XC"})
_CAPTURES = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.77.1")
"""Secondary capture and visible light, with all their descendants."""
_LABELS = frozenset({"LABEL", "OVERVIEW", "SCREEN SAVE", "SCREENSAVE"})
_PHOTOGRAPHS = frozenset({"GM", "XC", "DMS"})
_SHOWS_SURFACES = frozenset({"CT", "MR", "PT"})
_HEADS = ("HEAD", "BRAIN", "SKULL", "FACE", "NECK", "ORBIT", "SINUS", "JAW", "MANDIBLE", "WHOLEBODY")

Policy = Literal["refuse", "flag"]
"""What becomes of an image whose pixels may identify somebody."""

EXAMINED = (
    "BodyPartExamined",
    "BurnedInAnnotation",
    "ConversionType",
    "ImageType",
    "Modality",
    "RecognizableVisualFeatures",
    "Rows",
    "SOPClassUID",
    "SpecimenLabelInImage",
)
"""The attributes that are looked at."""


def refusal(dataset: Dataset, *, burned_in: Policy, visual_features: Policy) -> str | None:
    """Say why an image is refused, ``None`` where it is not.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    burned_in, visual_features : {"refuse", "flag"}
        What becomes of images that may hold text about the patient, and of those that may show a face.
    """
    if burned_in == "refuse" and (reason := burned_in_text(dataset)):
        return f"its pixels may hold text about the patient: {reason}"
    if visual_features == "refuse" and (reason := recognizable_features(dataset)):
        return f"its pixels may show who it is: {reason}"
    return None


def marks(dataset: Dataset) -> tuple[str, ...]:
    """Return what the result must say of its pixels (DeidentificationMethod), at most 64 characters each."""
    made = []
    if burned_in_text(dataset):
        made.append("pixels may hold burned-in text")
    if recognizable_features(dataset):
        made.append("pixels may show a recognizable face")
    return tuple(made)


def burned_in_text(dataset: Dataset) -> str | None:
    """Say why pixels may hold text about the patient, ``None`` where they should not.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    """
    if "Rows" not in dataset:
        return None
    declared = _text(dataset, "BurnedInAnnotation").upper()
    kinds = set(_text(dataset, "ImageType").upper().replace("'", "").strip("[]").split(", "))
    if declared == "YES":
        return "BurnedInAnnotation is YES"
    if _text(dataset, "SpecimenLabelInImage").upper() == "YES" or kinds & _LABELS:
        return "it shows a label or a captured screen"
    if declared == "NO":
        return None
    return _likely_text(dataset)


def _likely_text(dataset: Dataset) -> str | None:
    """Say why text is likely where nothing is declared."""
    sop_class = _text(dataset, "SOPClassUID")
    captured = any(sop_class == each or sop_class.startswith(f"{each}.") for each in _CAPTURES)
    if captured or "ConversionType" in dataset:
        return "it is a capture or a photograph, and BurnedInAnnotation does not say NO"
    modality = _text(dataset, "Modality").upper()
    if modality in _WRITES_ON_IMAGES:
        return f"devices of modality {modality} write on images, and BurnedInAnnotation does not say NO"
    return None


def recognizable_features(dataset: Dataset) -> str | None:
    """Say why somebody may be recognised by the pixels, ``None`` where nothing suggests it.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    """
    if "Rows" not in dataset:
        return None
    declared = _text(dataset, "RecognizableVisualFeatures").upper()
    if declared == "YES":
        return "RecognizableVisualFeatures is YES"
    if declared == "NO":
        return None
    modality = _text(dataset, "Modality").upper()
    if modality in _PHOTOGRAPHS:
        return f"modality {modality} is photography"
    region = _text(dataset, "BodyPartExamined").upper().replace(" ", "")
    if modality in _SHOWS_SURFACES and any(head in region for head in _HEADS):
        return f"a face can be rendered from {modality} of the head"
    return None


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
