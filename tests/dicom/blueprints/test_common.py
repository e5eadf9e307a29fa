"""The parts that ready-made blueprints share."""

import pickle

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprints.common import (
    DerivedImageType,
    FirstValue,
    image_type,
    optional,
    optional_by_instance,
    type2,
)
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import CopyElement, InstanceCopyElement
from sources import ct_slices


def result_of(blueprint, sources):
    header = make_header(None, blueprint, sources)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("KNEE", "L", "L"), ("KNEE", None, ""), ("HEAD", None, None), (None, None, ""), ("NOWHERE", None, "")],
)
def test_laterality_is_copied_empty_or_left_out(part, side, expected):
    """The source's side; empty where it may be paired; absent where it is unpaired (PS3.3 C.7.3.1)."""
    sources = ct_slices()
    for source in sources:
        source.BodyPartExamined, source.Laterality = part, side
    result = result_of(blueprints.ct_blueprint, sources)
    found = (result.Laterality or "") if "Laterality" in result else None
    assert found == expected


def test_parts_copy_empty_optional_or_slice_by_slice():
    """What the shorthands of ready-made blueprints stand for."""
    assert type2("PatientID", "StudyID") == [
        CopyElement("PatientID", default=None),
        CopyElement("StudyID", default=None),
    ]
    assert optional("PatientID") == [CopyElement("PatientID", optional=True)]
    assert optional_by_instance("KVP") == [InstanceCopyElement("KVP", optional=True)]


@pytest.mark.parametrize(
    ("modality", "values", "expected"),
    [
        ("CT", ["ORIGINAL", "PRIMARY", "AXIAL", "X"], ["DERIVED", "PRIMARY", "AXIAL", "X"]),
        ("CT", ["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY", "LOCALIZER"]),
        ("MR", ["ORIGINAL", "PRIMARY", "M_SE"], ["DERIVED", "PRIMARY", "LOCALIZER"]),
        ("CT", None, ["DERIVED", "SECONDARY", "LOCALIZER"]),
    ],
)
def test_image_type_is_derived_and_filled_up(modality, values, expected):
    """Values from the third on are those of the same modality, else the fallback (PS3.3 C.7.6.1.1.2)."""
    source = Dataset()
    source.Modality = modality
    if values:
        source.ImageType = values
    made = image_type("SECONDARY", "LOCALIZER", modality="CT").corporealize(None, [source])
    assert list(made.value) == expected


def test_the_first_value_that_there_is_counts():
    """In the order of the keywords, of the first source only; empty is as good as absent."""
    first, second = Dataset(), Dataset()
    first.SeriesDate, first.StudyDate, second.AcquisitionDate = "", "20260101", "20260102"
    assert FirstValue("SeriesDate", "AcquisitionDate", "StudyDate")([first, second]) == "20260101"
    assert FirstValue("SeriesDate")([first]) is None
    assert FirstValue("SeriesDate", fallback="20000101")([]) == "20000101"


def test_functions_of_blueprints_compare_and_travel():
    """Two blueprints made alike are equal, and reach a worker."""
    for one, same, other in (
        (FirstValue("A", "B"), FirstValue("A", "B"), FirstValue("B")),
        (DerivedImageType(("X",), "CT"), DerivedImageType(("X",), "CT"), DerivedImageType(("X",), "MR")),
    ):
        assert one == same == pickle.loads(pickle.dumps(one))
        assert one != other
        assert hash(one) == hash(same)
