"""A blueprint is checked against its SOP class when it is defined."""

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprint.sequence_element import SequenceElement
from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CallElement,
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    StaticElement,
)
from dicomnode.errors import BlueprintError


def test_all_faults_against_the_sop_class_are_reported_at_once():
    """Missing Type 1 and 2 attributes are named by keyword and type when the blueprint is defined."""
    with pytest.raises(BlueprintError) as caught:
        Blueprint([CopyElement("PatientID")], SOPClassUID=MRImageStorage, name="mine")
    message = str(caught.value)
    assert "mine does not fit MR Image Storage" in message
    assert "PatientName (Type 2) is missing" in message
    assert "ScanningSequence (Type 1) is missing" in message
    assert "PS3.3 2026b" in message
    assert "PatientID" not in message
    assert "Rows" not in message, "the factory writes it"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (StaticElement("PatientID", None), None),
        (StaticElement("StudyInstanceUID", None), r"StudyInstanceUID \(Type 1\) is empty"),
        (CopyElement("StudyInstanceUID", default=None), r"StudyInstanceUID \(Type 1\) may be empty"),
        (CopyElement("StudyInstanceUID", optional=True), r"StudyInstanceUID \(Type 1\) may be left out"),
        (CopyElement("PatientID", optional=True), r"PatientID \(Type 2\) may be left out.*default=None"),
        (InstanceCopyElement("PatientID", optional=True), r"PatientID \(Type 2\) may be left out"),
        (AttrElement("PatientID", "name", optional=True), r"PatientID \(Type 2\) may be left out"),
        (AttrElement("PatientID", "name"), None),
        (DiscardElement("PatientID"), r"PatientID \(Type 2\) is discarded"),
        (CallElement("PatientID", lambda instance: "x"), None),
        (StaticElement("SOPClassUID", CTImageStorage), "SOPClassUID is CT Image Storage"),
        (StaticElement("SOPClassUID", MRImageStorage), None),
        (CopyElement("SOPClassUID"), "SOPClassUID is copied"),
        (StaticElement("RequestAttributesSequence", [Dataset()]), None),
        (
            StaticElement("ReferencedStudySequence", [Dataset()]),
            r"ReferencedStudySequence\[0\].ReferencedSOPClassUID \(Type 1\) is missing",
        ),
        (
            SequenceElement(
                "ReferencedStudySequence", Blueprint([StaticElement("ReferencedSOPClassUID", "1.2")])
            ),
            r"ReferencedStudySequence\[0\].ReferencedSOPInstanceUID \(Type 1\) is missing",
        ),
    ],
)
def test_an_element_is_checked_as_far_as_it_is_known(change, fault):
    """Empty, optional, discarded and nested elements against Type 1 and Type 2."""
    if fault is None:
        assert change in blueprints.mr_blueprint + change
    else:
        with pytest.raises(BlueprintError, match=fault):
            blueprints.mr_blueprint + change


def test_nested_items_of_an_optional_sequence_are_checked():
    """A code without its meaning is found in the frames' functional groups too."""
    code = Blueprint([StaticElement("CodeValue", "1"), StaticElement("CodingSchemeDesignator", "99X")])
    with pytest.raises(BlueprintError, match=r"ProcedureCodeSequence\[0\].CodeMeaning \(Type 1\) is missing"):
        blueprints.ct_blueprint + SequenceElement("ProcedureCodeSequence", code)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize(
    "kind", [CopyElement, InstanceCopyElement, lambda keyword: StaticElement(keyword, "1.2.3")]
)
def test_a_result_never_takes_a_uid_of_another(keyword, kind):
    """Copied or fixed instance and series UIDs are refused, with or without a SOP class."""
    with pytest.raises(BlueprintError, match=f"{keyword}.*the factory makes new UIDs"):
        Blueprint([kind(keyword)])


def test_a_private_sop_class_is_not_checked():
    """What the tables do not know is the author's own affair."""
    assert Blueprint(SOPClassUID="1.2.3.4").SOPClassUID == "1.2.3.4"
