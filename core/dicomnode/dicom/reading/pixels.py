"""Reading stored values out of Pixel Data, in whatever transfer syntax (PS3.5 section 8, annex A)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.dicom.reading.planes import frame_count
from dicomnode.dicom.reading.sorting_header import SortingHeader
from dicomnode.dicom.values.tags import PIXEL_KEYWORDS
from dicomnode.errors import DicomnodeError, PixelDataError

_LITTLE: Final = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
_WHOLE_BYTES: Final = (8, 16, 32, 64)
_COLOUR_SAMPLES: Final = 3
MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the pixels of an image are stored (PS3.3 C.7.6.3).

    Parameters
    ----------
    keyword : str
        ``"PixelData"``, ``"FloatPixelData"`` or ``"DoubleFloatPixelData"``.
    transfer_syntax : UID
        How they are encoded.
    frames, rows, columns, samples : int
        The extents.
    allocated, stored : int
        BitsAllocated and BitsStored.
    signed : bool
        PixelRepresentation 1.
    photometric : str
        PhotometricInterpretation.
    """

    keyword: str
    transfer_syntax: UID
    frames: int
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of a stored value of an uncompressed, little endian image."""
        kind = "f" if self.keyword != "PixelData" else "i" if self.signed else "u"
        return np.dtype(f"<{kind}{self.allocated // 8}")

    @property
    def plain(self) -> bool:
        """Whether the values lie in the file one after the other, so that no decoder is needed."""
        return (
            self.transfer_syntax in _LITTLE
            and self.samples == 1
            and self.allocated in _WHOLE_BYTES
            and self.photometric in MONOCHROME
        )

    @property
    def frame_size(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.rows * self.columns * self.samples * self.allocated // 8

    @property
    def colour(self) -> bool:
        """Whether a decoded frame has red, green and blue."""
        return self.samples == _COLOUR_SAMPLES or self.photometric == "PALETTE COLOR"


def pixel_layout(image: Dataset | SortingHeader) -> PixelLayout:
    """Return how the pixels of an image are stored.

    Parameters
    ----------
    image : Dataset or SortingHeader
        The pixels themselves are not read.

    Raises
    ------
    PixelDataError
        When the image has no pixels or its description of them is incomplete: everything that is missing is
        named.
    """
    keyword = next((k for k in PIXEL_KEYWORDS.values() if k in image), None)
    if keyword is None:
        raise PixelDataError(f"{image_name(image)} has no Pixel Data")
    floating = keyword != "PixelData"
    wanted = ["Rows", "Columns", "BitsAllocated"]
    wanted += [] if floating else ["BitsStored", "PixelRepresentation"]
    numbers = {name: image.get(name) for name in [*wanted, "SamplesPerPixel"]}
    missing = [name for name in wanted if numbers[name] in (None, "")]
    if missing and missing != ["PixelRepresentation"]:
        raise PixelDataError(f"{image_name(image)} has Pixel Data but no {', '.join(missing)}")
    try:
        found = {name: int(value or 0) for name, value in numbers.items()}
    except (TypeError, ValueError) as error:
        raise PixelDataError(f"{image_name(image)}: {numbers} are not all numbers") from error
    layout = _same_layout(
        keyword,
        transfer_syntax_of(image),
        frame_count(image),
        found["Rows"],
        found["Columns"],
        found["SamplesPerPixel"] or 1,
        found["BitsAllocated"],
        found.get("BitsStored", found["BitsAllocated"]),
        bool(found.get("PixelRepresentation")),
        str(image.get("PhotometricInterpretation") or "MONOCHROME2"),
    )
    if not layout.rows or not layout.columns or not 0 < layout.stored <= layout.allocated:
        raise PixelDataError(
            f"{image_name(image)}: {layout.rows} rows x {layout.columns} columns of {layout.stored} bits in"
            f" {layout.allocated} are no image"
        )
    return layout


@lru_cache(maxsize=256)
def _same_layout(*values: Any) -> PixelLayout:
    """Return a layout; the slices of a series share one, and what was worked out of it."""
    return PixelLayout(*values)


def transfer_syntax_of(image: Dataset | SortingHeader) -> UID:
    """Return the transfer syntax that the pixels are in; native little endian for datasets made in memory."""
    if isinstance(image, SortingHeader):
        return image.transfer_syntax
    meta = getattr(image, "file_meta", None)
    named = None if meta is None else meta.get("TransferSyntaxUID")
    if named:
        return UID(str(named))
    _, little = getattr(image, "original_encoding", (None, None))
    return ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian


def native_frames(image: Dataset, layout: PixelLayout) -> NDArray[Any]:
    """Return the stored values of all frames of an image that is not compressed.

    Parameters
    ----------
    image : Dataset
        An image with pixels.
    layout : PixelLayout
        Its layout.

    Returns
    -------
    ndarray, shape (frames, rows, columns) or (frames, rows, columns, 3)
        Native byte order; unused bits are cleared or the sign extended. Colour is RGB: YBR is converted and
        palettes are looked up. The array may be a read-only view of the dataset's bytes.

    Raises
    ------
    PixelDataError
        When there are too few bytes, or the pixels cannot be read.
    """
    if layout.plain:
        return plain_frames(image[layout.keyword].value, layout, image_name(image))
    return apply_palette(image, layout, _native(image, layout))


def apply_palette(image: Dataset, layout: PixelLayout, frames: NDArray[Any]) -> NDArray[Any]:
    """Look up the palette of decoded values, if they are indices into one (PS3.3 C.7.6.3.1.5).

    Raises
    ------
    PixelDataError
        When the palette is not there or broken.
    """
    return _palette(image, frames) if layout.photometric == "PALETTE COLOR" else frames


def plain_frames(buffer: Any, layout: PixelLayout, name: str) -> NDArray[Any]:
    """Return uncompressed values as an array over the bytes themselves.

    Parameters
    ----------
    buffer : bytes-like
        The value of Pixel Data.
    layout : PixelLayout
        A layout that is ``plain``.
    name : str
        What messages call the image.

    Raises
    ------
    PixelDataError
        When the buffer is too short.
    """
    count = layout.frames * layout.rows * layout.columns
    require_bytes(0 if buffer is None else memoryview(buffer).nbytes, layout, name)
    values = np.frombuffer(buffer, layout.dtype, count).reshape(layout.frames, layout.rows, layout.columns)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return used_bits(values, layout)


def require_bytes(available: int, layout: PixelLayout, name: str) -> None:
    """Refuse uncompressed pixels that are too few.

    Raises
    ------
    PixelDataError
        With what there is and what it should be.
    """
    if available < layout.frames * layout.frame_size:
        raise PixelDataError(
            f"{name}: Pixel Data has {available} bytes, but {layout.frames} frames of {layout.rows} x"
            f" {layout.columns} pixels of {layout.allocated} bits need {layout.frames * layout.frame_size}"
        )


def used_bits(values: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Return the values without what the unused bits above BitsStored hold (PS3.5 section 8.1.1)."""
    unused = layout.allocated - layout.stored
    if not unused or layout.keyword != "PixelData":
        return values
    if layout.signed:
        extended: NDArray[Any] = np.left_shift(values, unused)
        np.right_shift(extended, unused, out=extended)
        return extended
    masked: NDArray[Any] = np.bitwise_and(values, values.dtype.type((1 << layout.stored) - 1))
    return masked


def _native(image: Dataset, layout: PixelLayout) -> NDArray[Any]:
    """Have pydicom unpack native pixels that are not plain: big endian, colour, single bits."""
    options: dict[str, Any] = {} if "PixelRepresentation" in image else {"pixel_representation": 0}
    try:
        frames = get_decoder(layout.transfer_syntax).as_array(image, **options)[0]
    except DicomnodeError:
        raise
    except Exception as error:
        raise PixelDataError(
            f"{image_name(image)}: its {layout.photometric} pixels in {layout.transfer_syntax.name} cannot be"
            f" read: {' '.join(str(error).split())}"
        ) from error
    return frames[np.newaxis] if layout.frames == 1 else frames


def _palette(image: Dataset, frames: NDArray[Any]) -> NDArray[Any]:
    try:
        looked_up: NDArray[Any] = apply_color_lut(frames, image)[..., :_COLOUR_SAMPLES]
    except Exception as error:
        raise PixelDataError(f"{image_name(image)}: its palette cannot be used: {error}") from error
    return looked_up


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def image_name(image: Any) -> str:
    """Return what messages call an image: its UID, without anything about the patient."""
    uid = image.get("SOPInstanceUID")
    return f"image {uid}" if uid else "an image without SOPInstanceUID"


def same_photometry(layouts: Sequence[PixelLayout]) -> None:
    """Refuse images of which some are colour, or whose grey runs the other way.

    Raises
    ------
    PixelDataError
        Which photometric interpretations there are.
    """
    kinds = {layout.photometric if not layout.colour else "RGB" for layout in layouts}
    if len(kinds) > 1:
        raise PixelDataError(
            "images with different PhotometricInterpretation do not go into one array:"
            f" {', '.join(sorted(kinds))}"
        )


__all__ = ["PixelLayout", "native_frames", "pixel_layout", "plain_frames", "same_photometry"]
