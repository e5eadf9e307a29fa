"""Every ready-made blueprint: what its header holds, whatever the sources."""

import copy
import pickle

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
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


READY = [
    name
    for name in blueprints.__all__
    if name.endswith("_blueprint") and isinstance(getattr(blueprints, name), Blueprint)
]


@pytest.mark.parametrize("name", READY)
def test_ready_made_blueprints_survive_a_pickle(name):
    """A blueprint can be sent to a worker."""
    blueprint = getattr(blueprints, name)
    assert pickle.loads(pickle.dumps(blueprint)) == blueprint
    assert copy.deepcopy(blueprint) == blueprint
