"""What the demonstration shows at its end: tags side by side, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import png
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_rescale
from rich.table import Table
from rich.text import Text

from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import DicomError

_TAGS = (
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "ImageType",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "RescaleSlope",
    "RescaleIntercept",
    "DerivationDescription",
)
_GAP = 4
_LEAST_HEIGHT = 256


def tag_table(sources: Sequence[Dataset], derived: Sequence[Dataset]) -> Table:
    """Return a table of tags of the middle slices of source and result; what is the same is dim."""
    source, result = _middle(sources), _middle(derived)
    table = Table(title="One slice of the source and of the result")
    table.add_column("tag")
    table.add_column("source", overflow="fold")
    table.add_column("result", overflow="fold")
    for keyword in _TAGS:
        before, after = (safe_text(image.get(keyword, "")) for image in (source, result))
        if before or after:
            table.add_row(keyword, Text(before), Text(after), style="dim" if before == after else "")
    return table


def write_picture(sources: Sequence[Dataset], derived: Sequence[Dataset], path: Path) -> Path | None:
    """Write a PNG of one source slice (left) and one result slice (right), in one window of grey.

    Returns
    -------
    pathlib.Path or None
        The file; ``None`` when the result has no pixels that can be shown so.
    """
    try:
        left, right = (
            apply_rescale(image.pixel_array, image) for image in (_middle(sources), _middle(derived))
        )
    except (AttributeError, DicomError):
        return None
    if left.ndim != 2 or right.ndim != 2:  # noqa: PLR2004 - rows and columns
        return None
    lowest, highest = np.percentile(left, (1, 99))
    larger = max(1, _LEAST_HEIGHT // left.shape[0])  # pydicom's example slices have 16 rows
    left, right = (np.kron(image, np.ones((larger, larger))) for image in (left, right))
    height = max(left.shape[0], right.shape[0])
    picture = np.full((height, left.shape[1] + _GAP + right.shape[1]), 255, np.uint8)
    picture[: left.shape[0], : left.shape[1]] = _grey(left, lowest, highest)
    picture[: right.shape[0], left.shape[1] + _GAP :] = _grey(right, lowest, highest)
    png.from_array(picture, mode="L").save(str(path))
    return path


def _grey(values: NDArray[np.generic], lowest: float, highest: float) -> NDArray[np.uint8]:
    scaled = (values.astype(np.float64) - lowest) / max(highest - lowest, 1e-9)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _middle(images: Sequence[Dataset]) -> Dataset:
    ordered = sort_by_geometry(images).images
    return ordered[len(ordered) // 2]
