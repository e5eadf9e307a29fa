"""The tables, and what compound actions mean."""

from __future__ import annotations

import re

import pytest
from dicomnode_anonymize import AnonymizeError, Option
from dicomnode_anonymize.options import checked_options, method_codes, temporal_information
from dicomnode_anonymize.private import known_safe, parsed_tags
from dicomnode_anonymize.profile import Action, Profile, resolved, tables
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

ROWS = tables()["attributes"]
KNOWN = sorted(
    int(tag, 16) for tag in ROWS if re.fullmatch("[0-9A-F]{8}", tag) and keyword_for_tag(int(tag, 16))
)
COLUMNS = {option.column for option in Option}


def action(keyword: str, *options: Option, attribute_type: str | None = "3") -> Action | None:
    """Return what becomes of an attribute."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Profile(options).action(tag, keyword, dictionary_VR(tag), attribute_type)


def test_the_tables_are_whole() -> None:
    """Every row has an action that can be done and options that exist; edition and sources are named."""
    assert len(ROWS) > 600
    for row in [*ROWS.values(), *tables()["content_items"]]:
        assert re.fullmatch(r"[DZXU]|X/Z|X/D|Z/D|X/Z/D|X/Z/U\*", row["basic"])
        assert set(row.get("options", {})) <= COLUMNS
        assert set(row.get("options", {}).values()) <= {"K", "C"}
    assert {column for row in ROWS.values() for column in row.get("options", {})} == COLUMNS
    assert tables()["edition"] == "DICOM PS3.15 2026d"
    assert "MIT" in tables()["source"]
    assert len(known_safe()) > 400


@pytest.mark.parametrize(
    ("compound", "by_type"),
    [
        ("X/Z", {"1": "D", "1C": "D", "2": "Z", "2C": "Z", "3": "X", None: "Z"}),
        ("X/D", {"1": "D", "1C": "D", "2": "D", "2C": "D", "3": "X", None: "D"}),
        ("X/Z/D", {"1": "D", "1C": "D", "2": "Z", "2C": "Z", "3": "X", None: "D"}),
        ("Z/D", {"1": "D", "1C": "D", "2": "Z", "2C": "Z", "3": "Z", None: "D"}),
        ("X/Z/U*", {"1": "U", "2": "U", "3": "U", None: "U"}),
        ("X", {"1": "X", "2": "X", "3": "X", None: "X"}),
        ("Z", {"1": "D", "2": "Z", "3": "Z", None: "Z"}),
        ("D", {"1": "D", "2": "D", "3": "D", None: "D"}),
    ],
)
def test_compound_actions_follow_the_type(compound: str, by_type: dict[str | None, str]) -> None:
    """Of the actions allowed, the least that leaves the instance valid (Table E.1-1a)."""
    assert {kind: resolved(compound, kind) for kind in by_type} == by_type


def test_each_option_keeps_or_cleans_what_it_is_for() -> None:
    """The same attribute with and without the option."""
    cases = [
        (Option.RETAIN_UIDS, "StudyInstanceUID", Action.UID, Action.KEEP),
        (Option.RETAIN_DEVICE_IDENTITY, "DeviceSerialNumber", Action.REMOVE, Action.KEEP),
        (Option.RETAIN_DEVICE_IDENTITY, "StationAETitle", Action.REMOVE, Action.CLEAN),
        (Option.RETAIN_INSTITUTION_IDENTITY, "InstitutionName", Action.REMOVE, Action.KEEP),
        (Option.RETAIN_PATIENT_CHARACTERISTICS, "PatientAge", Action.REMOVE, Action.KEEP),
        (Option.RETAIN_PATIENT_CHARACTERISTICS, "Allergies", Action.REMOVE, Action.CLEAN),
        (Option.RETAIN_LONGITUDINAL_FULL_DATES, "StudyDate", Action.ZERO, Action.KEEP),
        (Option.RETAIN_LONGITUDINAL_MODIFIED_DATES, "StudyDate", Action.ZERO, Action.CLEAN),
        (Option.CLEAN_DESCRIPTORS, "StudyDescription", Action.REMOVE, Action.CLEAN),
        (Option.CLEAN_STRUCTURED_CONTENT, "ContentSequence", Action.DUMMY, Action.CLEAN),
        (Option.CLEAN_GRAPHICS, "GraphicAnnotationSequence", Action.DUMMY, Action.CLEAN),
    ]
    for option, keyword, without, with_it in cases:
        assert action(keyword) is without, keyword
        assert action(keyword, option) is with_it, keyword


def test_cleaning_goes_before_keeping() -> None:
    """A device's date that one option keeps and another moves is moved: dates stay consistent."""
    both = (Option.RETAIN_DEVICE_IDENTITY, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES)
    assert action("CalibrationDateTime", both[0]) is Action.KEEP
    assert action("CalibrationDateTime", *both) is Action.CLEAN


def test_what_the_table_forgot_is_told_by_its_vr() -> None:
    """Names, dates and UIDs of objects are treated although they have no row; UIDs of classes stay."""
    assert action("SecondaryReviewerName") is Action.REMOVE
    assert action("SecondaryReviewDate", Option.RETAIN_LONGITUDINAL_MODIFIED_DATES) is Action.CLEAN
    assert action("VolumeFrameOfReferenceUID") is Action.UID
    assert action("VolumeFrameOfReferenceUID", Option.RETAIN_UIDS) is Action.KEEP
    for keyword in ("SOPClassUID", "ReferencedSOPClassUID", "CodingSchemeUID", "AvailableTransferSyntaxUID"):
        assert action(keyword) is None


@given(st.sampled_from(KNOWN), st.sets(st.sampled_from(list(Option))), st.sampled_from(["1", "2", "3", None]))
def test_nothing_listed_is_kept_without_an_option_that_says_so(
    tag: int, options: set[Option], attribute_type: str | None
) -> None:
    """Whatever the options: a listed attribute is kept only where a chosen option says keep."""
    keyword, vr = keyword_for_tag(tag), dictionary_VR(tag)
    done = Profile(options).action(tag, keyword, vr, attribute_type)
    assert done is not None
    row = Profile(options).row(tag, keyword, vr)
    spoken = {row.get("options", {}).get(option.column) for option in options}
    assert (done is Action.KEEP) == ("K" in spoken and "C" not in spoken)


def test_options_by_name() -> None:
    """Names are taken in either spelling; an unknown one and two that exclude each other are errors."""
    assert checked_options(["retain_uids", " Clean-Graphics"]) == {Option.RETAIN_UIDS, Option.CLEAN_GRAPHICS}
    with pytest.raises(AnonymizeError, match="no option 'retain-all'; there are: retain-safe-private"):
        checked_options(["retain-all"])
    with pytest.raises(AnonymizeError, match="choose one"):
        checked_options(["retain-longitudinal-full-dates", "retain-longitudinal-modified-dates"])


def test_the_codes_of_the_options() -> None:
    """Each option is recorded by its code of CID 7050, after that of the profile."""
    made = [item.CodeValue for item in method_codes(Option)]
    assert made[0] == "113100"
    assert sorted(made[1:]) == ["113103", "113104", "113105", *(str(113106 + n) for n in range(7))]
    assert temporal_information([]) == "REMOVED"
    assert temporal_information([Option.RETAIN_LONGITUDINAL_FULL_DATES]) == "UNMODIFIED"
    assert temporal_information([Option.RETAIN_LONGITUDINAL_MODIFIED_DATES]) == "MODIFIED"


def test_private_tags_as_they_are_written() -> None:
    """The usual ways of writing a private tag are read; anything else is an error that shows how."""
    wanted = {(0x19, "SIEMENS MR HEADER", 0x0C)}
    for text in (
        '(0019,"SIEMENS MR HEADER",0c)',
        "0019,SIEMENS MR HEADER,0C",
        "0019, SIEMENS MR HEADER, xx0c",
    ):
        assert parsed_tags([text]) == wanted
    for text in ("0019,100c", "0018,SIEMENS MR HEADER,0c", ""):
        with pytest.raises(AnonymizeError, match="write it as"):
            parsed_tags([text])
