"""Inputs: which images belong, what is missing, and that both are said in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from dicomnode import AbstractInput, LazyDataset, Not
from dicomnode.dicom.values.tags import ABSENT
from dicomnode.errors import ConfigurationError, DuplicateImageError
from sources import ct_slices, mr_slices


def made(**attributes: object) -> AbstractInput:
    """Return an input of a class with these attributes."""
    kind = type("Images", (AbstractInput,), attributes)
    return kind("images")


def test_what_says_when_an_input_is_whole() -> None:
    """A number, a keyword or a peer as it is, a function by that word; and whether a series is chosen."""
    for expected, told in (
        (None, None),
        (5, 5),
        ("NumberOfSlices", "NumberOfSlices"),
        ("peer", "peer"),
        (len, "function"),
    ):
        assert type(made(expected_images=expected)).expectation() == told
    assert type(made(choose_series=lambda _, candidates: candidates[0])).chooses_series()
    assert not type(made()).chooses_series()


def test_an_image_that_belongs() -> None:
    """An image that fits every rule is taken, and iterated in order of arrival."""
    images = made(required_tags=["PixelSpacing"], required_values={"Modality": "MR"})
    slices = mr_slices(3)
    assert images.add_images(slices) == 3
    assert list(images) == slices
    assert images.missing() is None


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ("MR", True),
        ("CT", False),
        ({"CT", "MR"}, True),
        (["CT", "PT"], False),
        (re.compile("M."), True),
        (re.compile("R"), False),
        (lambda value: value.startswith("M"), True),
        (lambda value: value == "", False),
    ],
)
def test_rules(rule: object, fits: bool) -> None:
    """A rule is a value, several values, a pattern or a predicate; a refusal names keyword and value."""
    reason = made(required_values={"Modality": rule}).why_not(mr_slices(1)[0])
    if fits:
        assert reason is None
    else:
        assert reason is not None
        assert reason.startswith("Modality is MR, not ")


def test_multiple_values() -> None:
    """Of a multi-valued attribute any value may fit."""
    image = mr_slices(1)[0]
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    assert made(required_values={"ImageType": "OTHER"}).why_not(image) is None
    assert made(required_values={"ImageType": "AXIAL"}).why_not(image) == (
        "ImageType is DERIVED\\SECONDARY\\OTHER, not AXIAL"
    )


def test_a_missing_tag_is_named() -> None:
    """A required attribute that is missing or empty is named by keyword, or by tag where it has none."""
    image = mr_slices(1)[0]
    image.AccessionNumber = ""
    assert made(required_tags=["AccessionNumber"]).why_not(image) == "AccessionNumber is missing or empty"
    assert made(required_tags=[0x00091001]).why_not(image) == "(0009,1001) is missing or empty"


def test_what_the_blueprint_copies_is_required() -> None:
    """An image that lacks what the result's header copies is refused when it arrives."""
    held = AbstractInput("images", copied_tags=[0x00200052])
    image = mr_slices(1)[0]
    assert held.why_not(image) is None
    del image.FrameOfReferenceUID
    assert held.why_not(image) == "FrameOfReferenceUID is missing, which the result's header copies"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [(None, None), (True, None), (False, "Images.validate_image said no"), ("too thick", "too thick")],
)
def test_the_authors_verdict(verdict: object, reason: str | None) -> None:
    """validate_image answers yes with None or True, no with False or a reason."""
    images = made(validate_image=lambda self, image: verdict)
    assert images.why_not(mr_slices(1)[0]) == reason


def test_a_verdict_that_is_none() -> None:
    """An answer that is neither is the author's mistake, and told as one."""
    with pytest.raises(TypeError, match="must return None or True"):
        made(validate_image=lambda self, image: 7).why_not(mr_slices(1)[0])


def test_duplicates_count_once() -> None:
    """An image that is here already is refused by name, and counts once."""
    images = made()
    (image,) = mr_slices(1)
    images.add_image(image)
    with pytest.raises(DuplicateImageError, match=re.escape(str(image.SOPInstanceUID))):
        images.add_image(image)
    assert len(images) == 1


def test_whether_an_image_belongs_depends_on_nothing_that_waits() -> None:
    """Images of another series and another study are taken: what a job gets of them is decided later."""
    first, second = mr_slices(2)
    second.SeriesInstanceUID, second.StudyInstanceUID = generate_uid(), generate_uid()
    images = made(required_values={"Modality": "MR"})
    images.add_image(first)
    assert images.why_not(second) is None
    assert images.add_images([second]) == 1


@pytest.mark.parametrize(
    ("rule", "image_type", "fits"),
    [
        (Not("LOCALIZER"), ["ORIGINAL", "PRIMARY", "LOCALIZER"], False),
        (Not("LOCALIZER"), ["ORIGINAL", "PRIMARY", "AXIAL"], True),
        (Not("LOCALIZER", "DERIVED"), ["DERIVED", "SECONDARY"], False),
        (Not({"DERIVED", "SECONDARY"}), ["ORIGINAL", "SECONDARY"], False),
        (Not(re.compile("MPR.*")), ["DERIVED", "PRIMARY", "MPR THICK"], False),
        (Not("LOCALIZER"), None, True),
        (Not("LOCALIZER"), [], True),
        ("ORIGINAL", ["ORIGINAL", "LOCALIZER"], True),
    ],
)
def test_a_rule_that_forbids(rule: object, image_type: list[str] | None, fits: bool) -> None:
    """No value of an attribute may be what Not names; an attribute that is missing has no value."""
    (image,) = mr_slices(1)
    if image_type is None:
        del image.ImageType
    else:
        image.ImageType = image_type
    images = made(required_values={"ImageType": rule})
    reason = images.why_not(image)
    assert (reason is None) is fits
    indexed = {0x00080008 | ABSENT: 1} if image_type is None else {0x00080008: image_type or None}
    assert images.why_not(LazyDataset("/nowhere/at/all.dcm", indexed)) == reason
    if isinstance(rule, Not) and reason is not None:
        assert reason.startswith("ImageType is ")
        assert reason.endswith(", which is not taken")


def test_a_rule_that_forbids_nothing() -> None:
    """Not without a value is a mistake, and told at once."""
    with pytest.raises(ConfigurationError, match="forbids nothing"):
        Not()


@pytest.mark.parametrize(
    ("expected", "proof"),
    [
        (3, "3 of 3 images (expected_images)"),
        ("ImagesInAcquisition", "3 of 3 images (ImagesInAcquisition)"),
        (lambda images: len({image.InstanceNumber for image in images}), "3 of 3 images (expected_images)"),
        (2, ""),
        (4, ""),
        ("NumberOfSlices", ""),
        ("peer", ""),
        (None, ""),
    ],
)
def test_what_proves_that_an_input_is_whole(expected: object, proof: str) -> None:
    """Exactly the expected number of images does, whoever says it; nothing else does."""
    slices = mr_slices(3)
    for number, image in enumerate(slices, 1):
        image.ImagesInAcquisition, image.InstanceNumber = 3, number
    images = made(expected_images=expected)
    images.add_images(slices)
    assert images.proof() == proof


def test_every_series_must_be_whole() -> None:
    """Of an input that takes several series each is counted by itself."""
    first, second, third = mr_slices(3)
    second.SeriesInstanceUID = third.SeriesInstanceUID = generate_uid()
    for image in (first, second, third):
        image.ImagesInAcquisition = 1 if image is first else 2
    images = made(expected_images="ImagesInAcquisition", several_series=True)
    images.add_images([first, second])
    assert images.proof() == ""
    assert images.missing() == "1 of 2 images"
    images.add_image(third)
    assert images.proof() == "1 of 1 images (ImagesInAcquisition); 2 of 2 images (ImagesInAcquisition)"


def test_what_a_peer_says() -> None:
    """With "peer" the input waits for the peer's word, and is whole when it has as many images."""
    slices = mr_slices(2)
    images = made(expected_images="peer")
    images.add_images(slices)
    assert images.missing() == "the peer does not say how many images there are"
    images.peer_counts = {str(slices[0].SeriesInstanceUID): 3}
    assert images.missing() == "2 of 3 images"
    images.peer_counts = {str(slices[0].SeriesInstanceUID): 2}
    assert (images.missing(), images.proof()) == (None, "2 of 2 images (the peer)")


def test_completeness_in_words() -> None:
    """What is missing is said: how many of how many, and where the gap is."""
    slices = ct_slices()
    images = made(expected_images=5, complete_volume=True)
    assert images.missing() == "no image yet"
    images.add_images([*slices[:2], *slices[3:4]])
    said = images.missing()
    assert said is not None
    assert said.startswith("3 of 5 images, gap between ")
    images.add_images([slices[2], slices[4]])
    assert images.missing() is None


def test_a_gap_is_told_in_slice_numbers() -> None:
    """What a volume lacks is told by the InstanceNumbers that a viewer shows; the millimetres are added."""
    slices = mr_slices(9)
    for number, image in enumerate(slices, start=40):
        image.InstanceNumber = number
    images = made(expected_images=9, complete_volume=True)
    images.add_images([*slices[:3], *slices[4:]])
    assert images.missing() == (
        "8 of 9 images, gap between slices 42 and 44 (10 mm, where slices are 5 mm apart)"
    )


def test_the_number_that_an_attribute_says() -> None:
    """The expected number may stand in an attribute; where it does not, that is said."""
    slices = mr_slices(2)
    for image in slices:
        image.ImagesInAcquisition = 2
    images = made(expected_images="ImagesInAcquisition")
    images.add_image(slices[0])
    assert images.missing() == "1 of 2 images"
    images.add_image(slices[1])
    assert images.missing() is None
    silent = made(expected_images="NumberOfSlices")
    silent.add_image(slices[0])
    assert silent.missing() == "NumberOfSlices does not say how many images there are"


def test_optional() -> None:
    """An optional input is complete while it is empty."""
    assert made(optional=True).missing() is None


def test_rules_read_no_file() -> None:
    """What the rules look at is indexed, so that deciding about an image opens no file."""
    kind = type(
        "Images", (AbstractInput,), {"required_values": {"Modality": "MR"}, "required_tags": ["PixelSpacing"]}
    )
    source = mr_slices(1)[0]
    index = {int(tag): source[tag].value for tag in kind.indexed_tags()}
    index |= {0x00080018: str(source.SOPInstanceUID), 0x0020000E: str(source.SeriesInstanceUID)}
    image = LazyDataset("/nowhere/at/all.dcm", {tag: _plain(value) for tag, value in index.items()})
    assert kind("images").why_not(image) is None


@given(st.lists(st.integers(0, 9), unique=True), st.integers(1, 10))
def test_counts(chosen: list[int], expected: int) -> None:
    """Whatever arrives in whatever order, the input is complete when as many images are there as expected."""
    images = made(expected_images=expected)
    slices = mr_slices(10)
    for number in chosen:
        images.add_image(slices[number])
    missing = images.missing()
    assert (missing is None) == (len(chosen) == expected)
    if len(chosen) > expected:
        assert missing == f"{len(chosen)} images, {expected} expected (expected_images)"


def _plain(value: object) -> object:
    return [float(each) for each in value] if hasattr(value, "append") else str(value)  # type: ignore[attr-defined]  # what has append can be walked
