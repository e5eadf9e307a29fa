"""What sources or a factory lack is collected, and reported at once."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.missing_tags import MissingTags, missing_tags_error
from dicomnode.errors import MissingTagsError


@pytest.mark.parametrize(
    ("sources", "lacking", "text"),
    [
        (0, None, "PatientID, StudyID: there are no source datasets"),
        (3, None, "PatientID, StudyID: 3 of 3 source datasets lack it"),
        (3, 1, "PatientID, StudyID: 1 of 3 source datasets lack it"),
    ],
)
def test_an_error_says_where_it_was_looked_for(sources, lacking, text):
    """How many of the sources lack the attributes, or that there are none."""
    error = missing_tags_error(["PatientID", "StudyID"], [Dataset()] * sources, lacking)
    assert str(error) == text
    assert error.keywords == ("PatientID", "StudyID")


def collected(*keywords):
    missing = MissingTags()
    for keyword in keywords:
        with missing:
            raise MissingTagsError(f"{keyword}: gone", [keyword])
    return missing


def test_nothing_missing_is_no_error():
    """Also after a block that went well."""
    missing = MissingTags()
    with missing:
        pass
    missing.report("mine")
    missing.report_within("CodeSequence")


def test_one_is_reported_in_a_line_and_several_in_a_list():
    """Each keyword is in the message and in ``keywords``."""
    with pytest.raises(MissingTagsError, match=r"^mine: PatientID: gone$") as caught:
        collected("PatientID").report("mine")
    assert caught.value.keywords == ("PatientID",)
    with pytest.raises(MissingTagsError) as caught:
        collected("PatientID", "StudyID").report("mine")
    assert str(caught.value).splitlines() == [
        "mine: 2 attributes are missing: PatientID, StudyID",
        "  PatientID: gone",
        "  StudyID: gone",
    ]
    assert caught.value.keywords == ("PatientID", "StudyID")


def test_what_is_missing_within_a_sequence_is_named_with_it():
    """``Sequence.Attribute``, in message and keywords."""
    with pytest.raises(MissingTagsError) as caught:
        collected("CodeValue", "CodeMeaning").report_within("RegionSequence")
    assert caught.value.keywords == ("RegionSequence.CodeValue", "RegionSequence.CodeMeaning")
    assert str(caught.value) == "RegionSequence.CodeValue: gone; RegionSequence.CodeMeaning: gone"


def test_other_errors_are_not_collected():
    """A mistake of an author's function is raised where it happens."""
    missing = MissingTags()
    with pytest.raises(ZeroDivisionError), missing:
        raise ZeroDivisionError
    assert not missing.errors
