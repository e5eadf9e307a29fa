"""The factory for numpy arrays: a header and an array become a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from numpy.typing import NDArray
from pydicom.dataelem import DataElement

from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.built_series import BuiltSeries
from dicomnode.dicom.building.factory import DicomFactory
from dicomnode.dicom.building.header import SeriesHeader
from dicomnode.dicom.building.pixel_encoding import EncodingOptions, RescaleOption, Window, encode_pixels
from dicomnode.dicom.building.pixel_rules import Frames, PixelRules, pixel_rules
from dicomnode.dicom.building.result_geometry import Matching, result_geometry
from dicomnode.dicom.building.slice_building import build_slices
from dicomnode.dicom.building.value_range import as_numbers
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import CallElement, StaticElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.tags import TagLike
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.errors import BlueprintError, GeometryError, PixelDataError

_COLOURS: Final = 3


class NumpyFactory(DicomFactory):
    """Builds series from numpy arrays.

    Examples
    --------
    >>> factory = NumpyFactory()
    >>> header = factory.make_header(blueprints.ct_blueprint, images)  # doctest: +SKIP
    >>> series = factory.build_series(header, smoothed)  # doctest: +SKIP
    """

    def build_series(
        self,
        header: SeriesHeader,
        data: Any,
        *,
        rescale: RescaleOption = "auto",
        per_slice: bool = False,
        bits: int | None = None,
        bits_stored: int | None = None,
        signed: bool | None = None,
        window: Window = "auto",
        nonfinite: float | None = None,
        rgb: bool | None = None,
        source_matching: Matching = "geometry",
        key: str | None = None,
    ) -> BuiltSeries:
        """Build a series from a header and an array.

        Whole numbers that fit the stored bits are stored as they are. Other values are quantised: rounded to
        the nearest step of one RescaleSlope for the whole volume, so that a voxel read back is off by at most
        half a RescaleSlope. The slope is the range of the values by the number of stored steps, rounded up
        to what a DS of 16 characters can say, and it is this text that is quantised with. Zero stays exactly
        zero where it lies within the range, for which the step may be up to twice as wide.

        Parameters
        ----------
        header : SeriesHeader
            From :meth:`make_header`; its blueprint names the SOP class.
        data : array_like or Volume
            Physical values of shape (rows, columns), (slices, rows, columns) or (times, slices, rows,
            columns), with a last axis of 3 for colour. Booleans, integers and floats of any size, byte order
            and memory layout. An array lies where the header's sources lie, slice by slice in geometric
            order, and must have their size. A :class:`Volume` with an affine says itself where it lies.
        rescale : "auto", (slope, intercept) or None
            Chosen; given; or none: values are stored as they are, which must be whole and fit.
        per_slice : bool
            Whether each slice has a rescale of its own, computed over the slice.
        bits : int, optional
            BitsAllocated: 8, 16 or 32, as far as the SOP class allows. By default 16; 8 for booleans and
            uint8 and 32 for RT Dose, where the SOP class allows it.
        bits_stored : int, optional
            BitsStored; all allocated bits by default.
        signed : bool, optional
            PixelRepresentation. By default signed only if there are negative values.
        window : "auto", (centre, width) or None
            WindowCenter and WindowWidth, in physical units. By default the range of the values, unless the
            blueprint has a window.
        nonfinite : float, optional
            What to write instead of NaN and infinities; without it they are an error.
        rgb : bool, optional
            Whether the last axis holds red, green and blue, stored as 0 to 255. By default only if ``data``
            is a colour :class:`Volume`, or the blueprint or its SOP class says so.
        source_matching : {"geometry", "index", None}
            What a slice's source is, for elements that copy slice by slice: the source at the same place, the
            one with the same index in the header's order, or none.
        key : str, optional
            The name of the series, where one header makes several: UIDs derive from it. Without it series are
            counted.

        Returns
        -------
        BuiltSeries
            A sequence of complete datasets with file meta information (Explicit VR Little Endian): one for
            each slice, time point after time point, or a single multi-frame one if the SOP class is such.

        Raises
        ------
        PixelDataError
            When the values cannot be stored: NaN, complex, empty, out of range.
        GeometryError
            When the array does not fit the sources.
        MissingTagsError
            When elements that copy slice by slice lack something.
        BlueprintError
            When the header has no SOP class, or its elements give instances the same SOP Instance UID.
        """
        sop_class = header.shared.get("SOPClassUID")
        if not sop_class:
            raise BlueprintError("the header has no SOPClassUID: name one in the blueprint")
        rules = pixel_rules(sop_class)
        volume = _as_volume(data, _is_colour(rgb, header, rules))
        options = EncodingOptions(rescale, per_slice, bits, bits_stored, signed, window, nonfinite)
        context = BuildContext(
            header=header,
            factory=self,
            volume=volume,
            stored=encode_pixels(volume.slices, options, rules, colour=volume.colour),
            geometry=result_geometry(volume, header, source_matching),
            uids=(header.uids or UIDSource.random()).series(key),
            rules=rules,
            keep_window="WindowCenter" in header.shared and window == "auto",
        )
        if rules.frames is Frames.SINGLE:
            return build_slices(context)
        from dicomnode.dicom.building.multiframe import build_frames

        return build_frames(context)


class NumpyCaller(CallElement):
    """A value that is worked out from the pixels of each instance.

    As :class:`CallElement`, but what is called is sure to be given an array: ``environment.image`` in
    physical units, ``environment.pixels`` as stored.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Called with the :class:`InstanceEnvironment` of each instance.

    Examples
    --------
    >>> largest = NumpyCaller("LargestImagePixelValue", lambda slice: int(slice.pixels.max()), VR="US")
    >>> largest.keyword
    'LargestImagePixelValue'
    """

    def __init__(
        self,
        tag: TagLike,
        function: Callable[[InstanceEnvironment], Any],
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, function, VR)

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Call the function for one instance.

        Raises
        ------
        BlueprintError
            When the instance has no array, because it is not built by a ``NumpyFactory``.
        """
        if environment.image is None or environment.pixels is None:
            raise BlueprintError(
                f"{self!r} needs the pixels of each instance, and {type(environment.factory).__name__} built"
                " this one without any"
            )
        return super().produce(environment)


def _is_colour(rgb: bool | None, header: SeriesHeader, rules: PixelRules) -> bool:
    if rgb is not None:
        return rgb
    stated = header.blueprint.get("PhotometricInterpretation")
    return rules.colour is True or (isinstance(stated, StaticElement) and stated.value == "RGB")


def _as_volume(data: Any, colour: bool) -> Volume:
    """Return data as a volume of numbers."""
    if isinstance(data, Volume):
        return Volume(
            as_numbers(data.array),
            data.affine,
            colour=data.colour,
            units=data.units,
            FrameOfReferenceUID=data.FrameOfReferenceUID,
        )
    array: NDArray[Any] = as_numbers(data)
    axes = array.ndim - colour
    if axes not in (2, 3, 4):
        raise PixelDataError(
            f"an array of shape {array.shape} is no series: its axes are (rows, columns), (slices, rows,"
            " columns) or (times, slices, rows, columns)"
            + (", and a last axis of 3 for colour" if colour else "")
        )
    if colour and array.shape[-1] != _COLOURS:
        raise PixelDataError(f"a colour array has a last axis of 3, not {array.shape[-1]}: {array.shape}")
    try:
        return Volume(array, colour=colour)
    except GeometryError as error:
        raise PixelDataError(str(error)) from error


__all__ = ["NumpyCaller", "NumpyFactory"]
