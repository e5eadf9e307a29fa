"""An image as plain data."""

from __future__ import annotations

import json

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.isolation.image_json import image_from_json, image_to_json


def test_an_image_survives_json() -> None:
    """Path and index come back as they were, values that are lists or empty included; no file is read."""
    index = {0x00080018: "1.2", 0x00080008: ["ORIGINAL", "PRIMARY"], 0x00200013: 7, 0x00100010: None}
    image = LazyDataset("/nowhere/1.dcm", index)
    again = image_from_json(json.loads(json.dumps(image_to_json(image))))
    assert (again.path, again.index) == (image.path, image.index)
    assert again.InstanceNumber == 7


def test_a_dataset_that_is_no_file_cannot_be_sent() -> None:
    """Another process could not read it."""
    with pytest.raises(TypeError, match="a Dataset cannot be sent to another process"):
        image_to_json(Dataset())
