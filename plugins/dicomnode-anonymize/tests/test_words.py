"""Descriptions are made of known words only."""

from __future__ import annotations

import pytest
from dicomnode_anonymize.words import Vocabulary, identifying_words, sought_identifiers
from hypothesis import given
from hypothesis import strategies as st
from instances import bare

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
VOCABULARY = Vocabulary()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT Thorax 5.0 mm", "CT Thorax 5.0 mm"),
        ("t2_tse_sag_512", "t2 tse sag 512"),
        ("DWI b1000 AX", "DWI b1000 AX"),
        ("Head w/o contrast, Dr. Miller", "Head wo contrast"),
        ("Abdomen 12.03.2024 Smith", "Abdomen"),
        ("Abdomen 20240312 14:05:33", "Abdomen"),
        ("MRN 8812734 knee", "knee"),
        ("John Doe", ""),
        ("", ""),
    ],
)
def test_known_words_stay(text: str, expected: str) -> None:
    """Words of imaging, body regions and short numbers stay; names, dates and long numbers go."""
    assert VOCABULARY.cleaned(text) == expected


def test_a_known_word_that_is_somebodys_name_goes() -> None:
    """A patient called Head, or an institution called Chest Hospital, loses the word in descriptions."""
    dataset = bare(CT_IMAGE, PatientName="Head^Michael", InstitutionName="Chest Hospital")
    words = identifying_words(dataset)
    assert VOCABULARY.cleaned("CT head and chest and neck", words) == "CT and and neck"


def test_a_site_adds_words() -> None:
    """What a site names is kept, in any case."""
    assert Vocabulary(["Siteprotocol7"]).cleaned("SITEPROTOCOL7 Miller") == "SITEPROTOCOL7"


@given(st.text(max_size=40))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    """What is left consists of known words, whatever the text was."""
    once = VOCABULARY.cleaned(text)
    assert VOCABULARY.cleaned(once) == once


def test_what_is_sought_in_other_text() -> None:
    """The patient's name and numbers are found as whole words in any case; short ones are not sought."""
    sought = sought_identifiers(bare(CT_IMAGE, PatientName="Quagmire^Al", PatientID="4711-Q"))
    assert sought is not None
    assert sought.search("scan of QUAGMIRE, al")
    assert sought.search("id=4711-q;")
    assert not sought.search("Quagmires 14711-Q Al")
    assert sought_identifiers(bare(CT_IMAGE, PatientName="Li^B", PatientID="12")) is None
