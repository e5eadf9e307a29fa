"""Elements that copy from the source datasets."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    CopyElement,
    InstanceCopyElement,
)
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import BlueprintError, MissingTagsError
from sources import ct_slices


def patient(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_copies_are_deep():
    """Editing the output never edits the source."""
    source = patient(PatientID="A", OtherPatientIDsSequence=[patient(PatientID="B")])
    copied = CopyElement("OtherPatientIDsSequence").corporealize(None, [source])
    copied.value[0].PatientID = "changed"
    assert source.OtherPatientIDsSequence[0].PatientID == "B"


def test_an_element_keeps_nothing_of_a_series():
    """The same element gives each patient that patient's value: nothing leaks into the next."""
    element = CopyElement("PatientID", optional=True)
    assert element.corporealize(None, [patient(PatientID="A")]).value == "A"
    assert element.corporealize(None, [patient()]) is None
    assert element.corporealize(None, [patient(PatientID="B")]).value == "B"


def test_a_missing_attribute_is_left_out_defaulted_or_reported():
    """Optional, default and required copies of what the source lacks."""
    assert CopyElement("PatientID", optional=True).corporealize(None, [patient()]) is None
    assert CopyElement("PatientID", default="none").corporealize(None, [patient()]).value == "none"
    assert CopyElement("PatientID", default=None).corporealize(None, [patient()]).is_empty
    with pytest.raises(MissingTagsError, match="PatientID: 1 of 1 source") as caught:
        CopyElement("PatientID").corporealize(None, [patient()])
    assert caught.value.keywords == ("PatientID",)
    with pytest.raises(MissingTagsError, match="no source datasets"):
        CopyElement("PatientID").corporealize(None, [])


def test_a_copy_takes_the_first_source_that_has_the_attribute():
    """A source without the attribute is passed over."""
    assert CopyElement("PatientID").corporealize(None, [patient(), patient(PatientID="A")]).value == "A"


def test_one_position_is_not_copied_to_all_slices():
    """A series-wide copy of what differs by slice is an error that names the right element."""
    with pytest.raises(BlueprintError, match=r"use InstanceCopyElement\('ImagePositionPatient'\)"):
        CopyElement("ImagePositionPatient").corporealize(None, ct_slices())


def test_a_private_copy_follows_the_creator():
    """The source's block number does not matter."""
    source = patient()
    source.private_block(0x0029, "OTHER", create=True).add_new(0x01, "LO", "theirs")
    source.private_block(0x0029, "ACME", create=True).add_new(0x01, "LO", "ours")
    assert CopyElement(PrivateTag(0x0029, 1, "ACME")).corporealize(None, [source]).value == "ours"


def test_an_instance_copy_takes_each_slices_own_source():
    """Source slice n to result slice n."""
    first, second = patient(SliceLocation=1), patient(SliceLocation=2)
    element = InstanceCopyElement("SliceLocation")
    assert element.corporealize(None, [first, second]) is element
    assert element.produce(InstanceEnvironment(0, 1, first)).value == 1
    assert element.produce(InstanceEnvironment(1, 2, second)).value == 2


def test_an_instance_copy_reports_what_a_source_lacks_before_anything_is_built():
    """One slice without the attribute is found when the header is made."""
    with pytest.raises(MissingTagsError, match="SliceLocation: 1 of 2 source datasets"):
        InstanceCopyElement("SliceLocation").corporealize(None, [patient(SliceLocation=1), patient()])


def test_an_instance_copy_without_a_source_is_an_error_unless_optional():
    """A result slice where no source lies has nothing to copy."""
    with pytest.raises(MissingTagsError, match=r"instance 3 .*no source image lies there"):
        InstanceCopyElement("SliceLocation").produce(InstanceEnvironment(2, 3))
    assert InstanceCopyElement("SliceLocation", optional=True).produce(InstanceEnvironment(2, 3)) is None
    assert InstanceCopyElement("SliceLocation", default=0).produce(InstanceEnvironment(2, 3)).value == 0
