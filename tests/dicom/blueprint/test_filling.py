"""The filling strategy "copy": what a blueprint does not mention comes from the source."""

from pydicom.tag import Tag

from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.blueprint.filling import filling_elements
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    StaticElement,
)
from dicomnode.dicom.values.tags import PrivateTag
from sources import ct_slices


def instances(header):
    total = len(header.sources)
    return [
        header.instance(InstanceEnvironment(index, index + 1, source, total=total))
        for index, source in enumerate(header.sources)
    ]


def test_the_filling_strategy_copies_the_rest_slice_by_slice():
    """What is equal goes to the series, what differs to each slice; pixels and identity are not copied."""
    sources = ct_slices()
    blueprint = Blueprint([StaticElement("PatientID", "new"), DiscardElement("PatientName")])
    header = make_header(None, blueprint, sources, filling_strategy=FillingStrategy.COPY)
    results = instances(header)
    for result, source in zip(results, sources, strict=True):
        assert result.PatientID == "new"
        assert "PatientName" not in result
        assert result.StudyInstanceUID == source.StudyInstanceUID
        assert result.ImagePositionPatient == source.ImagePositionPatient
        assert result.PixelSpacing == source.PixelSpacing
        for keyword in (
            "SOPInstanceUID",
            "SeriesInstanceUID",
            "PixelData",
            "Rows",
            "BitsStored",
            "RescaleSlope",
        ):
            assert keyword not in result
    assert header.shared.get("KVP") == sources[0].KVP


def test_the_filling_strategy_copies_private_blocks_with_their_creators():
    """A private attribute arrives under its creator; one that the blueprint mentions is not copied."""
    source = ct_slices()[0]
    block = source.private_block(0x0099, "ACME", create=True)
    block.add_new(0x01, "LO", "keep")
    block.add_new(0x02, "LO", "replace")
    blueprint = Blueprint([StaticElement(PrivateTag(0x0099, 2, "ACME"), "replaced", VR="LO")])
    header = make_header(None, blueprint, [source], filling_strategy=FillingStrategy.COPY)
    result = instances(header)[0].private_block(0x0099, "ACME")
    assert (result[1].value, result[2].value) == ("keep", "replaced")


def test_what_is_equal_is_copied_once_and_what_differs_slice_by_slice():
    """Nothing that the blueprint mentions, and nothing without a source."""
    sources = ct_slices()
    filled = filling_elements(Blueprint([DiscardElement("PatientID")]), sources)
    assert isinstance(filled["StudyInstanceUID"], CopyElement)
    assert isinstance(filled["ImagePositionPatient"], InstanceCopyElement)
    assert "PatientID" not in filled
    assert not filled.required_tags(), "every copy is optional"
    assert len(filling_elements(Blueprint(), [])) == 0


def test_a_position_is_never_copied_to_all_slices():
    """What differs by definition is copied slice by slice, though the sources may all say the same."""
    sources = ct_slices()
    for source in sources:
        source.ImagePositionPatient = [0, 0, 0]
    assert isinstance(filling_elements(Blueprint(), sources)["ImagePositionPatient"], InstanceCopyElement)


def test_what_describes_the_pixels_or_the_instance_is_not_copied():
    """Pixels, their description, overlays, identity and character set are the result's own."""
    source = ct_slices()[0]
    source.SpecificCharacterSet, source.SmallestImagePixelValue = "ISO_IR 100", 0
    source.add_new(0x60003000, "OW", b"\0\0")  # OverlayData
    own = {0x60003000} | {
        Tag(keyword)
        for keyword in (
            "PixelData",
            "BitsStored",
            "SmallestImagePixelValue",
            "SOPInstanceUID",
            "SeriesInstanceUID",
            "SpecificCharacterSet",
        )
    }
    assert all(tag in source for tag in own)
    assert not filling_elements(Blueprint(), [source]).tags & own


def test_a_private_element_without_a_creator_is_not_copied():
    """Nobody knows what it is (PS3.5 section 7.8.1)."""
    source = ct_slices()[0]
    source.add_new(0x00991001, "LO", "orphan")
    assert not [element for element in filling_elements(Blueprint(), [source]) if element.tag.group == 0x0099]
