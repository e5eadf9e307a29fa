"""Virtual elements."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    DiscardElement,
    StaticElement,
)
from dicomnode.errors import BlueprintError, InvalidValueError, MissingTagsError


def patient(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_static_value_is_checked_when_it_is_written():
    """A wrong value raises where the blueprint is defined and not when a series is sent."""
    with pytest.raises(InvalidValueError, match="Modality"):
        StaticElement("Modality", "computed tomography")


def test_a_static_value_never_leaks_between_results():
    """Editing what came of an element, or what went in, edits nothing else."""
    item = patient(CodeValue="1")
    element = StaticElement("AnatomicRegionSequence", [item])
    item.CodeValue = "2"
    element.corporealize(None, ()).value[0].CodeValue = "3"
    element.value[0].CodeValue = "4"
    assert element.corporealize(None, ()).value[0].CodeValue == "1"


class Factory:
    """What an AttrElement reads."""

    name = "Smooth"
    settings = Dataset()


def test_an_attribute_of_the_factory_is_read_and_checked():
    """Also one behind dots; a missing one is reported like a missing tag."""
    assert AttrElement("SeriesDescription", "name").corporealize(Factory(), ()).value == "Smooth"
    assert AttrElement("PatientID", "name.__class__.__name__").corporealize(Factory(), ()).value == "str"
    with pytest.raises(MissingTagsError, match="PatientID: Factory has no attribute 'missing'"):
        AttrElement("PatientID", "missing").corporealize(Factory(), ())
    assert AttrElement("PatientID", "missing.deeper", optional=True).corporealize(Factory(), ()) is None
    with pytest.raises(BlueprintError, match="not the name of an attribute"):
        AttrElement("PatientID", "not a name")


def test_a_discarded_tag_is_left_out():
    """Whatever the sources have, there is no element, and nothing is required of them."""
    element = DiscardElement("PatientID")
    assert element.corporealize(None, [patient(PatientID="1")]) is None
    assert not element.required_tags()
