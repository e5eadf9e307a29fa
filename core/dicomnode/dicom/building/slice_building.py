"""Building the single-frame instances of a series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.built_series import BuiltSeries, InstanceElements
from dicomnode.dicom.building.instance_elements import (
    common_elements,
    identify_instance,
    produced_elements,
    put,
)
from dicomnode.dicom.building.pixel_encoding import (
    pixel_element,
    rescale_elements,
)
from dicomnode.dicom.building.result_geometry import (
    slice_plane,
)
from dicomnode.dicom.elements.data_elements import copy_element
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.errors import BlueprintError

_SOP_INSTANCE_UID = Tag("SOPInstanceUID")


def build_slices(context: BuildContext) -> BuiltSeries:
    """Build an instance for each slice.

    Parameters
    ----------
    context : BuildContext
        What it is built from.

    Raises
    ------
    MissingTagsError
        When the blueprint's elements lack something for an instance.
    BlueprintError
        When two instances would have the same SOP Instance UID.
    """
    common = common_elements(context)
    total = len(context.stored.pixels)
    slices = context.volume.slices
    own = [_slice_elements(context, common, index, total, slices[index]) for index in range(total)]
    refuse_same_uids(own, common)
    keyword, VR = pixel_element(context.stored)  # noqa: N806 - DICOM's own spelling
    return BuiltSeries(common, own, context.stored.pixels, keyword, VR)


def _slice_elements(
    context: BuildContext, common: Dataset, index: int, total: int, image: Any
) -> InstanceElements:
    """Return what one instance has of its own."""
    source = context.geometry.source(index)
    environment = InstanceEnvironment(
        index=index,
        instance_number=index + 1,
        source=source,
        image=image,
        pixels=context.stored.pixels[index],
        header=context.header,
        factory=context.factory,
        total=total,
    )
    own = produced_elements(context, environment, common)
    identify_instance(context, own, index)
    if len(context.stored.rescales) > 1:
        own.update(rescale_elements(context.stored.rescale(index)))
    time, number = divmod(index, context.volume.grid[0])
    if context.geometry.affine is not None:
        for keyword, value in slice_plane(context.geometry.affine, number).items():
            if keyword in context.written_plane_keywords:
                put(own, keyword, "DS", value)
    elif source is not None:
        own.update({tag: copy_element(source[tag]) for tag in context.copied_plane_tags if tag in source})
    if context.numbers_time_points:  # PS3.3 C.8.13.5.1
        put(own, "TemporalPositionIdentifier", "IS", time + 1)
        put(own, "NumberOfTemporalPositions", "IS", context.volume.times)
    return own


def refuse_same_uids(own: Iterable[InstanceElements], common: Dataset) -> None:
    """Refuse instances that would have the same SOP Instance UID.

    Raises
    ------
    BlueprintError
        When an element of the blueprint gives two instances the same one.
    """
    shared = common.get("SOPInstanceUID")
    given = (part.get(_SOP_INSTANCE_UID) for part in own)
    uids = [str(held.value if isinstance(held, DataElement) else shared) for held in given]
    if len(set(uids)) < len(uids):
        raise BlueprintError(
            f"the blueprint gives {len(uids) - len(set(uids))} of {len(uids)} instances a SOPInstanceUID that"
            " another one has; leave SOPInstanceUID out of the blueprint, new ones are made"
        )


__all__ = ["build_slices", "refuse_same_uids"]
