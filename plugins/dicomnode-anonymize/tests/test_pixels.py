"""What pixels may show."""

from __future__ import annotations

import pytest
from dicomnode_anonymize.pixels import burned_in_text, marks, recognizable_features, refusal
from instances import bare

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"


@pytest.mark.parametrize(
    ("sop_class", "attributes", "at_risk"),
    [
        (CT_IMAGE, {"Modality": "CT"}, False),
        (CT_IMAGE, {"Modality": "CT", "BurnedInAnnotation": "YES"}, True),
        (CT_IMAGE, {"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
        (CT_IMAGE, {"Modality": "CT", "ConversionType": "WSD"}, True),
        (CT_IMAGE, {"Modality": "CT", "ConversionType": "WSD", "BurnedInAnnotation": "NO"}, False),
        ("1.2.840.10008.5.1.4.1.1.6.1", {"Modality": "US"}, True),
        ("1.2.840.10008.5.1.4.1.1.6.1", {"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        (CAPTURE, {"Modality": "CT"}, True),
        (PHOTOGRAPH, {"Modality": "XC"}, True),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL"],
                                            "BurnedInAnnotation": "NO"}, True),
    ],
)  # fmt: skip
def test_burned_in_text(sop_class: str, attributes: dict[str, object], *, at_risk: bool) -> None:
    """Declared, likely by kind of image, or shown by labels and captured screens."""
    image = bare(sop_class, Rows=1, **attributes)
    assert (burned_in_text(image) is not None) == at_risk
    assert (refusal(image, burned_in="refuse", visual_features="flag") is not None) == at_risk
    assert refusal(image, burned_in="flag", visual_features="flag") is None
    del image.Rows
    assert burned_in_text(image) is None


@pytest.mark.parametrize(
    ("attributes", "at_risk"),
    [
        ({"Modality": "CT", "BodyPartExamined": "CHEST"}, False),
        ({"Modality": "MR", "BodyPartExamined": "BRAIN"}, True),
        ({"Modality": "MR", "BodyPartExamined": "BRAIN", "RecognizableVisualFeatures": "NO"}, False),
        ({"Modality": "CT", "BodyPartExamined": "CHEST", "RecognizableVisualFeatures": "YES"}, True),
        ({"Modality": "PT", "BodyPartExamined": "WHOLE BODY"}, True),
        ({"Modality": "XC"}, True),
    ],
)
def test_recognizable_features(attributes: dict[str, object], *, at_risk: bool) -> None:
    """Declared, photographs, and heads of which a surface can be rendered."""
    image = bare(CT_IMAGE, Rows=1, **attributes)
    assert (recognizable_features(image) is not None) == at_risk
    assert ("pixels may show a recognizable face" in marks(image)) == at_risk
    assert all(len(mark) <= 64 for mark in marks(image))
