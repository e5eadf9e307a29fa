"""An image as plain data: its file, and what the receiver indexed of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset


def image_to_json(image: Dataset) -> dict[str, Any]:
    """Return an image as plain data.

    Raises
    ------
    TypeError
        When it is not a file on disk, which only the host's own images are.
    """
    if not isinstance(image, LazyDataset):
        msg = f"a {type(image).__name__} cannot be sent to another process, only a LazyDataset"
        raise TypeError(msg)
    return {"path": str(image.path), "index": {f"{tag:08x}": value for tag, value in image.index.items()}}


def image_from_json(plain: Mapping[str, Any]) -> LazyDataset:
    """Return the image of which :func:`image_to_json` made plain data."""
    return LazyDataset(plain["path"], {int(tag, 16): value for tag, value in plain["index"].items()})
