"""Patients, studies and series: each image is in one place."""

from __future__ import annotations

import pytest

from dicomnode.dicom.tree.dicom_tree import DicomTree, PatientTree, SeriesTree, StudyTree
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from dicomnode.errors import DuplicateImageError, ImageTreeError
from made_images import image

TREES = [SeriesTree, StudyTree, PatientTree, DicomTree]


@pytest.mark.parametrize("kind", TREES)
def test_a_duplicate_raises_and_changes_nothing(kind: type[ImageTreeInterface]) -> None:
    """The same SOP Instance UID again is an error that names it; the first image stays."""
    tree, first = kind(), image("1")
    tree.add_image(first)
    with pytest.raises(DuplicateImageError, match=r"1\.4\.1 already"):
        tree.add_image(image("1"))
    assert len(tree) == 1
    assert tree.get("1.4.1") is first


@pytest.mark.parametrize("where", [{"series": "1.33"}, {"study": "1.22", "series": "1.33"}, {"patient": "Q"}])
def test_one_instance_is_in_one_place(where: dict[str, str]) -> None:
    """The same SOP Instance UID elsewhere in the tree is a duplicate, and leaves no empty level."""
    tree = DicomTree()
    tree.add_image(image("1"))
    with pytest.raises(DuplicateImageError):
        tree.add_image(image("1", **where))
    assert list(tree.patients) == ["P"]
    assert list(tree.patients["P"].studies["1.2"].series) == ["1.3"]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (SeriesTree, {"series": "1.33"}),
        (StudyTree, {"study": "1.22"}),
        (PatientTree, {"patient": "Q"}),
    ],
)
@pytest.mark.parametrize("given", [True, False], ids=["given", "learnt"])
def test_an_image_of_another_level_raises(kind: type, other: dict[str, str], given: bool) -> None:
    """A tree that was given its identifier, or has learnt it from its first image, takes nothing else."""
    own = {"SeriesTree": "1.3", "StudyTree": "1.2", "PatientTree": "P"}[kind.__name__]
    tree = kind(own) if given else kind()
    if not given:
        tree.add_image(image("1"))
    before = len(tree)
    with pytest.raises(ImageTreeError, match=f"does not go into the {kind.__name__}"):
        tree.add_image(image("2", **other))
    assert len(tree) == before


def test_a_series_within_a_tree_takes_no_image_of_another_study() -> None:
    """Added through a branch, an image must fit the levels above as well."""
    tree = DicomTree()
    tree.add_image(image("1"))
    series = tree.patients["P"].studies["1.2"].series["1.3"]
    series.add_image(image("2"))
    assert len(tree) == 2
    for other in ({"study": "1.22"}, {"patient": "Q"}):
        with pytest.raises(ImageTreeError, match="does not go into"):
            series.add_image(image("3", **other))
    with pytest.raises(DuplicateImageError):
        series.add_image(image("2"))
    assert len(tree) == 2


def test_levels_that_become_empty_go() -> None:
    """Removing the last image of a series removes the series, the study and the patient."""
    tree = DicomTree()
    tree.add_images(
        [image("1"), image("2", series="1.33"), image("3", patient="Q", study="1.22", series="1.34")]
    )
    patient, other = tree.patients["P"], tree.patients["Q"]
    series = other.studies["1.22"].series["1.34"]
    tree.remove("1.4.3")
    assert list(tree.patients) == ["P"]
    patient.remove("1.4.2")
    assert list(patient.studies["1.2"].series) == ["1.3"]
    with pytest.raises(ImageTreeError, match=r"no image of SOPInstanceUID 1\.4\.3"):
        tree.remove("1.4.3")
    series.add_image(image("9", patient="R", series="1.34"))  # still held by someone, it stands alone
    assert len(tree) == 1
    assert "1.4.9" not in tree


def test_a_subtree_knows_its_own_only() -> None:
    """``in`` and ``get`` of a branch see the images below it and no others."""
    tree = DicomTree()
    tree.add_images([image("1"), image("2", patient="Q", study="1.22", series="1.33")])
    assert "1.4.1" in tree.patients["P"]
    assert "1.4.2" not in tree.patients["P"]
    assert tree.patients["P"].get("1.4.2") is None
    with pytest.raises(ImageTreeError):
        tree.patients["P"].remove("1.4.2")
    assert len(tree) == 2


def test_a_subtree_can_be_filtered_alone() -> None:
    """The result of filtering a branch is a tree of its own."""
    tree = DicomTree()
    tree.add_images([image("1"), image("2")])
    few = tree.patients["P"].filter(lambda each: each.SOPInstanceUID == "1.4.1")
    few.add_image(image("3"))
    assert len(tree) == 2
    assert len(few) == 2


def test_the_views_cannot_be_changed() -> None:
    """Who looks at the levels cannot put one in behind the tree's back."""
    tree = DicomTree()
    with pytest.raises(TypeError):
        tree.patients["P"] = PatientTree("P")  # type: ignore[index]  # the mapping is read-only, which is what is tested
