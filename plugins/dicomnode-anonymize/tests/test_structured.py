"""Structured reports."""

from __future__ import annotations

from dicomnode_anonymize import Anonymizer
from instances import SECRET, bare, code, content
from pydicom.dataset import Dataset

from conftest import KEY
from dicomnode import IdentityMapping

REPORT = "1.2.840.10008.5.1.4.1.1.88.22"
FINDING = code("121071", "DCM", "Finding")


def report(*items: Dataset) -> Dataset:
    """Return a report with content items."""
    return bare(REPORT, Modality="SR", ValueType="CONTAINER", ContentSequence=list(items))


def anonymized(dataset: Dataset, *options: str) -> Dataset:
    """De-identify with the key of the tests."""
    return Anonymizer(IdentityMapping(KEY), options).anonymize(dataset)


def test_without_the_option_the_content_goes() -> None:
    """What is left is one comment that says so."""
    made = anonymized(report(content("TEXT", FINDING, TextValue=SECRET)))
    assert [item.TextValue for item in made.ContentSequence] == ["Removed in de-identification"]
    assert SECRET not in str(made.ContentSequence)


def test_items_follow_the_table_of_concepts() -> None:
    """Listed concepts are removed, made dummies or kept as the options say, at every depth."""
    given = report(
        content("TEXT", code("121022", "DCM", "Accession Number"), TextValue=SECRET),
        content("PNAME", code("121008", "DCM", "Person Observer Name"), PersonName=SECRET),
        content("NUM", code("121033", "DCM", "Subject Age"), MeasuredValueSequence=[Dataset()]),
        content(
            "CONTAINER",
            FINDING,
            ContentSequence=[
                content("TEXT", FINDING, TextValue=f"nodule in the left lung, {SECRET}"),
                content("DATE", code("126201", "DCM", "Acquisition Date"), Date="20240229"),
                content("NUM", code("103355008", "SCT", "Width"), MeasuredValueSequence=[Dataset()]),
            ],
        ),
    )
    made = anonymized(given, "clean-structured-content", "clean-descriptors")
    kinds = [(item.ValueType, item.ConceptNameCodeSequence[0].CodeMeaning) for item in made.ContentSequence]
    assert kinds == [("PNAME", "Person Observer Name"), ("CONTAINER", "Finding")]
    assert str(made.ContentSequence[0].PersonName) == IdentityMapping(KEY).pseudonym("PersonName", SECRET)
    inner = made.ContentSequence[1].ContentSequence
    assert [item.ValueType for item in inner] == ["TEXT", "NUM"]
    assert inner[0].TextValue == "in the left lung"
    assert SECRET not in str(made)


def test_options_keep_what_they_are_for() -> None:
    """Age with retain-patient-characteristics; dates moved once, not twice; references mapped once."""

    def given() -> Dataset:
        return report(
            content("NUM", code("121033", "DCM", "Subject Age"), MeasuredValueSequence=[Dataset()]),
            content("DATE", code("126201", "DCM", "Acquisition Date"), Date="20240229"),
            content("DATETIME", code("1", "99X", "Some moment"), DateTime="20240229101112"),
            content("UIDREF", code("112040", "DCM", "Tracking Unique Identifier"), UID="1.2.3"),
            content("UIDREF", code("1", "99X", "Some object"), UID="1.2.3"),
        )

    dates = "retain-longitudinal-modified-dates"
    made = anonymized(given(), "clean-structured-content", "retain-patient-characteristics", dates)
    mapping = IdentityMapping(KEY)
    days = mapping.days("4711-Q")
    age, date, moment, *uids = made.ContentSequence
    assert age.ValueType == "NUM"
    from dicomnode_anonymize.dates import shifted

    assert shifted("20240229", days) == date.Date
    assert moment.DateTime == f"{date.Date}101112"
    assert {item.UID for item in uids} == {mapping.uid("1.2.3")}
    kept = anonymized(given(), "clean-structured-content", "retain-uids", "retain-longitudinal-full-dates")
    assert [item.UID for item in kept.ContentSequence if "UID" in item] == ["1.2.3", "1.2.3"]
    assert [item.Date for item in kept.ContentSequence if "Date" in item] == ["20240229"]


def test_acquisition_context_items_have_no_value_type() -> None:
    """In an acquisition context the attribute that is there tells the kind of value."""
    item = Dataset()
    item.ConceptNameCodeSequence, item.TextValue = [code("1", "99X", "x")], f"left {SECRET}"
    image = bare("1.2.840.10008.5.1.4.1.1.1.1", AcquisitionContextSequence=[item])
    assert anonymized(image, "clean-structured-content").AcquisitionContextSequence[0].TextValue == "left"
    item.TextValue = SECRET
    image = bare("1.2.840.10008.5.1.4.1.1.1.1", AcquisitionContextSequence=[item])
    assert len(anonymized(image).AcquisitionContextSequence) == 0
