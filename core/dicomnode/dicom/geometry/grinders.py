"""Grinders: what turns the images of an input into what ``process`` wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from numpy.typing import DTypeLike
from pydicom.dataset import Dataset

from dicomnode.dicom.geometry.slice_sorting import STEP_TOLERANCE, sort_by_geometry
from dicomnode.dicom.geometry.slice_stack import Fault
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.reading.volume_reading import read_array
from dicomnode.dicom.tree.dicom_tree import DicomTree
from dicomnode.dicom.values.tags import TagLike, find_tag, parse_tag


@runtime_checkable
class Grinder(Protocol):
    """Anything that is called with images and returns what ``process`` is to receive.

    A function will do. The classes here are immutable and can be pickled.
    """

    def __call__(self, images: Iterable[Dataset]) -> Any:
        """Turn images into something.

        Parameters
        ----------
        images : iterable of Dataset
            The images of one input, in order of arrival.
        """


class _Configured:
    """Compares and shows itself by its settings."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *(repr(value) for value in vars(self).values())))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class NumpyGrinder(_Configured):
    """Makes a :class:`Volume` of the images of a series.

    Sorted along the slice normal (not by InstanceNumber), time points apart, in physical units: rescale,
    Modality LUT, dose scaling and the value transformation of enhanced images are applied slice by slice.
    Compressed pixels are decoded in several processes where that takes seconds. YBR becomes RGB, palettes
    are looked up.

    Parameters
    ----------
    dtype : dtype, optional
        Of the array. By default float32; float64 where float32 would lose what the stored values tell apart
        (stored values of 32 bits, or a large intercept with a small slope); colour as it is stored.
        An integer dtype raises unless all values are whole and fit.
    rescale : bool
        ``False`` for the stored values in the type they are stored in.
    allow_tilt : bool
        Whether a stack with gantry tilt may become a volume; its affine is then a shear.
    require_geometry : bool
        ``False`` to stack images that do not say where they lie, by InstanceNumber; the volume has no
        affine. One image, single or multi-frame, is always taken.
    tolerance : float
        How far a slice may lie from its even place, as a part of the slice distance.
    workers : int, optional
        Processes that decode; as many as there are cores by default, 1 for none but this one.

    Raises
    ------
    GeometryError
        When called with images that form no volume: none at all, gaps, duplicates, mixed orientations,
        sizes or frames of reference, a gantry tilt. Positions are named.
    PixelDataError
        When pixels are missing or cannot be decoded, or units or colour differ between the images.

    Examples
    --------
    >>> NumpyGrinder(allow_tilt=True)  # doctest: +ELLIPSIS
    NumpyGrinder(dtype=None, rescale=True, allow_tilt=True, ...)
    """

    def __init__(
        self,
        *,
        dtype: DTypeLike | None = None,
        rescale: bool = True,
        allow_tilt: bool = False,
        require_geometry: bool = True,
        tolerance: float = STEP_TOLERANCE,
        workers: int | None = None,
    ) -> None:
        self.dtype = dtype
        self.rescale = rescale
        self.allow_tilt = allow_tilt
        self.require_geometry = require_geometry
        self.tolerance = tolerance
        self.workers = workers

    def __call__(self, images: Iterable[Dataset]) -> Volume:
        """Return the volume of some images."""
        stack = sort_by_geometry(images, tolerance=self.tolerance)
        allowed = [Fault.TILT] if self.allow_tilt else []
        if not self.require_geometry:
            allowed.append(Fault.UNLOCATED)
        stack.require_volume(allow=allowed)
        array, layout, units = read_array(
            stack.planes, dtype=self.dtype, rescale=self.rescale, workers=self.workers
        )
        if stack.times > 1:
            array = array.reshape(stack.times, stack.slices, *array.shape[1:])
        frame_of_reference = stack.planes[0].header.get("FrameOfReferenceUID")
        return Volume(
            array,
            stack.affine,
            colour=layout.colour,
            units=units,
            FrameOfReferenceUID=str(frame_of_reference) if frame_of_reference else None,
            sources=stack.images,
            time_points=stack.time_points,
            photometric="RGB" if layout.colour else layout.photometric,
        )


class ListGrinder(_Configured):
    """Gives the datasets as a list, in geometric order as far as they have one."""

    def __call__(self, images: Iterable[Dataset]) -> list[Dataset]:
        """Return the images."""
        held = list(images)
        return list(sort_by_geometry(held).images) if held else []


class DicomTreeGrinder(_Configured):
    """Gives the images as a :class:`DicomTree`: patients, studies, series."""

    def __call__(self, images: Iterable[Dataset]) -> DicomTree:
        """Return a tree of the images."""
        from dicomnode.dicom.tree.dicom_tree import DicomTree

        tree = DicomTree()
        tree.add_images(images)
        return tree


class TagGrinder(_Configured):
    """Gives the values of some attributes, image after image in geometric order.

    Parameters
    ----------
    *tags : str, int, (int, int) or PrivateTag
        One attribute gives a list of its values; several give a list of tuples.
    """

    def __init__(self, *tags: TagLike) -> None:
        self.tags = tags
        self._parsed = tuple(parse_tag(tag) for tag in tags)

    def __call__(self, images: Iterable[Dataset]) -> list[Any]:
        """Return the values; ``None`` where an image lacks the attribute."""
        rows = [tuple(_value(image, *key) for key in self._parsed) for image in ListGrinder()(images)]
        return [row[0] for row in rows] if len(self._parsed) == 1 else rows


class ManyGrinder(_Configured):
    """Gives what several grinders make of the same images.

    Parameters
    ----------
    *grinders : Grinder
        The result is a tuple with one entry each.
    **named : Grinder
        The result is a dict with one entry each; not together with unnamed ones.

    Raises
    ------
    TypeError
        When named and unnamed grinders are mixed, or something is not callable.
    """

    def __init__(self, *grinders: Grinder, **named: Grinder) -> None:
        if grinders and named:
            raise TypeError("ManyGrinder takes grinders by position or by name, not both")
        for grinder in (*grinders, *named.values()):
            if not callable(grinder):
                raise TypeError(f"ManyGrinder was given {grinder!r}, which cannot be called")
        self.grinders = grinders
        self.named = named

    def __call__(self, images: Iterable[Dataset]) -> Any:
        """Return the results."""
        held = list(images)
        if self.named:
            return {name: grinder(held) for name, grinder in self.named.items()}
        return tuple(grinder(held) for grinder in self.grinders)


def _value(image: Dataset, tag: Any, creator: str | None) -> Any:
    found = find_tag(image, tag, creator)
    return None if found is None else image[found].value


__all__ = [
    "DicomTreeGrinder",
    "Grinder",
    "ListGrinder",
    "ManyGrinder",
    "NumpyGrinder",
    "TagGrinder",
]
