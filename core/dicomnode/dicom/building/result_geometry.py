"""Where the slices of a result lie, and which source slice each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.building.header import SeriesHeader
from dicomnode.dicom.building.rescale import decimal_string
from dicomnode.dicom.geometry.slice_sorting import same_grid, sort_by_geometry
from dicomnode.dicom.geometry.slice_stack import SliceStack
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.reading.planes import Plane, cross
from dicomnode.dicom.values.iod import iod_of
from dicomnode.errors import GeometryError

Matching = Literal["geometry", "index"] | None

SHARED_PLANE_KEYWORDS: Final = (
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)
SLICE_PLANE_KEYWORDS: Final = ("ImagePositionPatient", "SliceLocation")
_PLACED_BY: Final = ("image-plane", "multi-frame-functional-groups")
_NEAR: Final = 0.01
_PARALLEL: Final = 1e-3


@dataclass(frozen=True, eq=False)
class ResultGeometry:
    """Where a result lies.

    Parameters
    ----------
    sources : tuple of Plane or None
        For each slice of the result, time point after time point, the source plane at the same place.
    affine : ndarray, shape (4, 4), or None
        Of the result, where it has to be written from numbers: a grid of its own. ``None`` where the sources'
        attributes are copied, or nothing is known.
    """

    sources: tuple[Plane | None, ...]
    affine: NDArray[np.float64] | None = None

    def source(self, index: int) -> Dataset | None:
        """Return the source dataset of a slice."""
        plane = self.sources[index]
        return None if plane is None else plane.image

    @property
    def supplied(self) -> frozenset[BaseTag]:
        """The tags that are written from the affine instead of being asked from the blueprint."""
        if self.affine is None:
            return frozenset()
        return frozenset(Tag(keyword) for keyword in (*SHARED_PLANE_KEYWORDS, *SLICE_PLANE_KEYWORDS))


def result_geometry(
    volume: Volume,
    header: SeriesHeader,
    matching: Matching,
) -> ResultGeometry:
    """Find out where the slices of a result lie.

    Parameters
    ----------
    volume : Volume
        The result; with an affine it says itself where it lies.
    header : SeriesHeader
        Names the sources, and the SOP class of the result: of an image without a place in the patient
        nothing is asked.
    matching : {"geometry", "index", None}
        How slices are matched to source slices.

    Raises
    ------
    GeometryError
        When the result is an array whose slices cannot be those of the sources, but its SOP class says where
        slices lie.
    """
    total = volume.times * volume.grid[0]
    if not header.sources or matching is None:
        return ResultGeometry((None,) * total, volume.affine)
    stack = header.stack or sort_by_geometry(header.sources)
    same_size = _same_size(volume, stack)
    if matching == "index":
        return ResultGeometry(_by_index(stack, total), volume.affine)
    if volume.affine is not None:
        if (
            same_size
            and _copyable(stack)
            and stack.affine is not None
            and same_grid(volume.affine, stack.affine, volume.grid)
        ):
            return ResultGeometry(_slice_by_slice(volume, stack))
        return ResultGeometry(_near(volume, stack), volume.affine)
    if same_size:
        return ResultGeometry(_slice_by_slice(volume, stack), None if _copyable(stack) else stack.affine)
    if not _must_lie(str(header.shared.SOPClassUID)):
        return ResultGeometry((None,) * total)
    slices, rows, columns = volume.grid
    first = stack.planes[0]
    raise GeometryError(
        f"the result has {slices} slices of {rows} x {columns}, its sources {stack.slices} of {first.rows} x"
        f" {first.columns}, so it does not lie where they lie. If it is on a grid of its own, pass a"
        " Volume(array, affine); if it has no place at all, pass source_matching=None"
    )


def _same_size(volume: Volume, stack: SliceStack) -> bool:
    first = stack.planes[0]
    return volume.grid == (stack.slices, first.rows, first.columns)


def _copyable(stack: SliceStack) -> bool:
    """Return whether position and orientation can be copied: not from the frames of a multi-frame image."""
    return all(not plane.groups for plane in stack.planes) and len(stack.images) == len(stack.planes)


def _must_lie(SOPClassUID: str) -> bool:  # noqa: N803 - DICOM's own spelling
    """Return whether the IOD asks where each slice lies."""
    iod = iod_of(SOPClassUID)
    return iod is not None and any(
        usage == "M" and module.endswith(_PLACED_BY) for module, usage in iod.modules.items()
    )


def _by_index(stack: SliceStack, total: int) -> tuple[Plane | None, ...]:
    planes: list[Plane | None] = list(stack.planes[:total])
    return tuple(planes + [None] * (total - len(planes)))


def _slice_by_slice(volume: Volume, stack: SliceStack) -> tuple[Plane, ...]:
    """Match time point to time point where there are equally many, otherwise all to the first."""
    if volume.times == stack.times:
        return stack.planes
    return stack.planes[: stack.slices] * volume.times


def _near(volume: Volume, stack: SliceStack) -> tuple[Plane | None, ...]:
    """Match slices to parallel source slices at the same height."""
    total = volume.times * volume.grid[0]
    positions, orientation = volume.positions, volume.orientation
    if positions is None or orientation is None or not all(plane.located for plane in stack.planes):
        return (None,) * total
    normal = np.array(cross(orientation))
    first = stack.planes[: stack.slices]
    heights = np.array([plane.position for plane in first], dtype=np.float64) @ normal
    spacing = volume.spacing[0] if volume.spacing else 1.0
    matched: list[Plane | None] = []
    for height in positions @ normal:
        nearest = int(np.abs(heights - height).argmin())
        parallel = np.allclose(cross(first[nearest].orientation or orientation), normal, atol=_PARALLEL)
        close = abs(heights[nearest] - height) <= _NEAR * spacing
        matched.append(first[nearest] if parallel and close else None)
    if volume.times == stack.times and stack.times > 1:
        by_place = {id(plane): number for number, plane in enumerate(first)}
        return tuple(
            None if plane is None else stack.planes[time * stack.slices + by_place[id(plane)]]
            for time in range(volume.times)
            for plane in matched
        )
    return tuple(matched * volume.times)


def shared_plane(volume_affine: NDArray[np.float64]) -> dict[str, Any]:
    """Return the attributes of Image Plane that all slices share (PS3.3 C.7.6.2).

    Parameters
    ----------
    volume_affine : ndarray, shape (4, 4)
        Maps (slice, row, column, 1) to LPS in mm.

    Raises
    ------
    GeometryError
        When rows and columns are not perpendicular, which DICOM cannot say.
    """
    slices, rows, columns = (float(length) for length in np.linalg.norm(volume_affine[:3, :3], axis=0))
    along_row, along_column = volume_affine[:3, 2] / columns, volume_affine[:3, 1] / rows
    if abs(float(along_row @ along_column)) > _PARALLEL:
        raise GeometryError(
            "rows and columns of the affine are not perpendicular, which DICOM cannot express:\n"
            f"{volume_affine}"
        )
    return {
        "ImageOrientationPatient": [decimal_string(_clean(c)) for c in (*along_row, *along_column)],
        "PixelSpacing": [decimal_string(rows), decimal_string(columns)],
        "SliceThickness": decimal_string(slices),
        "SpacingBetweenSlices": decimal_string(slices),
    }


def slice_plane(volume_affine: NDArray[np.float64], slice_index: int) -> dict[str, Any]:
    """Return ImagePositionPatient and SliceLocation of a slice.

    Parameters
    ----------
    volume_affine : ndarray, shape (4, 4)
        Maps (slice, row, column, 1) to LPS in mm.
    slice_index : int
        The slice within its time point.
    """
    position = volume_affine[:3, 3] + slice_index * volume_affine[:3, 0]
    normal = np.cross(volume_affine[:3, 2], volume_affine[:3, 1])
    height = float(position @ normal / np.linalg.norm(normal))
    return {
        "ImagePositionPatient": [decimal_string(_clean(p)) for p in position],
        "SliceLocation": decimal_string(_clean(height)),
    }


def _clean(number: float) -> float:
    """Return a number without a negative zero, or what rounding left of a zero."""
    return 0.0 if abs(number) < 1e-12 else float(number)  # noqa: PLR2004 - far below a nanometre


__all__ = ["Matching", "ResultGeometry", "result_geometry", "shared_plane", "slice_plane"]
