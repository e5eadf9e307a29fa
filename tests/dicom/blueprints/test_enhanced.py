"""Ready-made blueprints of enhanced multi-frame images."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprints.enhanced import (
    EnhancedImageType,
    anatomic_region,
    frame_laterality,
    irradiation_event,
)
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import SeriesElement
from dicomnode.dicom.values.codes import code_item
from sources import ct_slices


def result_of(blueprint, sources):
    header = make_header(None, blueprint, sources)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


def test_an_enhanced_image_names_region_side_and_frame_type():
    """The functional groups that a blueprint knows are in one shared item for the factory to complete."""
    sources = ct_slices()
    sources[0].BodyPartExamined = "CHEST"
    shared = result_of(blueprints.enhanced_ct_blueprint, sources).SharedFunctionalGroupsSequence
    assert len(shared) == 1
    assert shared[0].FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert list(shared[0].CTImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def with_attributes(**attributes):
    source = Dataset()
    for keyword, value in attributes.items():
        setattr(source, keyword, value)
    return [source]


def test_the_region_is_that_of_the_source():
    """Its own code, else that of BodyPartExamined (PS3.16 annex L), else the entire body."""
    own = anatomic_region(with_attributes(AnatomicRegionSequence=[code_item(("1", "99X", "Mine"))]))
    assert own.CodeMeaning == "Mine"
    assert anatomic_region(with_attributes(BodyPartExamined="HEAD")).CodeMeaning == "Head"
    for silent in (with_attributes(), with_attributes(BodyPartExamined="NOWHERE"), []):
        assert anatomic_region(silent).CodeMeaning == "Entire body"


def test_a_region_is_no_part_of_the_source():
    """Changing the element that is made of it changes no source."""
    sources = with_attributes(AnatomicRegionSequence=[code_item(("1", "99X", "Mine"))])
    made = SeriesElement("AnatomicRegionSequence", anatomic_region).corporealize(None, sources)
    made.value[0].CodeMeaning = "changed"
    assert sources[0].AnatomicRegionSequence[0].CodeMeaning == "Mine"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "U"),
        ({"Laterality": "L"}, "L"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "R"),
        ({"Laterality": "LEFT"}, "U"),
    ],
)
def test_the_side_is_one_of_four(attributes, expected):
    """Where the source names none, or none that the standard has, it is unpaired (PS3.3 C.7.6.16.2.8)."""
    assert frame_laterality(with_attributes(**attributes)) == expected


def test_an_irradiation_event_is_the_sources_or_follows_from_its_series():
    """The same series has the same event, without anything being remembered."""
    assert irradiation_event(with_attributes(IrradiationEventUID="1.2.3")) == "1.2.3"
    assert irradiation_event(with_attributes(IrradiationEventUID=["1.2.3", "1.2.4"])) == "1.2.3"
    first, again = (irradiation_event(with_attributes(SeriesInstanceUID="1.2")) for _ in range(2))
    assert first == again != irradiation_event(with_attributes(SeriesInstanceUID="1.3"))
    assert first.is_valid


def test_image_types_of_enhanced_sources_are_kept_and_those_of_classic_ones_are_not():
    """The third and fourth value mean something else there (PS3.3 C.8.16.1)."""
    kind = EnhancedImageType(("PRIMARY", "VOLUME", "NONE"))
    values = ["ORIGINAL", "PRIMARY", "AXIAL", "MAXIMUM"]
    assert kind(with_attributes(ImageType=values)) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    enhanced = with_attributes(ImageType=values, SharedFunctionalGroupsSequence=[Dataset()])
    assert kind(enhanced) == ["DERIVED", "PRIMARY", "AXIAL", "MAXIMUM"]
    assert kind == EnhancedImageType(("PRIMARY", "VOLUME", "NONE")) != EnhancedImageType(("A", "B", "C"))
    assert hash(kind) == hash(EnhancedImageType(("PRIMARY", "VOLUME", "NONE")))
