"""Blueprints: sets of virtual elements, checked against their SOP class when defined."""

import pytest
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprint.sequence_element import SequenceElement
from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    StaticElement,
)
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import BlueprintError, InvalidValueError, MissingTagsError


def test_the_right_side_wins():
    """Adding a blueprint or an element overrides what the left side says of the same attribute."""
    left = Blueprint([CopyElement("PatientID"), CopyElement("PatientName")])
    right = Blueprint([StaticElement("PatientID", "x")])
    assert (left + right)["PatientID"] == StaticElement("PatientID", "x")
    assert (right + left)["PatientID"] == CopyElement("PatientID")
    assert (left + DiscardElement("PatientName"))["PatientName"] == DiscardElement("PatientName")
    assert left["PatientID"] == CopyElement("PatientID"), "a sum must not change its parts"


def test_adding_something_else_is_a_type_error():
    """Only blueprints and elements can be added."""
    with pytest.raises(TypeError):
        Blueprint() + "PatientID"


def test_two_elements_for_one_attribute_are_a_conflict():
    """Within one definition nothing says which is meant."""
    with pytest.raises(BlueprintError, match=r"PatientID.*contradict"):
        Blueprint([CopyElement("PatientID"), StaticElement(0x00100020, "x")])
    assert len(Blueprint([CopyElement("PatientID"), CopyElement("PatientID")])) == 1


def test_private_attributes_of_two_creators_do_not_conflict():
    """The creator is part of what identifies a private attribute."""
    ours, theirs = PrivateTag(0x0029, 1, "OURS"), PrivateTag(0x0029, 1, "THEIRS")
    both = Blueprint([StaticElement(ours, "a", VR="LO"), StaticElement(theirs, "b", VR="LO")])
    assert len(both) == 2
    assert ours in both
    assert ours not in both - ours


def test_a_blueprint_is_a_set_of_attributes():
    """Length, membership, lookup, removal, iteration in the order of tags, equality and hash."""
    blueprint = Blueprint([CopyElement("StudyDate"), CopyElement("PatientID")])
    twin = Blueprint([CopyElement("PatientID"), CopyElement("StudyDate")], name="twin")
    assert [element.keyword for element in blueprint] == ["StudyDate", "PatientID"]
    assert "PatientID" in blueprint
    assert 0x00100020 in blueprint
    assert CopyElement("PatientID") in blueprint
    assert CopyElement("PatientID", optional=True) not in blueprint
    assert "PatientID" not in blueprint - "PatientID"
    assert blueprint == twin
    assert hash(blueprint) == hash(twin)
    assert blueprint.get("PatientName") is None
    with pytest.raises(KeyError):
        blueprint["PatientName"]
    with pytest.raises(InvalidValueError):
        "PatientIdd" in blueprint  # noqa: B015 - it raises


def test_a_blueprint_is_immutable():
    """Nothing of a blueprint can be set, so a module's blueprint remembers no patient."""
    blueprint = Blueprint([CopyElement("PatientID")])
    with pytest.raises(AttributeError):
        blueprint.extra = 1
    with pytest.raises(AttributeError):
        blueprint.name = "x"
    with pytest.raises(TypeError):
        blueprint["PatientID"] = CopyElement("PatientID")


def test_what_is_no_element_is_refused():
    """A keyword in place of an element is named."""
    with pytest.raises(BlueprintError, match="'PatientID' is not a VirtualElement"):
        Blueprint(["PatientID"])


def test_required_tags_are_those_of_the_required_copies():
    """Also within sequences; optional copies and fixed values require nothing."""
    nested = Blueprint([CopyElement("StudyID"), StaticElement("CodeValue", "1")])
    blueprint = Blueprint(
        [
            CopyElement("PatientID"),
            CopyElement("PatientName", optional=True),
            InstanceCopyElement("SliceLocation"),
            StaticElement("Modality", "CT"),
            SequenceElement("RequestAttributesSequence", nested),
        ]
    )
    assert blueprint.required_tags() == {Tag("PatientID"), Tag("SliceLocation"), Tag("StudyID")}


def test_taking_away_what_the_sop_class_needs_is_an_error():
    """Also a difference is checked."""
    with pytest.raises(BlueprintError, match="Modality"):
        blueprints.ct_blueprint - "Modality"


def test_a_sop_class_can_be_named_by_its_keyword():
    """A configuration file may say CTImageStorage; nonsense is refused."""
    assert blueprints.ct_blueprint.with_sop_class("CTImageStorage").SOPClassUID == CTImageStorage
    with pytest.raises(BlueprintError, match="neither a UID nor the keyword"):
        Blueprint(SOPClassUID="CT image")


def test_a_sum_keeps_the_last_sop_class():
    """The right side's SOP class wins, else the left one stays."""
    assert (blueprints.ct_blueprint + CopyElement("StudyComments")).SOPClassUID == CTImageStorage
    with pytest.raises(BlueprintError, match="Enhanced MR"):
        blueprints.ct_blueprint.with_sop_class(EnhancedMRImageStorage)


def test_what_the_factory_lacks_is_known_at_start_up():
    """All missing attributes of the factory are reported together, before there is a source."""
    blueprint = Blueprint(
        [
            AttrElement("PatientID", "identity"),
            AttrElement("SeriesDescription", "title"),
            AttrElement("StudyComments", "comments", optional=True),
            SequenceElement("RequestAttributesSequence", Blueprint([AttrElement("StudyID", "study")])),
        ]
    )
    with pytest.raises(MissingTagsError) as caught:
        blueprint.check_factory(object())
    assert set(caught.value.keywords) == {
        "PatientID",
        "SeriesDescription",
        "RequestAttributesSequence.StudyID",
    }
