"""Trees: what goes in, what is counted, and what is said."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.tree.dicom_tree import DicomTree, PatientTree, SeriesTree, StudyTree
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from made_images import image

TREES = [SeriesTree, StudyTree, PatientTree, DicomTree]


class _Bag(ImageTreeInterface):
    """The least subclass: anything goes in once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add_image(self, image: Dataset) -> None:
        self._insert(image)


@pytest.mark.parametrize(
    "tree", [*(kind() for kind in TREES), _Bag("bag")], ids=lambda tree: type(tree).__name__
)
def test_every_tree_holds_what_it_was_given(tree: ImageTreeInterface) -> None:
    """Add, count, iterate in order, get, ask, map, filter, find and remove work on every kind of tree."""
    images = [image(str(number), InstanceNumber=number) for number in range(5)]
    assert len(tree) == 0
    assert not tree
    assert tree.add_images(images) == 5
    assert len(tree) == 5
    assert tree
    assert list(tree) == images
    assert tree.get("1.4.3") is images[3]
    assert tree.get("1.4.9") is None
    assert "1.4.3" in tree
    assert "1.4.9" not in tree
    assert 5 not in tree
    assert tree.map(lambda each: each.InstanceNumber) == [0, 1, 2, 3, 4]
    assert tree.find(lambda each: each.InstanceNumber > 2) is images[3]
    assert tree.find(lambda each: each.InstanceNumber > 9) is None
    few = tree.filter(lambda each: each.InstanceNumber % 2 == 1)
    assert type(few) is type(tree)
    assert list(few) == [images[1], images[3]]
    assert len(tree) == 5
    few.remove("1.4.1")
    assert "1.4.1" in tree
    tree.remove("1.4.0")
    assert len(tree) == 4
    assert tree.get("1.4.0") is None


def test_filter_keeps_what_a_subclass_knows() -> None:
    """Attributes of a subclass go along, though its constructor asks for arguments."""
    bag = _Bag("name")
    bag.add_image(image("1"))
    assert bag.filter(lambda _: False).name == "name"
