"""Ready-made blueprints: what their headers hold."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.values.iod import SUPPLIED, missing_attributes
from sources import ct_slices, dose_grid, mr_slices, nm_image, pet_slices


def result_of(blueprint, sources):
    header = make_header(None, blueprint, sources)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


CASES = [
    ("ct", ct_slices),
    ("ct", pet_slices),
    ("mr", mr_slices),
    ("mr", ct_slices),
    ("pet", pet_slices),
    ("nm", lambda: [nm_image()]),
    ("enhanced_ct", ct_slices),
    ("enhanced_mr", mr_slices),
    ("parametric_map", mr_slices),
    ("rt_dose", lambda: [dose_grid()]),
    ("rt_dose", ct_slices),
    ("secondary_capture", ct_slices),
    ("multiframe_grayscale_byte", ct_slices),
    ("multiframe_grayscale_word", ct_slices),
    ("multiframe_true_color", ct_slices),
    ("encapsulated_pdf", ct_slices),
    ("derived_image", ct_slices),
    ("derived_image", mr_slices),
    ("derived_image", pet_slices),
]


@pytest.mark.parametrize(("name", "sources"), CASES)
def test_a_header_lacks_nothing_but_what_the_factory_writes(name, sources):
    """No Type 1 or 2 attribute of the IOD is missing, whatever the sources' modality."""
    result = result_of(getattr(blueprints, f"{name}_blueprint"), sources())
    lacking = {fault.split()[0] for fault in missing_attributes(result)}
    assert not {keyword for keyword in lacking if keyword not in SUPPLIED}


@pytest.mark.parametrize(("name", "sources"), CASES)
def test_a_header_survives_a_poor_source(name, sources):
    """Sources stripped of everything optional still make a header, with empty Type 2 attributes."""
    needed = getattr(blueprints, f"{name}_blueprint").required_tags()
    poor = []
    for source in sources():
        stripped = Dataset()
        for tag in needed & set(source.keys()):
            stripped[tag] = source[tag]
        stripped.SOPClassUID, stripped.SOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        poor.append(stripped)
    if name == "derived_image":
        assert result_of(blueprints.derived_image_blueprint, poor).SOPClassUID == poor[0].SOPClassUID
    else:
        lacking = missing_attributes(result_of(getattr(blueprints, f"{name}_blueprint"), poor))
        lacking = {fault for fault in lacking if fault.split()[0] not in SUPPLIED}
        assert lacking <= {"SeriesDate (Type 1) is missing", "SeriesTime (Type 1) is missing"}


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


def test_values_of_other_modalities_image_types_are_not_taken():
    """The third value means different things in different IODs; it is taken within a modality only."""
    assert list(result_of(blueprints.ct_blueprint, ct_slices()).ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert list(result_of(blueprints.mr_blueprint, ct_slices()).ImageType) == ["DERIVED", "PRIMARY", "OTHER"]


def test_an_enhanced_image_names_region_side_and_frame_type():
    """The functional groups that a blueprint knows are in one shared item for the factory to complete."""
    sources = ct_slices()
    sources[0].BodyPartExamined = "CHEST"
    shared = result_of(blueprints.enhanced_ct_blueprint, sources).SharedFunctionalGroupsSequence
    assert len(shared) == 1
    assert shared[0].FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert list(shared[0].CTImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def test_an_enhanced_image_lists_its_evidence_by_study_and_series():
    """SourceImageEvidenceSequence and ReferencedSeriesSequence name every source."""
    sources = mr_slices()
    result = result_of(blueprints.enhanced_mr_blueprint, sources)
    series = result.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0]
    expected = [source.SOPInstanceUID for source in sources]
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == expected
    listed = result.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == expected


def test_a_dynamic_pet_keeps_its_number_of_slices():
    """NumberOfSlices is of one volume where the series has several (PS3.3 C.8.9.1)."""
    sources = pet_slices(8)
    for source in sources:
        source.NumberOfSlices = 4
    assert result_of(blueprints.pet_blueprint, sources).NumberOfSlices == 4
    assert result_of(blueprints.pet_blueprint, sources[:3]).NumberOfSlices == 3
