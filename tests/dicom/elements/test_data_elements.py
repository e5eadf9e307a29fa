"""Data elements are copied so that nothing is shared, and private ones go into the block of their creator."""

import copy

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.elements.data_elements import copy_element, insert_element
from sources import ct_slices, dose_grid, mr_slices, nm_image

ELEMENTS = [
    element for image in (*ct_slices()[:1], *mr_slices(1), dose_grid(), nm_image()) for element in image
]


@pytest.mark.parametrize("element", ELEMENTS, ids=lambda element: f"{element.tag} {element.VR}")
def test_a_copy_equals_the_element_and_a_deep_copy(element):
    """Of every element of real images: value, VR, tag, type and the bytes that are written."""
    copied, deep = copy_element(element), copy.deepcopy(element)
    assert copied == element
    assert (copied.tag, copied.VR, type(copied.value)) == (deep.tag, deep.VR, type(deep.value))
    assert copied.is_undefined_length == element.is_undefined_length
    assert repr(copied) == repr(element)


def test_values_of_a_copy_are_its_own():
    """Several values are a list that can be changed; those of the source stay."""
    source = DataElement(0x00080008, "CS", ["ORIGINAL", "PRIMARY"])
    copied = copy_element(source)
    copied.value[0] = "DERIVED"
    copied.value.append("AXIAL")
    assert source.value == ["ORIGINAL", "PRIMARY"]
    assert copied.value == ["DERIVED", "PRIMARY", "AXIAL"]


def test_items_of_a_copy_are_its_own():
    """Data sets within a sequence are copied as well."""
    item = Dataset()
    item.CodeValue = "1"
    source = DataElement(0x00082218, "SQ", Sequence([item]))
    copy_element(source).value[0].CodeValue = "2"
    assert source.value[0].CodeValue == "1"


def test_a_copied_value_is_still_converted_when_it_is_set():
    """The copy is an element like any other: what is put into its values is made into what the VR holds."""
    copied = copy_element(dcmread(get_testdata_file("CT_small.dcm"))["PixelSpacing"])
    copied.value[0] = "0.25"
    assert copied.value[0] == 0.25


def test_a_private_element_goes_into_its_creators_block():
    """A block is reserved where there is none, and used where there is one (PS3.5 section 7.8.1)."""
    dataset = Dataset()
    dataset.private_block(0x0029, "OTHER", create=True).add_new(0x01, "LO", "theirs")
    insert_element(dataset, DataElement(0x00291001, "LO", "ours"), "ACME")
    insert_element(dataset, DataElement(0x00291002, "LO", "more"), "ACME")
    block = dataset.private_block(0x0029, "ACME")
    assert (block[0x01].value, block[0x02].value) == ("ours", "more")
    assert dataset.private_block(0x0029, "OTHER")[0x01].value == "theirs"
    assert len(dataset) == 5


def test_a_standard_element_replaces_the_one_that_is_there():
    """Without a creator the tag is the tag."""
    dataset = Dataset()
    dataset.PatientID = "old"
    insert_element(dataset, DataElement(0x00100020, "LO", "new"))
    assert dataset.PatientID == "new"


def test_private_blocks_of_copied_items_are_their_own():
    """What is written to a block of a copied item does not reach the source."""
    item = Dataset()
    item.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "source")
    source = DataElement(0x00082218, "SQ", Sequence([item]))
    copy_element(source).value[0].private_block(0x0029, "ACME")[1].value = "changed"
    assert item.private_block(0x0029, "ACME")[1].value == "source"
