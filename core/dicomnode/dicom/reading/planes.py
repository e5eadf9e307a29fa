"""Where each image, and each frame of a multi-frame image, lies in the patient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.sorting_header import read_sorting_header
from dicomnode.errors import GeometryError

Vector = tuple[float, ...]

_POSITION_SIZE: Final = 3
_ORIENTATION_SIZE: Final = 6
_PAIR: Final = 2
PLANE_KEYWORDS: Final = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "InstanceNumber",
    "NumberOfFrames",
)
"""What must be indexed so that single-frame slices can be put in order without a file being opened."""
MOSAIC: Final = "MOSAIC"
"""The value of ImageType of a sheet of slices."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: a single-frame image, or one frame of a multi-frame image.

    Parameters
    ----------
    image : Dataset
        The dataset.
    frame : int
        Zero-based frame.
    rows, columns : int
        The size.
    position : tuple of float or None
        ImagePositionPatient: the centre of the first voxel, LPS, mm.
    orientation : tuple of float or None
        ImageOrientationPatient: direction cosines of the row and of the column (PS3.3 C.7.6.2.1.1).
    pixel_spacing : tuple of float or None
        Distance between rows and between columns, mm.
    groups : tuple of Dataset
        The functional groups of the frame, per-frame before shared; empty for classic images.
    header : Dataset or SortingHeader
        What answers ``get(keyword)``: the image itself, or what was read of its file.
    """

    image: Dataset
    frame: int
    rows: int
    columns: int
    position: Vector | None = None
    orientation: Vector | None = None
    pixel_spacing: Vector | None = None
    groups: tuple[Dataset, ...] = field(default=(), repr=False)
    header: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.header is None:
            object.__setattr__(self, "header", self.image)

    @property
    def located(self) -> bool:
        """Whether position and orientation are known."""
        return self.position is not None and self.orientation is not None

    @property
    def position_text(self) -> str:
        """The position as messages write it, or the name of the image where it has none."""
        if self.position is None:
            return str(self)
        return "(" + ", ".join(f"{part:.6g}" for part in self.position) + ")"

    def value(self, keyword: str) -> Any:
        """Return the value that an attribute has for this plane, ``None`` if it has none.

        Looked for in the frame's functional groups, in a frame vector (``TimeSlotVector``), in the dataset.

        Parameters
        ----------
        keyword : str
            The attribute.
        """
        for group in self.groups:
            for sequence in group:
                if sequence.VR == "SQ" and sequence.value and keyword in sequence.value[0]:
                    return sequence.value[0].get(keyword)
        value = self.header.get(keyword)
        if keyword.endswith("Vector"):
            return value[self.frame] if isinstance(value, Sequence) and len(value) > self.frame else None
        return value

    def __str__(self) -> str:
        number = self.header.get("InstanceNumber")
        name = (
            f"instance {number}" if number not in (None, "") else str(self.header.get("SOPInstanceUID", "?"))
        )
        return f"{name} frame {self.frame + 1}" if self.groups or self.frame else name


def planes_of(image: Dataset) -> list[Plane]:
    """Return the planes of an image: one, or as many as it has frames.

    Read are Image Plane (PS3.3 C.7.6.2), the plane functional groups of enhanced images (C.7.6.16.2), the
    grid of RT Dose (C.8.8.3) and of reconstructed NM (C.8.4.15).

    Parameters
    ----------
    image : Dataset
        Classic or enhanced; its pixels are not touched.

    Raises
    ------
    GeometryError
        When an attribute has a wrong number of values, or a value that is no number, or the functional groups
        are not those of the frames.
    """
    header = read_sorting_header(image) or image
    frames = frame_count(header)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if header.get("PerFrameFunctionalGroupsSequence"):
        return list(_enhanced(image, frames, rows, columns))
    holder = _geometry_holder(header)
    position = _numbers(holder, "ImagePositionPatient", _POSITION_SIZE)
    orientation = _numbers(holder, "ImageOrientationPatient", _ORIENTATION_SIZE)
    spacing = _numbers(header, "PixelSpacing", _PAIR)
    # Of a mosaic ImagePositionPatient is that of the sheet, which no slice on it has.
    if _is_mosaic(header):
        position = orientation = None
    if frames == 1:
        return [Plane(image, 0, rows, columns, position, orientation, spacing, (), header)]
    offsets = _frame_offsets(header, frames) if position and orientation else None
    if offsets is None or position is None or orientation is None:
        return [
            Plane(image, frame, rows, columns, None, None, spacing, (), header) for frame in range(frames)
        ]
    normal = cross(orientation)
    return [
        Plane(
            image,
            frame,
            rows,
            columns,
            tuple(p + n * offset for p, n in zip(position, normal, strict=True)),
            orientation,
            spacing,
            (),
            header,
        )
        for frame, offset in enumerate(offsets)
    ]


def _is_mosaic(header: Any) -> bool:
    """Return whether an image is a sheet of slices as Siemens writes them; its position is none of theirs."""
    return MOSAIC in (header.get("ImageType") or ())


def frame_count(image: Any) -> int:
    """Return NumberOfFrames, 1 where it is absent or empty."""
    try:
        return max(int(image.get("NumberOfFrames") or 1), 1)
    except (TypeError, ValueError) as error:
        raise GeometryError(
            f"NumberOfFrames is {image.get('NumberOfFrames')!r}, which is no number"
        ) from error


def cross(orientation: Vector) -> tuple[float, float, float]:
    """Return the slice normal: row cosines x column cosines."""
    a, b, c, d, e, f = orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def _enhanced(image: Dataset, frames: int, rows: int, columns: int) -> Iterator[Plane]:
    groups_of_frames = image.PerFrameFunctionalGroupsSequence
    if len(groups_of_frames) != frames:
        raise GeometryError(
            f"{_name(image)}: PerFrameFunctionalGroupsSequence has {len(groups_of_frames)} items, but"
            f" NumberOfFrames is {frames}"
        )
    shared = tuple((image.get("SharedFunctionalGroupsSequence") or ())[:1])
    for frame, own in enumerate(groups_of_frames):
        groups = (own, *shared)
        yield Plane(
            image,
            frame,
            rows,
            columns,
            _grouped(groups, "PlanePositionSequence", "ImagePositionPatient", _POSITION_SIZE),
            _grouped(groups, "PlaneOrientationSequence", "ImageOrientationPatient", _ORIENTATION_SIZE),
            _grouped(groups, "PixelMeasuresSequence", "PixelSpacing", _PAIR),
            groups,
        )


def _grouped(groups: Sequence[Dataset], sequence: str, keyword: str, size: int) -> Vector | None:
    for group in groups:
        if items := group.get(sequence):
            return _numbers(items[0], keyword, size)
    return None


def _geometry_holder(image: Any) -> Any:
    """Return where position and orientation are: NM keeps them in the first detector (PS3.3 C.8.4.11)."""
    detectors = image.get("DetectorInformationSequence")
    if detectors and "ImagePositionPatient" not in image:
        return detectors[0]
    return image


def _frame_offsets(image: Any, frames: int) -> list[float] | None:
    """Return how far along the normal each frame of a classic multi-frame image lies, if it says so."""
    grid = image.get("GridFrameOffsetVector")
    if grid is not None and len(grid) == frames:
        offsets = [float(offset) for offset in grid]
        # Offsets that do not start at zero are the patient's z (PS3.3 C.8.8.3.2, for axial planes only).
        return [offset - offsets[0] for offset in offsets]
    between = image.get("SpacingBetweenSlices")
    slices = image.get("SliceVector")
    if between and slices is not None and not isinstance(slices, int) and len(slices) == frames:
        return [float(between) * (int(number) - 1) for number in slices]
    return None


def _numbers(dataset: Any, keyword: str, size: int) -> Vector | None:
    value = dataset.get(keyword)
    if value is None or value == "" or (isinstance(value, Sequence) and not len(value)):
        return None
    if type(value) is tuple:
        return _checked(value, size) or _numbers_of(dataset, keyword, value, size)
    return _numbers_of(dataset, keyword, value, size)


@lru_cache(maxsize=1024)
def _checked(value: Vector, size: int) -> Vector | None:
    """Return a vector if it is one; orientation and spacing are the same in all slices."""
    return value if len(value) == size and all(type(v) is float and math.isfinite(v) for v in value) else None


def _numbers_of(dataset: Any, keyword: str, value: Any, size: int) -> Vector:
    try:
        numbers = tuple(float(part) for part in value)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"{keyword} of {_name(dataset)} is {value!r}, not {size} numbers") from error
    if not all(math.isfinite(number) for number in numbers):
        raise GeometryError(f"{keyword} of {_name(dataset)} is {list(numbers)}, which are not all numbers")
    if len(numbers) != size:
        raise GeometryError(f"{keyword} of {_name(dataset)} has {len(numbers)} values instead of {size}")
    return numbers


def _name(dataset: Any) -> str:
    return str(dataset.get("SOPInstanceUID", "an image"))


__all__ = ["Plane", "cross", "frame_count", "planes_of"]
