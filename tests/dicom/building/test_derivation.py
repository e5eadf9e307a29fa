"""What derived images say of their origin without their author doing anything."""

import datetime as dt

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.derivation import derived_image_type
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import DiscardElement, StaticElement
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.errors import BlueprintError
from sources import ct_slices, pet_slices

SMOOTH = Equipment(
    "smooth",
    "1.2.0",
    "ACME",
    description="Gaussian, sigma 1.5 mm",
    codes=(("113088", "DCM", "Gaussian blur"),),
    moment=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
)


def first(blueprint, sources, equipment=None):
    header = make_header(None, blueprint, sources, equipment=equipment)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


def test_a_derived_image_names_sources_software_and_derivation():
    """ImageType, SourceImageSequence, Derivation* and ContributingEquipmentSequence are there by default."""
    sources = ct_slices()
    result = first(blueprints.ct_blueprint, sources, SMOOTH)
    assert list(result.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert [i.ReferencedSOPInstanceUID for i in result.SourceImageSequence] == [sources[0].SOPInstanceUID]
    assert result.DerivationDescription == "Gaussian, sigma 1.5 mm"
    assert result.DerivationCodeSequence[0].CodeValue == "113088"
    software = result.ContributingEquipmentSequence[-1]
    assert (software.Manufacturer, software.ManufacturerModelName, software.SoftwareVersions) == (
        "ACME",
        "smooth",
        "1.2.0",
    )
    assert software.ContributionDateTime == "20260102030405.000000+0000"
    assert (result.ContentDate, result.ContentTime) == ("20260102", "030405.000000")
    assert result.SeriesNumber == sources[0].SeriesNumber + 1000
    assert result.SeriesDescription.endswith(" smooth")


def test_the_same_job_says_the_same_twice():
    """With the job's moment given nothing depends on the clock."""
    sources = ct_slices()
    assert first(blueprints.ct_blueprint, sources, SMOOTH) == first(blueprints.ct_blueprint, sources, SMOOTH)


def test_earlier_contributors_stay():
    """The source's own ContributingEquipmentSequence comes before the new item."""
    sources = ct_slices()
    sources[0].ContributingEquipmentSequence = [Equipment("earlier").item()]
    names = [
        i.ManufacturerModelName
        for i in first(blueprints.ct_blueprint, sources, SMOOTH).ContributingEquipmentSequence
    ]
    assert names == ["earlier", "smooth"]


def test_an_author_can_say_otherwise():
    """A blueprint's own element wins over a default, and a DiscardElement removes it."""
    blueprint = (
        blueprints.ct_blueprint
        + StaticElement("SeriesDescription", "Mine")
        + DiscardElement("SourceImageSequence")
    )
    result = first(blueprint, ct_slices())
    assert result.SeriesDescription == "Mine"
    assert "SourceImageSequence" not in result


def test_once_lossy_always_lossy():
    """That pixels came from a lossy compression is said of the result too (PS3.3 C.7.6.1.1.5)."""
    sources = ct_slices()
    assert "LossyImageCompression" not in first(blueprints.ct_blueprint, sources)
    sources[2].LossyImageCompression, sources[2].LossyImageCompressionRatio = "01", "12.5"
    result = first(blueprints.ct_blueprint, sources)
    assert (result.LossyImageCompression, result.LossyImageCompressionRatio) == ("01", 12.5)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]),
        (["DERIVED", "SECONDARY"], ["DERIVED", "SECONDARY"]),
        ("ORIGINAL", ["DERIVED", "SECONDARY"]),
        (None, ["DERIVED", "SECONDARY"]),
    ],
)
def test_the_image_type_becomes_derived(source, expected):
    """The first value says DERIVED, the others are the source's."""
    dataset = Dataset()
    dataset.ImageType = source
    assert derived_image_type([dataset]) == expected


def test_a_source_that_is_no_ct_still_gives_a_whole_image_type():
    """A CT needs three values; a PET source has two (PS3.3 C.8.2.1.1.1)."""
    assert list(first(blueprints.ct_blueprint, pet_slices()).ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]


def test_software_makes_a_parametric_map():
    """The equipment of a map is the plugin; of a resliced volume it is the scanner (PS3.3 C.7.5.2)."""
    sources = ct_slices()
    software = first(blueprints.parametric_map_blueprint, sources, SMOOTH)
    assert (software.ManufacturerModelName, software.SoftwareVersions) == ("smooth", "1.2.0")
    scanner = first(blueprints.enhanced_ct_blueprint, sources, SMOOTH)
    assert scanner.ManufacturerModelName == sources[0].ManufacturerModelName
    assert scanner.DeviceSerialNumber == "0", "the source has none"


def test_long_names_are_cut_to_what_fits():
    """Neither a long description nor a long plugin name makes an invalid value."""
    sources = ct_slices()
    sources[0].SeriesDescription = "d" * 64
    result = first(Blueprint(), sources, Equipment("n" * 100, "v" * 100, description="d" * 2000))
    assert len(result.SeriesDescription) == 64
    assert len(result.DerivationDescription) == 1024
    assert len(result.ContributingEquipmentSequence[0].SoftwareVersions) == 64


def test_an_equipment_element_is_one_of_four():
    """Other attributes are not the equipment's."""
    from dicomnode.dicom.building.derivation import EquipmentElement

    with pytest.raises(BlueprintError, match="it is one of Manufacturer"):
        EquipmentElement("PatientID")
