"""Ready-made blueprints of slices."""

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprints.slices import image_index, number_of_slices
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from sources import ct_slices, pet_slices


def result_of(blueprint, sources):
    header = make_header(None, blueprint, sources)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


def test_values_of_other_modalities_image_types_are_not_taken():
    """The third value means different things in different IODs; it is taken within a modality only."""
    assert list(result_of(blueprints.ct_blueprint, ct_slices()).ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert list(result_of(blueprints.mr_blueprint, ct_slices()).ImageType) == ["DERIVED", "PRIMARY", "OTHER"]


def test_a_dynamic_pet_keeps_its_number_of_slices():
    """NumberOfSlices is of one volume where the series has several (PS3.3 C.8.9.1)."""
    sources = pet_slices(8)
    for source in sources:
        source.NumberOfSlices = 4
    assert result_of(blueprints.pet_blueprint, sources).NumberOfSlices == 4
    assert result_of(blueprints.pet_blueprint, sources[:3]).NumberOfSlices == 3


@pytest.mark.parametrize(("stated", "total", "expected"), [(None, 6, 6), (3, 6, 3), (4, 6, 6), (6, 6, 6)])
def test_the_number_of_slices_is_of_one_volume(stated, total, expected):
    """What the source says, if whole volumes of so many slices make the series (PS3.3 C.8.9.1)."""
    source = Dataset()
    if stated is not None:
        source.NumberOfSlices = stated
    assert number_of_slices(InstanceEnvironment(0, 1, source, total=total)) == expected
    assert number_of_slices(InstanceEnvironment(0, 1, total=total)) == total


def test_the_image_index_counts_from_one():
    """PS3.3 C.8.9.4.1.9."""
    assert [image_index(InstanceEnvironment(index, index + 1)) for index in range(3)] == [1, 2, 3]


def test_a_derived_image_needs_nothing_but_what_its_slices_need():
    """What CT, MR and PET copy is copied as far as the source has it."""
    required = {str(keyword_for_tag(tag)) for tag in blueprints.derived_image_blueprint.required_tags()}
    assert required == {
        "SOPClassUID",
        "Modality",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
    }
    result = result_of(blueprints.derived_image_blueprint, pet_slices())
    assert (result.Units, result.Modality) == ("BQML", "PT")
    assert "KVP" not in result
