"""Reading the pixels of sorted planes into one array."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.decoding import EncodedFrame, decode_all, encoded_frames
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.modality import Linear, Transform, transform_of
from dicomnode.dicom.reading.pixels import (
    PixelLayout,
    apply_palette,
    image_name,
    native_frames,
    pixel_layout,
    require_bytes,
    same_photometry,
    usable_cores,
    used_bits,
)
from dicomnode.dicom.reading.planes import Plane
from dicomnode.dicom.reading.sorting_header import SortingHeader
from dicomnode.errors import PixelDataError


@dataclass(frozen=True, slots=True)
class _FrameSource:
    """An image, and which of its frames go where in the array."""

    image: Dataset
    header: Dataset | SortingHeader
    layout: PixelLayout
    wanted: list[tuple[int, Plane]]

    @property
    def plain_header(self) -> SortingHeader | None:
        """The header of a file in which the values lie one after the other, ``None`` if they do not."""
        header = self.header
        if not isinstance(header, SortingHeader) or not self.layout.plain or header.pixels is None:
            return None
        return header if header.pixels.length is not None else None


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
        Processes that decode compressed pixels; as many as there are cores by default.

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
    sources = _frame_sources(planes)
    layouts = [source.layout for source in sources]
    same_photometry(layouts)
    first = layouts[0]
    plain = first.colour or not rescale
    transforms: list[Transform] = (
        [Linear()] * len(planes) if plain else [transform_of(plane) for plane in planes]
    )
    units = None if plain else _units(transforms)
    if dtype is None:
        dtype = _stored_dtype(layouts) if plain else _float_dtype(transforms, sources)
    shape = (len(planes), first.rows, first.columns, *((3,) if first.colour else ()))
    array = np.empty(shape, dtype)
    _read(sources, transforms, array, workers or usable_cores())
    return array, first, units


def _frame_sources(planes: Sequence[Plane]) -> list[_FrameSource]:
    """Return what has to be read: each image once, with the places of its frames in the array."""
    by_image: dict[int, _FrameSource] = {}
    for place, plane in enumerate(planes):
        key = id(plane.image)
        if key not in by_image:
            by_image[key] = _FrameSource(plane.image, plane.header, pixel_layout(plane.header), [])
        by_image[key].wanted.append((place, plane))
    return list(by_image.values())


def _read(
    sources: list[_FrameSource], transforms: list[Transform], array: NDArray[Any], workers: int
) -> None:
    """Read image by image; what is compressed at last, perhaps by several processes."""
    compressed = [source for source in sources if source.layout.transfer_syntax.is_encapsulated]
    scratch: dict[np.dtype[Any], NDArray[Any]] = {}
    for source in sources:
        layout = source.layout
        if layout.transfer_syntax.is_encapsulated:
            continue
        if (header := source.plain_header) is not None:
            if layout.dtype not in scratch:
                scratch[layout.dtype] = np.empty((layout.rows, layout.columns), layout.dtype)
            _read_from_file(source, header, scratch[layout.dtype], transforms, array)
            continue
        frames = native_frames(source.image, layout)
        for place, plane in source.wanted:
            transforms[place].into(frames[plane.frame], array[place])
        _release(source.image)
    count = sum(len(source.wanted) for source in compressed)
    decode_all(_frames_to_decode(compressed, transforms, array), count, workers)


def _release(image: Dataset) -> None:
    """Let go of pixels that are on disk."""
    if isinstance(image, LazyDataset):
        image.release_pixels()


def _frames_to_decode(
    sources: list[_FrameSource], transforms: list[Transform], array: NDArray[Any]
) -> Iterator[tuple[EncodedFrame, Callable[[NDArray[Any]], None]]]:
    """Yield the compressed frames, each with what puts its values into the array."""
    for source in sources:
        places = {plane.frame: place for place, plane in source.wanted}
        frames = encoded_frames(source.image, source.layout.transfer_syntax, image_name(source.image))
        for number, frame in enumerate(frames):
            if (place := places.pop(number, None)) is not None:
                yield frame, partial(_transform_into, source, transforms[place], array[place])
        if places:
            raise PixelDataError(
                f"{image_name(source.image)}: frame {min(places) + 1} is missing from Pixel Data"
            )
        _release(source.image)


def _transform_into(
    source: _FrameSource, transform: Transform, out: NDArray[Any], stored: NDArray[Any]
) -> None:
    transform.into(apply_palette(source.image, source.layout, stored), out)


def _read_from_file(
    source: _FrameSource,
    header: SortingHeader,
    stored: NDArray[Any],
    transforms: list[Transform],
    array: NDArray[Any],
) -> None:
    """Read frames straight from the file, by way of ``stored``; no dataset is made."""
    layout = source.layout
    require_bytes(header.bytes_available, layout, image_name(header))
    with source.image.opened() as file:
        for place, plane in source.wanted:
            header.read_into(file, plane.frame * layout.frame_size, stored)
            transforms[place].into(used_bits(stored, layout), array[place])


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


def _float_dtype(transforms: Sequence[Transform], sources: Sequence[_FrameSource]) -> np.dtype[Any]:
    layouts = {place: source.layout for source in sources for place, _ in source.wanted}
    double = any(transform.needs_double(layouts[place]) for place, transform in enumerate(transforms))
    return np.dtype(np.float64 if double else np.float32)


__all__ = ["read_array"]
