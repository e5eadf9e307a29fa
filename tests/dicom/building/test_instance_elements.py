"""What all instances of a series share, and what each has of its own."""

import itertools

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from built_results import AFFINE, FACTORY, build, header_of
from dicomnode.dicom import blueprints
from dicomnode.dicom.building.built_series import encode_series
from dicomnode.dicom.elements.standard_elements import CallElement, InstanceCopyElement, StaticElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.errors import MissingTagsError
from sources import ct_slices, mr_slices

_NEW = ("SOPInstanceUID", "SeriesInstanceUID")


def uids(*, identity, key=None, sources=ct_slices, blueprint="ct", series=1):
    source = None if identity is None else UIDSource.derived(identity)
    header = header_of(blueprint, sources, uids=source)
    array = np.zeros((2, 4, 5), "u2")
    built = [FACTORY.build_series(header, Volume(array, AFFINE), key=key) for _ in range(series)]
    return [[str(image[name].value) for name in _NEW] for image in itertools.chain(*built)]


@pytest.mark.parametrize("blueprint", ["ct", "enhanced_ct", "rt_dose", "secondary_capture"])
def test_the_same_job_makes_the_same_uids(blueprint):
    """Run again, a job names its results as before; another job names them otherwise."""
    again = [uids(identity="job 7", blueprint=blueprint) for _ in range(2)]
    assert again[0] == again[1]
    assert uids(identity="job 8", blueprint=blueprint) != again[0]


def test_without_an_identity_uids_are_new_each_time():
    """Nobody gets the UIDs of an earlier result by accident."""
    assert uids(identity=None) != uids(identity=None)


def test_no_two_instances_or_series_share_a_uid():
    """Within a job each series and each instance has its own, and none is a source's."""
    made = uids(identity="job 7", series=2)
    assert len({instance for instance, _ in made}) == 4
    assert len({series for _, series in made}) == 2
    taken = {str(source[name].value) for source in ct_slices() for name in _NEW}
    assert not taken & {uid for pair in made for uid in pair}


def test_a_named_series_keeps_its_uids_whatever_else_is_made():
    """A key ties UIDs to the name instead of the count."""
    first = uids(identity="job 7", key="mask")
    header = header_of(uids=UIDSource.derived("job 7"))
    build(np.zeros((1, 2, 2)), header)
    later = build(np.zeros((2, 4, 5), "u2"), header, key="mask")
    assert [[str(image[name].value) for name in _NEW] for image in later] == first


def test_encoded_uids_are_the_same_ones():
    """What is sent has the UIDs of the datasets, in the file meta information too."""
    built = build(np.zeros((2, 4, 5), "u2"), header_of(uids=UIDSource.derived("job 7")))
    encoded = list(encode_series(built))
    assert [item.SOPInstanceUID for item in encoded] == [image.SOPInstanceUID for image in built]
    for item, image in zip(encoded, built, strict=True):
        read = dcmread(DicomBytesIO(bytes(item)))
        assert read.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID == read.SOPInstanceUID


def test_private_elements_of_an_instance_go_into_the_blocks_of_the_whole():
    """A creator that the series has keeps its block; a new one gets the next (PS3.5 section 7.8.1)."""
    mine = blueprints.ct_blueprint
    for element in (
        StaticElement(PrivateTag(0x0029, 1, "ALPHA"), "shared", VR="LO"),
        CallElement(PrivateTag(0x0029, 2, "ALPHA"), lambda e: f"slice {e.index}", VR="LO"),
        CallElement(
            PrivateTag(0x0029, 1, "BETA"), lambda e: f"other {e.index}" if e.index else None, VR="LO"
        ),
    ):
        mine = mine + element
    first, second = build(np.zeros((2, 3, 4)), header_of(mine))
    alpha = second.private_block(0x0029, "ALPHA")
    assert (alpha[1].value, alpha[2].value) == ("shared", "slice 1")
    assert second.private_block(0x0029, "BETA")[1].value == "other 1"
    assert first.private_creators(0x0029) == ["ALPHA"]


def test_only_the_instance_whose_text_needs_it_has_another_character_set():
    """The others keep that of the series."""
    mine = blueprints.ct_blueprint + CallElement("ImageComments", lambda e: "画像" if e.index else "plain")
    first, second = build(np.zeros((2, 3, 4)), header_of(mine))
    assert (first.SpecificCharacterSet, second.SpecificCharacterSet) == ("ISO_IR 100", "ISO_IR 192")
    assert second.ImageComments == "画像"


def test_what_an_instance_lacks_is_reported_together():
    """Every element that finds no source, in one message that names the instance."""
    mine = blueprints.ct_blueprint + InstanceCopyElement("KVP") + InstanceCopyElement("TableHeight")
    sources = ct_slices()
    for source in sources:
        source.TableHeight = 5
    header = FACTORY.make_header(mine, sources)
    with pytest.raises(MissingTagsError, match="instance 1 of 2") as caught:
        build(np.zeros((2, 3, 4)), header)
    assert {"KVP", "TableHeight"} <= set(caught.value.keywords)


@pytest.mark.parametrize(
    ("name", "sources", "array", "kind"),
    [
        ("ct", ct_slices, np.full((1, 2, 2), 0.5), None),  # HU unless it says otherwise (PS3.3 C.8.2.1)
        ("secondary_capture", ct_slices, np.full((1, 2, 2), 0.5), "US"),
        ("mr", mr_slices, np.ones((1, 2, 2), "u2"), None),  # an identity is not written
    ],
)
def test_a_rescale_has_the_type_that_its_iod_asks_for(name, sources, array, kind):
    """RescaleType is written where the module asks for it, and the values are not HU."""
    (built,) = build(array, header_of(name, sources))
    assert built.get("RescaleType") == kind
