"""What the factory may write of its own accord, between blueprint and IOD."""

import numpy as np
import pytest
from pydicom.tag import Tag

from built_results import AFFINE, FACTORY, header_of
from dicomnode.dicom import blueprints
from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.pixel_encoding import EncodingOptions, encode_pixels
from dicomnode.dicom.building.pixel_rules import pixel_rules
from dicomnode.dicom.building.result_geometry import result_geometry
from dicomnode.dicom.elements.standard_elements import CallElement, DiscardElement, StaticElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.uids import UIDSource
from sources import ct_slices, mr_slices


def context_of(*elements, name="ct", sources=ct_slices, shape=(2, 3, 4)):
    """Return what a series of zeros is built from, with more elements in the blueprint."""
    blueprint = getattr(blueprints, f"{name}_blueprint")
    for element in elements:
        blueprint = blueprint + element
    header = header_of(blueprint, sources)
    rules = pixel_rules(header.shared.SOPClassUID)
    volume = Volume(np.zeros(shape, "u2"), AFFINE)
    return BuildContext(
        header=header,
        factory=FACTORY,
        volume=volume,
        stored=encode_pixels(volume.slices, EncodingOptions(), rules),
        geometry=result_geometry(volume, header, "geometry"),
        uids=UIDSource.derived("job").series(),
        rules=rules,
    )


def test_the_factory_writes_what_the_iod_knows_and_the_blueprint_leaves_open():
    """An attribute of another IOD is not written, nor one that the blueprint has."""
    context = context_of()
    assert context.may_write("RescaleType") is False, "the blueprint copies it"
    assert context.may_write("WindowCenter")
    assert not context.may_write("DoseGridScaling")


def test_of_a_sop_class_that_nobody_knows_everything_may_be_written():
    """There is no table to look it up in."""
    context = context_of(StaticElement("SOPClassUID", "1.2.3.4"), name="derived_image")
    assert context.iod is None
    assert context.may_write("DoseGridScaling")


def test_the_place_is_written_unless_it_is_discarded():
    """A grid of its own has its own place, whatever the blueprint copies; a discarded tag stays out."""
    assert context_of().writes_plane("ImagePositionPatient")
    assert context_of().written_plane_keywords == {"ImagePositionPatient", "SliceLocation"}
    without = context_of(DiscardElement("SliceLocation"))
    assert without.written_plane_keywords == {"ImagePositionPatient"}


def test_what_the_blueprint_copies_is_not_copied_again():
    """A picture says nothing of its place, so what the IOD has of it is copied."""
    assert context_of().copied_plane_tags == ()
    context = context_of(name="secondary_capture")
    assert set(context.copied_plane_tags) <= {Tag("ImagePositionPatient"), Tag("SliceLocation")}


@pytest.mark.parametrize(
    ("element", "makes_uids", "numbers"),
    [
        (None, True, True),
        (CallElement("SOPInstanceUID", lambda instance: f"1.2.{instance.index}"), False, True),
        (CallElement("InstanceNumber", lambda instance: 7), True, False),
    ],
)
def test_uids_and_numbers_are_of_the_factory_unless_the_blueprint_has_them(element, makes_uids, numbers):
    """An author may give each instance its own."""
    context = context_of(*([element] if element else []))
    assert (context.makes_uids, context.numbers_instances) == (makes_uids, numbers)


@pytest.mark.parametrize(
    ("name", "sources", "shape", "expected"),
    [
        ("mr", mr_slices, (2, 3, 4, 5), True),
        ("mr", mr_slices, (3, 4, 5), False),  # one time point
        ("ct", ct_slices, (2, 3, 4, 5), False),  # the IOD has no TemporalPositionIdentifier
    ],
)
def test_time_points_are_numbered_where_the_iod_can_say_them(name, sources, shape, expected):
    """PS3.3 C.8.13.5.1."""
    assert context_of(name=name, sources=sources, shape=shape).numbers_time_points is expected
