"""A hook that says what it looks at costs no opened file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomnode import LazyDataset, hookimpl, looks_at
from dicomnode.dicom.values.tags import ABSENT
from dicomnode.errors import InvalidValueError
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

BURNED_IN, MODALITY = 0x00280301, 0x00080060


class Plugin:
    """Refuses images with burned-in annotation."""

    @hookimpl
    @looks_at("BurnedInAnnotation", MODALITY)
    def dicomnode_validate_image(self, image: Dataset) -> str | None:
        """Look at two attributes."""
        if image.get("BurnedInAnnotation") == "YES" and "Modality" in image:
            return "burned-in annotation"
        return None


def test_what_hooks_look_at_is_known() -> None:
    """The tags of every implementation are collected; one that says nothing has none."""
    hooks = Hooks(Registry(only=()))
    assert hooks.looked_at == frozenset()
    hooks.register(Plugin(), "site")
    assert hooks.looked_at == {BURNED_IN, MODALITY}


def test_a_misspelt_attribute() -> None:
    """A keyword that DICOM does not have is told when the plugin is imported, with a similar one."""
    with pytest.raises(InvalidValueError, match="BurnedInAnnotation"):
        looks_at("BurnedInAnnotations")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({BURNED_IN: "YES", MODALITY: "CT"}, "burned-in annotation"),
        ({BURNED_IN: "YES", MODALITY | ABSENT: 1}, None),
        ({BURNED_IN | ABSENT: 1, MODALITY: "CT"}, None),
    ],
)
def test_no_file_is_opened(tmp_path: Path, index: dict[int, str], reason: str | None) -> None:
    """What is indexed, and what is known to be absent, is answered although there is no such file."""
    image = LazyDataset(tmp_path / "gone.dcm", index)
    assert Plugin().dicomnode_validate_image(image) == reason
    assert not image.was_read


def test_absent_is_absent(tmp_path: Path) -> None:
    """An element that the data set does not have is absent by every way of asking."""
    image = LazyDataset(tmp_path / "gone.dcm", {BURNED_IN | ABSENT: 1})
    assert image.get("BurnedInAnnotation") is None
    assert image.get(BURNED_IN, "nothing") == "nothing"
    assert "BurnedInAnnotation" not in image
    assert BURNED_IN not in image
    assert not hasattr(image, "BurnedInAnnotation")
    with pytest.raises(KeyError):
        image[BURNED_IN]
    assert not image.was_read
