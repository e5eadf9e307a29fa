"""Naming an attribute."""

import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.values.tags import PrivateTag, describe_tag, find_tag, parse_tag
from dicomnode.errors import InvalidValueError


@pytest.mark.parametrize(
    "written", ["PatientID", 0x00100020, (0x0010, 0x0020), "0010,0020", "(0010,0020)", Tag(0x00100020)]
)
def test_a_standard_tag_can_be_written_in_every_usual_way(written):
    """Keyword, integer, pair and text of a pair all name the same attribute."""
    assert parse_tag(written) == (Tag(0x00100020), None)


def test_an_unknown_keyword_names_its_neighbours():
    """A misspelt keyword is answered with what was probably meant."""
    with pytest.raises(InvalidValueError, match=r"did you mean.*PatientID"):
        parse_tag("PatientId")


def test_the_very_first_keyword_parsed_may_be_a_misspelt_one():
    """The suggestions do not depend on pydicom having filled its dictionary before."""
    with pytest.raises(InvalidValueError, match="StudyDate"):
        parse_tag("StudyDat")


@pytest.mark.parametrize("written", [0x00020010, 0x00000002, 0x00080000, "TransferSyntaxUID"])
def test_what_no_data_set_holds_is_refused(written):
    """Command, file meta and group length elements belong to whoever writes the file."""
    with pytest.raises(InvalidValueError, match="does not belong to a data set"):
        parse_tag(written)


@pytest.mark.parametrize("written", [-1, 2**32, (1, 2, 3), (70000, 1)])
def test_a_number_that_is_no_tag_is_refused(written):
    """A number out of range is an error of ours and not one from the depth of pydicom."""
    with pytest.raises(InvalidValueError, match="not a DICOM tag"):
        parse_tag(written)


def test_a_private_tag_wants_its_creator():
    """A bare private number is refused, and the message says how to write it."""
    with pytest.raises(InvalidValueError, match=r"PrivateTag\(0x0029, 0x01, 'CREATOR'\)"):
        parse_tag(0x00291001)


def test_a_private_tag_is_the_same_in_every_block():
    """Only the low byte of the element number counts."""
    assert PrivateTag(0x0029, 0x1201, "ACME ") == PrivateTag(0x0029, 0x01, "ACME")
    assert parse_tag(PrivateTag(0x0029, 0x01, "ACME")) == (Tag(0x00291001), "ACME")


@pytest.mark.parametrize(
    ("group", "element", "creator"),
    [
        (0x0028, 1, "ACME"),
        (0x0007, 1, "ACME"),
        (0x0029, 1, ""),
        (0x0029, 1, "A" * 65),
        (0x0029, 1, "A\\B"),
        (9, -1, "A"),
    ],
)
def test_an_impossible_private_tag_is_refused(group, element, creator):
    """Even groups, reserved groups and impossible creators are refused (PS3.5 section 7.8)."""
    with pytest.raises(InvalidValueError):
        PrivateTag(group, element, creator)


def test_a_private_attribute_is_found_in_its_creators_block():
    """The block that the dataset reserved decides, not the nominal number."""
    dataset = Dataset()
    dataset.private_block(0x0029, "OTHER", create=True).add_new(0x01, "LO", "theirs")
    dataset.private_block(0x0029, "ACME", create=True).add_new(0x01, "LO", "ours")
    tag, creator = parse_tag(PrivateTag(0x0029, 0x01, "ACME"))
    assert find_tag(dataset, tag, creator) == Tag(0x00291101)
    assert find_tag(dataset, tag, "NOBODY") is None


def test_tags_are_described_for_a_reader():
    """Keyword where there is one, numbers where not, creator where private."""
    assert describe_tag(0x00100020) == "PatientID"
    assert describe_tag(0x00091001, "ACME") == "(0009,xx01) of 'ACME'"
    assert describe_tag(0x00110010) == "(0011,0010)"
