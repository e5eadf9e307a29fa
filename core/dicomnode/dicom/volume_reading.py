"""Reading the pixels of sorted planes into one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydicom.dataset import Dataset

from dicomnode.dicom.modality import Linear, Transform, transform_of
from dicomnode.dicom.pixels import (
    PixelLayout,
    cores,
    describe,
    pixel_layout,
    same_photometry,
    stored_frames,
)
from dicomnode.dicom.planes import Plane
from dicomnode.errors import PixelDataError

_Job = tuple[Dataset, PixelLayout, list[tuple[int, Plane]]]


def read_array(
    planes: Sequence[Plane],
    *,
    dtype: DTypeLike | None = None,
    rescale: bool = True,
    workers: int | None = None,
) -> tuple[NDArray[Any], PixelLayout, str | None]:
    """Read the pixels of planes into one array.

    Parameters
    ----------
    planes : sequence of Plane
        In the order of the array; all of one size.
    dtype : dtype, optional
        Of the result. By default float32, or float64 where float32 would lose what the stored values tell
        apart; colour, and stored values, keep the type they are stored in.
    rescale : bool
        ``False`` for the stored values.
    workers : int, optional
        Threads that decode; as many as there are cores by default.

    Returns
    -------
    array : ndarray, shape (planes, rows, columns) or (planes, rows, columns, 3)
    layout : PixelLayout
        Of the first plane.
    units : str or None

    Raises
    ------
    PixelDataError
        When pixels cannot be read, or their units or photometric interpretations differ.
    """
    jobs = _jobs(planes)
    layouts = [layout for _, layout, _ in jobs]
    same_photometry(layouts)
    first = layouts[0]
    plain = first.colour or not rescale
    transforms: list[Transform] = (
        [Linear()] * len(planes) if plain else [transform_of(plane) for plane in planes]
    )
    units = None if plain else _units(transforms)
    if dtype is None:
        dtype = _stored_dtype(layouts) if plain else _float_dtype(transforms, jobs)
    shape = (len(planes), first.rows, first.columns, *((3,) if first.colour else ()))
    array = np.empty(shape, dtype)
    _read(jobs, transforms, array, workers or cores())
    return array, first, units


def _jobs(planes: Sequence[Plane]) -> list[_Job]:
    """Return what has to be read: each image once, with the places of its frames in the array."""
    by_image: dict[int, _Job] = {}
    for place, plane in enumerate(planes):
        key = id(plane.image)
        if key not in by_image:
            by_image[key] = (plane.image, pixel_layout(plane.image), [])
        by_image[key][2].append((place, plane))
    return list(by_image.values())


def _read(jobs: list[_Job], transforms: list[Transform], array: NDArray[Any], workers: int) -> None:
    """Read image by image; several images at once where there is something to decode."""

    def one(job: _Job, inner: int = 1) -> None:
        image, layout, wanted = job
        touched = _holds_pixels(image)
        frames = stored_frames(image, layout, workers=inner)
        for place, plane in wanted:
            if plane.frame >= len(frames):
                raise PixelDataError(f"{describe(image)}: frame {plane.frame + 1} is missing from Pixel Data")
            transforms[place].into(frames[plane.frame], array[place])
        if not touched:
            image.release_pixels()

    compressed = any(not layout.plain for _, layout, _ in jobs)
    if len(jobs) == 1 or workers == 1 or not compressed:
        for job in jobs:
            one(job, workers)
        return
    with ThreadPoolExecutor(min(workers, len(jobs))) as pool:
        list(pool.map(one, jobs))


def _holds_pixels(image: Dataset) -> bool:
    """Return whether the pixels are to stay in memory: always, unless the image reads them from its file."""
    return not hasattr(image, "release_pixels")


def _units(transforms: Iterable[Transform]) -> str | None:
    found = {transform.units for transform in transforms}
    if len(found) > 1:
        names = ", ".join(sorted(str(unit) for unit in found))
        raise PixelDataError(f"images in different units do not go into one array: {names}")
    return next(iter(found))


def _stored_dtype(layouts: Sequence[PixelLayout]) -> np.dtype[Any]:
    kinds = [
        np.dtype(np.uint8)
        if layout.allocated == 1
        else np.dtype(np.uint16 if layout.photometric == "PALETTE COLOR" else layout.dtype)
        for layout in layouts
    ]
    return np.result_type(*{kind.newbyteorder("=") for kind in kinds})


def _float_dtype(transforms: Sequence[Transform], jobs: Sequence[_Job]) -> np.dtype[Any]:
    layouts = {place: layout for _, layout, wanted in jobs for place, _ in wanted}
    double = any(transform.needs_double(layouts[place]) for place, transform in enumerate(transforms))
    return np.dtype(np.float64 if double else np.float32)


__all__ = ["read_array"]
