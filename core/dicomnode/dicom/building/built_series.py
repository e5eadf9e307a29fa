"""A built series: datasets made when they are asked for, bytes made without them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.dicom.building.encoding import (
    add_file_meta,
    encode_dataset,
    encode_element,
    encode_elements,
    encode_file_meta,
    pixel_header,
)
from dicomnode.dicom.elements.instance_environment import PreparedElement
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import PixelDataError

_LONGEST = 0xFFFFFFFE
_SOP_CLASS_UID = Tag("SOPClassUID")
_SOP_INSTANCE_UID = Tag("SOPInstanceUID")
_CHARSET = Tag("SpecificCharacterSet")

Buffer = bytes | memoryview
InstanceElements = dict[BaseTag, DataElement | PreparedElement]
"""What one instance has of its own, by tag."""


@dataclass(frozen=True, slots=True)
class EncodedInstance:
    """One instance as a Part 10 file (PS3.10 section 7).

    Parameters
    ----------
    SOPClassUID, SOPInstanceUID, TransferSyntaxUID : str
        What it is.
    parts : tuple of bytes or memoryview
        The file, in pieces that lie where they lie: ``file.writelines(instance.parts)``.
    """

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    parts: tuple[Buffer, ...]

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return sum(memoryview(part).nbytes for part in self.parts)


class BuiltSeries(Sequence[Dataset]):
    """The instances of a series, as :meth:`NumpyFactory.build_series` returns them.

    A sequence of complete datasets. Each is made when it is first asked for and then kept, so that it can be
    changed like any other; :meth:`encode` writes the ones that nobody asked for without making them, with
    what they have in common encoded once.

    Parameters
    ----------
    common : Dataset
        What all instances share.
    own : sequence of dict of BaseTag to DataElement or PreparedElement
        What each instance has of its own; wins over ``common``.
    pixels : ndarray, shape (instances, ...)
        Little endian, C-contiguous: the stored values of each instance.
    keyword, VR : str
        The element that the pixels go into.
    """

    def __init__(
        self,
        common: Dataset,
        own: Sequence[InstanceElements],
        pixels: NDArray[Any],
        keyword: str = "PixelData",
        VR: str = "OW",  # noqa: N803 - DICOM's own spelling
    ) -> None:
        if len(own) and pixels[0].nbytes > _LONGEST:
            raise PixelDataError(
                f"an instance of {pixels[0].nbytes} bytes of pixels is longer than DICOM can say (4 GiB);"
                " build several series, or one instance for each slice"
            )
        self._common = common
        self._own = list(own)
        self._pixels = pixels
        self._element = (Tag(keyword), VR)
        self._made: dict[int, Dataset] = {}
        self._segments: dict[tuple[object, tuple[int, ...]], list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._own)

    @overload
    def __getitem__(self, index: int) -> Dataset: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dataset]: ...
    def __getitem__(self, index: int | slice) -> Dataset | list[Dataset]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]

    def encode(self, index: int) -> EncodedInstance:
        """Return one instance as a file.

        Parameters
        ----------
        index : int
            Zero-based place in the series.

        Returns
        -------
        EncodedInstance
            Byte for byte what ``pydicom.dcmwrite(file, series[index], enforce_file_format=True)`` writes. Its
            pixels are a view of the stored array.
        """
        number = range(len(self))[index]
        if number in self._made:
            return _encoded(self._made[number])
        own = self._own[number]
        sop_class, instance = (str(self._value(own, tag)) for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID))
        head, tail = self._around_pixels(own)
        pixels = np.ascontiguousarray(self._pixels[number]).reshape(-1).view(np.uint8).data
        # The pixels are not copied: the parts are written one after the other.
        prefix = encode_file_meta(sop_class, instance) + head + pixel_header(*self._element, pixels.nbytes)
        padding = b"\0" * (pixels.nbytes % 2)
        return EncodedInstance(
            sop_class, instance, str(ExplicitVRLittleEndian), (prefix, pixels, padding + tail)
        )

    def _value(self, own: InstanceElements, tag: BaseTag) -> Any:
        """Return a value of an instance, ``None`` where it has none."""
        held = own.get(tag)
        if isinstance(held, DataElement):
            return held.value
        return self._common[tag].value if tag in self._common else None

    def _around_pixels(self, own: InstanceElements) -> tuple[bytes, bytes]:
        """Return the encoded elements before and after the pixels."""
        charset = self._value(own, _CHARSET)
        encoded = {
            int(tag): held.encoded
            if isinstance(held, PreparedElement)
            else encode_element(held, charset, self._common)
            for tag, held in own.items()
        }
        places = tuple(sorted({*encoded, int(self._element[0])}))
        encoded[int(self._element[0])] = b""
        key = (str(charset), places)
        if key not in self._segments:
            self._segments[key] = self._segment(charset, places)
        pieces: list[list[bytes]] = [[], []]
        after = 0
        for place, segment in zip(places, self._segments[key], strict=False):
            pieces[after] += (segment, encoded[place])
            after = after or int(place == int(self._element[0]))
        pieces[1].append(self._segments[key][-1])
        return b"".join(pieces[0]), b"".join(pieces[1])

    def _segment(self, charset: Any, places: tuple[int, ...]) -> list[bytes]:
        """Encode what is common, in pieces between the places of an instance's own elements."""
        # Instances have the same tags of their own, so that this is done once for a series: the bytes between
        # these tags are the same for all.
        segments: list[list[bytes]] = [[] for _ in range(len(places) + 1)]
        for tag, element in encode_elements(self._common, charset):
            if tag not in places:
                segments[sum(place < tag for place in places)].append(element)
        return [b"".join(segment) for segment in segments]

    def _make(self, number: int) -> Dataset:
        dataset = copy.deepcopy(self._common)
        for tag, held in self._own[number].items():
            element = held.make() if isinstance(held, PreparedElement) else copy.deepcopy(held)
            if element is not None:
                dataset[tag] = element
        tag, VR = self._element  # noqa: N806 - DICOM's own spelling
        value = np.ascontiguousarray(self._pixels[number]).tobytes()
        dataset[tag] = DataElement(tag, VR, value + b"\0" * (len(value) % 2))
        return add_file_meta(dataset)

    def __repr__(self) -> str:
        return f"<BuiltSeries of {len(self)} instances, pixels {' x '.join(map(str, self._pixels.shape))}>"


def encode_series(datasets: Iterable[Dataset]) -> Iterator[EncodedInstance]:
    """Encode the instances of a series, one by one, as Part 10 files.

    Parameters
    ----------
    datasets : iterable of Dataset
        Complete instances with file meta information. Of a :class:`BuiltSeries` nothing is encoded twice.

    Yields
    ------
    EncodedInstance
    """
    if isinstance(datasets, BuiltSeries):
        for index in range(len(datasets)):
            yield datasets.encode(index)
        return
    for dataset in datasets:
        encoded = _encoded(dataset)
        if isinstance(dataset, LazyDataset):
            dataset.release_pixels()  # they are on disk: those of a whole study are never held at once
        yield encoded


def _encoded(dataset: Dataset) -> EncodedInstance:
    return EncodedInstance(
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        str(dataset.file_meta.TransferSyntaxUID),
        (encode_dataset(dataset),),
    )


__all__ = ["BuiltSeries", "EncodedInstance", "encode_series"]
