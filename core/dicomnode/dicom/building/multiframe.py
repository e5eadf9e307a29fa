"""Building multi-frame instances: RT Dose, NM, multi-frame Secondary Capture, and enhanced images."""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import NuclearMedicineImageStorage, RTDoseStorage

from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.built_series import BuiltSeries
from dicomnode.dicom.building.functional_groups import add_functional_groups
from dicomnode.dicom.building.instance_elements import common_elements, identify_instance, produced_elements
from dicomnode.dicom.building.pixel_encoding import pixel_element
from dicomnode.dicom.building.pixel_rules import Frames
from dicomnode.dicom.building.rescale import decimal_string
from dicomnode.dicom.building.result_geometry import slice_plane
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, PreparedElement
from dicomnode.dicom.geometry.slice_sorting import unit_normal
from dicomnode.errors import GeometryError, PixelDataError

_PAGES: Final = "PageNumberVector"


def build_frames(context: BuildContext) -> BuiltSeries:
    """Build one instance that holds all slices as frames, time point after time point.

    Parameters
    ----------
    context : BuildContext
        What it is built from.

    Raises
    ------
    MissingTagsError
        When the blueprint's elements lack something.
    GeometryError
        When the SOP class says where frames lie, and nothing here does.
    PixelDataError
        When the frames are not those that the attributes of the source count.
    """
    sources = context.header.sources
    frames = len(context.stored.pixels)
    common = common_elements(context, frames)
    environment = InstanceEnvironment(
        index=0,
        instance_number=1,
        source=sources[0] if len(sources) == 1 else None,
        image=context.volume.array,
        pixels=context.stored.pixels,
        header=context.header,
        factory=context.factory,
        total=1,
    )
    own = produced_elements(context, environment, common)
    identify_instance(context, own, 0)
    for held in own.values():  # there is one instance: what is its own need not be apart
        element = held.make() if isinstance(held, PreparedElement) else held
        if element is not None:
            common[element.tag] = element
    if context.rules.frames is Frames.ENHANCED:
        add_functional_groups(context, common)
    elif common.SOPClassUID == RTDoseStorage:
        _dose_grid(context, common)
    elif common.SOPClassUID == NuclearMedicineImageStorage:
        _check_vectors(common, frames)
    elif frames > 1:
        _pages(common, frames)
    keyword, VR = pixel_element(context.stored)  # noqa: N806 - DICOM's own spelling
    return BuiltSeries(common, [{}], context.stored.pixels[np.newaxis], keyword, VR)


def _dose_grid(context: BuildContext, common: Dataset) -> None:
    """Write scaling and grid of a dose (PS3.3 C.8.8.3)."""
    if context.volume.times > 1:
        raise PixelDataError("an RT Dose has no time axis: build one for each time point")
    common.DoseGridScaling = context.stored.rescales[0].slope_text
    affine, planes = context.geometry.affine, context.geometry.sources
    first = planes[0]
    if affine is not None:
        heights = [float(k * np.linalg.norm(affine[:3, 0])) for k in range(len(planes))]
        common.ImagePositionPatient = slice_plane(affine, 0)["ImagePositionPatient"]
        normal = np.cross(affine[:3, 2], affine[:3, 1])
        # Offsets count along the normal of the image plane (PS3.3 C.8.8.3.2), whichever way the slices run.
        if float(affine[:3, 0] @ normal) < 0:
            heights = [-height for height in heights]
    elif first is not None and first.position is not None:
        normal = unit_normal(first)
        heights = [float((np.array(p.position) - first.position) @ normal) for p in planes if p is not None]
        common.ImagePositionPatient = first.image.ImagePositionPatient
    else:
        raise GeometryError(
            "an RT Dose lies somewhere, but nothing says where: pass a Volume(array, affine), or sources"
            " that lie where the dose lies"
        )
    if len(heights) > 1:
        common.GridFrameOffsetVector = [decimal_string(round(height, 6)) for height in heights]
        common.FrameIncrementPointer = Tag("GridFrameOffsetVector")


def _check_vectors(common: Dataset, frames: int) -> None:
    """Refuse frame vectors of the source that count other frames (PS3.3 C.8.4.8.1.1)."""
    pointers = common.get("FrameIncrementPointer")
    if pointers is None:
        return
    for tag in pointers if hasattr(pointers, "append") else [pointers]:
        vector = common.get(tag)
        values = [] if vector is None else vector.value
        length = len(values) if hasattr(values, "__len__") and not isinstance(values, str) else 1
        if length != frames:
            raise PixelDataError(
                f"the result has {frames} frames, but {vector.keyword if vector else tag} counts {length}:"
                " give it the frames of its source, or override FrameIncrementPointer and its vectors in the"
                " blueprint"
            )


def _pages(common: Dataset, frames: int) -> None:
    """Say that the frames are pages, unless the blueprint says what they are (PS3.3 C.8.6.3, C.7.6.6)."""
    if "FrameIncrementPointer" not in common:
        common.PageNumberVector = list(range(1, frames + 1))
        common.FrameIncrementPointer = Tag(_PAGES)


__all__ = ["build_frames"]
