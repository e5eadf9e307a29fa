"""The IOD and module tables."""

import json
import runpy
from importlib import resources
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage

from dicomnode.dicom.values import iod
from sources import ct_slices, mr_slices, pet_slices


def test_the_tables_name_their_edition():
    """A reader can tell which standard a message is about."""
    assert iod.edition().startswith("DICOM PS3.3 20")


def test_the_shipped_tables_are_what_the_tool_makes():
    """The data file was not edited by hand: the tool makes it again from the highdicom that it names."""
    highdicom = pytest.importorskip("highdicom")
    shipped = json.loads(
        resources.files("dicomnode.dicom").joinpath("data/iod_tables.json").read_text("utf-8")
    )
    if f"highdicom {highdicom.__version__} " not in shipped["source"]:
        pytest.skip(f"the tables are of {shipped['source']}")
    tool = runpy.run_path(str(Path(__file__).parents[3] / "tools" / "make_iod_tables.py"))
    assert tool["tables"](shipped["edition"].split()[-1]) == shipped


def test_an_iod_asks_for_what_its_mandatory_modules_ask_for():
    """Type 1 and 2 of mandatory modules; the stricter type where two modules differ."""
    found = iod.iod_of(CTImageStorage)
    assert found.name == "ct-image"
    assert found.required["StudyInstanceUID"].type == "1"
    assert found.required["KVP"].type == "2"
    assert "ContrastBolusAgent" not in found.required, "of a conditional module"
    assert "ContrastBolusAgent" in found.attributes
    assert found.is_image
    assert not iod.iod_of(EncapsulatedPDFStorage).is_image
    assert iod.iod_of("1.2.3") is None


def test_what_is_supplied_exists():
    """Every keyword that the factory is said to write is one of the dictionary."""
    assert all(tag_for_keyword(keyword) for keyword in iod.SUPPLIED)


@pytest.mark.parametrize(
    "image", [ct_slices()[0], mr_slices()[0], pet_slices()[0]], ids=lambda image: image.Modality
)
def test_missing_attributes_of_an_instance_are_listed(image):
    """A dataset is checked like a blueprint."""
    before = iod.missing_attributes(image)
    del image.StudyInstanceUID
    image.Modality = ""
    after = set(iod.missing_attributes(image)) - set(before)
    assert after == {"StudyInstanceUID (Type 1) is missing", "Modality (Type 1) is empty"}


def test_items_are_checked():
    """Also what a required sequence's items must hold."""
    image = pet_slices()[0]
    image.RadiopharmaceuticalInformationSequence = [type(image)()]
    fault = "RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence (Type 2) is missing"
    assert fault in iod.missing_attributes(image)


def test_a_body_part_has_a_code():
    """BodyPartExamined is translated as PS3.16 annex L does."""
    assert iod.region_code("CHEST")[2]
    assert iod.region_code("abdomen pelvis") == iod.region_code("ABDOMENPELVIS")
    assert iod.region_code("NOWHERE") is None


def test_a_body_part_is_paired_or_not():
    """Laterality is asked for of paired parts only."""
    assert iod.is_paired("KNEE") is True
    assert iod.is_paired("HEAD") is False
    assert iod.is_paired("NOWHERE") is None
