"""What every virtual element does: tag, VR, immutability, and that it keeps nothing."""

import copy
import pickle

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CallElement,
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    SeriesElement,
    StaticElement,
)
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import InvalidValueError


def number_of(instance):
    return instance.instance_number


ELEMENTS = [
    StaticElement("SeriesDescription", "x"),
    StaticElement("AnatomicRegionSequence", [Dataset()]),
    CopyElement("PatientID"),
    CopyElement("PatientID", default=None),
    AttrElement("PatientID", "name"),
    DiscardElement("PatientID"),
    SeriesElement("PatientID", str),
    CallElement("InstanceNumber", number_of),
    InstanceCopyElement("ImagePositionPatient"),
    StaticElement(PrivateTag(0x0029, 1, "ACME"), "x", VR="LO"),
]


@pytest.mark.parametrize("element", ELEMENTS, ids=repr)
def test_an_element_is_immutable_hashable_and_survives_a_pickle(element):
    """Elements may be shared, put into sets and sent to a worker."""
    with pytest.raises(AttributeError, match="immutable"):
        element.tag = 1
    with pytest.raises(AttributeError, match="immutable"):
        del element.tag
    for twin in (copy.deepcopy(element), pickle.loads(pickle.dumps(element))):
        assert twin == element
        assert hash(twin) == hash(element)
        with pytest.raises(AttributeError, match="immutable"):
            twin.tag = 1


def test_a_repr_names_keyword_and_value():
    """What a message shows of an element can be read."""
    assert repr(StaticElement("Modality", "CT")) == "StaticElement('Modality', 'CT')"
    assert repr(CopyElement("PatientID", default=None)) == "CopyElement('PatientID', default=None)"
    assert "number_of" in repr(CallElement("InstanceNumber", number_of))


def test_elements_of_a_plugin_may_set_attributes_in_init():
    """A subclass is written like any class, and is sealed when made."""

    class Upper(VirtualElement):
        def __init__(self, tag, text):
            super().__init__(tag)
            self.text = text

        def corporealize(self, factory, sources):
            return self.element(self.text.upper())

    element = Upper("PatientID", "abc")
    assert element.corporealize(None, ()).value == "ABC"
    with pytest.raises(AttributeError, match="immutable"):
        element.text = "def"


def test_the_vr_comes_from_the_dictionary_and_may_not_contradict_it():
    """A wrong VR is an error when the element is written."""
    assert StaticElement("PatientID", "x").VR == "LO"
    with pytest.raises(
        InvalidValueError, match=r"PatientID: VR SH given, but the DICOM dictionary .* says LO"
    ):
        StaticElement("PatientID", "x", VR="SH")


def test_a_private_element_needs_a_vr_unless_pydicom_knows_it():
    """Private attributes take their VR from the author, or from pydicom's private dictionary."""
    with pytest.raises(InvalidValueError, match="say its VR"):
        StaticElement(PrivateTag(0x0029, 1, "ACME"), "x")
    assert StaticElement(PrivateTag(0x0019, 0x0C, "SIEMENS MR HEADER"), 1000).VR == "IS"


def test_only_what_must_be_copied_is_required():
    """required_tags names what a source must have."""
    required = {element.keyword for element in ELEMENTS if element.required_tags()}
    assert required == {"PatientID", "ImagePositionPatient"}
    assert not CopyElement("PatientID", optional=True).required_tags()
