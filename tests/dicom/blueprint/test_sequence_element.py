"""Sequences whose items are blueprints."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprint.sequence_element import SequenceElement
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CallElement,
    CopyElement,
    StaticElement,
)
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import BlueprintError, MissingTagsError
from sources import ct_slices


def instances(header):
    total = len(header.sources)
    return [
        header.instance(InstanceEnvironment(index, index + 1, source, total=total))
        for index, source in enumerate(header.sources)
    ]


def test_a_nested_blueprint_can_differ_by_slice():
    """A sequence whose items hold per-instance elements is made for each instance."""
    item = Blueprint(
        [
            StaticElement("CodeValue", "1"),
            CallElement("CodeMeaning", lambda instance: f"slice {instance.instance_number}"),
        ]
    )
    header = make_header(None, Blueprint([SequenceElement("AnatomicRegionSequence", item)]), ct_slices())
    meanings = [result.AnatomicRegionSequence[0].CodeMeaning for result in instances(header)]
    assert meanings == [f"slice {number}" for number in range(1, 6)]
    assert "AnatomicRegionSequence" not in header.shared


def code(value="1"):
    return Blueprint([StaticElement("CodeValue", value), StaticElement("CodingSchemeDesignator", "99X")])


def test_each_item_is_a_blueprint_made_real():
    """Items in their order; nested elements read the sources at their root."""
    source = Dataset()
    source.PatientID = "P"
    element = SequenceElement("RequestAttributesSequence", code("1"), Blueprint([CopyElement("PatientID")]))
    items = element.corporealize(None, [source]).value
    assert [item.to_json_dict().keys() for item in items] == [{"00080100", "00080102"}, {"00100020"}]
    assert items[1].PatientID == "P"


def test_a_sequence_without_items_is_empty():
    """As Type 2 sequences want it (PS3.5 section 7.4.3)."""
    made = SequenceElement("RequestAttributesSequence").corporealize(None, [])
    assert (made.VR, len(made.value)) == ("SQ", 0)


def test_private_elements_within_an_item_have_a_block_there():
    """The creator is reserved in the item (PS3.5 section 7.8.1)."""
    private = StaticElement(PrivateTag(0x0029, 1, "ACME"), "x", VR="LO")
    element = SequenceElement("RequestAttributesSequence", Blueprint([private]))
    (item,) = element.corporealize(None, []).value
    assert item.private_block(0x0029, "ACME")[1].value == "x"


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: SequenceElement("PatientID", code()), "PatientID is LO and not a sequence"),
        (lambda: SequenceElement("RequestAttributesSequence", [code()]), "an item is .* not a Blueprint"),
        (lambda: SequenceElement("RequestAttributesSequence", StaticElement("StudyID", "1")), "an item is"),
    ],
)
def test_what_is_no_sequence_of_blueprints_is_refused(make, fault):
    """When the blueprint is written, and with the keyword."""
    with pytest.raises(BlueprintError, match=fault):
        make()


def test_what_items_need_is_needed_of_the_sources():
    """Required tags, missing tags and missing attributes of the factory, named with the sequence."""
    nested = Blueprint([CopyElement("StudyID"), AttrElement("CodeMeaning", "meaning")])
    element = SequenceElement("RequestAttributesSequence", nested)
    assert element.required_tags() == CopyElement("StudyID").required_tags()
    with pytest.raises(MissingTagsError) as caught:
        element.corporealize(object(), [Dataset()])
    assert set(caught.value.keywords) == {
        "RequestAttributesSequence.StudyID",
        "RequestAttributesSequence.CodeMeaning",
    }
    with pytest.raises(MissingTagsError, match=r"RequestAttributesSequence\.CodeMeaning"):
        element.check_factory(object())


def declared(arguments):
    """Declare a sequence of items that are tables of keyword and value."""
    return SequenceElement.declared(
        "RequestAttributesSequence",
        arguments,
        lambda table: [StaticElement(keyword, value) for keyword, value in table.items()],
    )


def test_a_sequence_can_be_declared_without_python():
    """``items`` is a list of tables of elements; any iterable of elements makes an item."""
    element = declared({"items": [{"CodeValue": "1", "CodingSchemeDesignator": "99X"}, {}]})
    assert element.items == (code("1"), Blueprint())
    assert declared({}).items == ()


@pytest.mark.parametrize("arguments", [{"items": "text"}, {"items": [5]}, {"items": {}}, {"optional": True}])
def test_a_declaration_takes_nothing_but_items(arguments):
    """Anything else is an error that says what is taken."""
    with pytest.raises(TypeError, match="a sequence takes `items`"):
        declared(arguments)
