"""The elements of built instances: what all of a series share, and what each has of its own."""

from __future__ import annotations

import copy
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import CTImageStorage

from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.built_series import InstanceElements
from dicomnode.dicom.building.pixel_encoding import (
    write_pixel_attributes,
    write_rescale,
    write_window,
)
from dicomnode.dicom.building.pixel_rules import Scaling
from dicomnode.dicom.building.result_geometry import (
    SHARED_PLANE_KEYWORDS,
    shared_plane,
)
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, prepared
from dicomnode.dicom.elements.missing_tags import MissingTags
from dicomnode.dicom.values.charset import UNICODE, charset_holds
from dicomnode.dicom.values.value_checks import trusted_element
from dicomnode.errors import MissingTagsError


def common_elements(context: BuildContext, frames: int | None = None) -> Dataset:
    """Return what all instances share: the header's elements, series, pixels, place.

    Parameters
    ----------
    context : BuildContext
        What it is built from.
    frames : int, optional
        NumberOfFrames, for multi-frame images.
    """
    header, stored = context.header, context.stored
    common = copy.deepcopy(header.shared)
    if "SeriesInstanceUID" not in header.blueprint:
        common.SeriesInstanceUID = context.uids.SeriesInstanceUID
    write_pixel_attributes(common, stored, frames)
    # Copied by the blueprint or the filling strategy they would describe the pixels of the source.
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in common:
            del common[keyword]
    rescaled = _rescaled(context)
    if rescaled and len(stored.rescales) == 1:
        write_rescale(common, stored.rescales[0])
    if rescaled and "RescaleType" not in common and (kind := _rescale_type(context)):
        common.RescaleType = kind
    if rescaled and context.may_write("RescaleType") and _has_modality_lut(context):
        common.RescaleType = "US"  # unspecified; the module wants some type (PS3.3 C.11.1)
    if not context.keep_window and context.rules.scaling is not Scaling.FRAME:
        write_window(common, stored)
    if context.volume.FrameOfReferenceUID and (
        "FrameOfReferenceUID" in common or context.may_write("FrameOfReferenceUID")
    ):
        common.FrameOfReferenceUID = context.volume.FrameOfReferenceUID
    _add_shared_plane(context, common)
    return common


def _rescaled(context: BuildContext) -> bool:
    """Return whether RescaleSlope and RescaleIntercept belong into the dataset itself.

    An identity is left out where the IOD has no Modality LUT (MR), and for colour.
    """
    stored, scaling = context.stored, context.rules.scaling
    if stored.colour or stored.stored is None or scaling in (Scaling.DOSE, Scaling.FRAME, Scaling.REAL_WORLD):
        return False
    known = context.iod is None or "RescaleSlope" in context.iod.attributes
    return known or not all(rescale.identity for rescale in stored.rescales)


def _has_modality_lut(context: BuildContext) -> bool:
    return context.iod is not None and "modality-lut" in context.iod.modules


def _rescale_type(context: BuildContext) -> str | None:
    """Return RescaleType where the IOD asks for it: of CT only if it is not HU (PS3.3 C.8.2.1)."""
    if not context.may_write("RescaleType"):
        return None
    units = (context.volume.units or "")[:64]
    if context.header.shared.SOPClassUID == CTImageStorage:
        return units if units != "HU" else None
    return units or "US"


def _add_shared_plane(context: BuildContext, common: Dataset) -> None:
    """Write orientation and spacing: of the result's own affine, or copied where the blueprint is silent."""
    geometry = context.geometry
    if geometry.affine is not None:
        for keyword, value in shared_plane(geometry.affine).items():
            if context.writes_plane(keyword) and (keyword != "SpacingBetweenSlices" or keyword in common):
                setattr(common, keyword, value)
        return
    first = geometry.source(0) if geometry.sources else None
    if first is None or geometry.sources[0] is None or not geometry.sources[0].located:
        return
    # Not SpacingBetweenSlices: it is no attribute of Image Plane (PS3.3 C.7.6.2), and the blueprints of the
    # IODs that have it copy it.
    for keyword in SHARED_PLANE_KEYWORDS[:-1]:
        if context.may_write(keyword) and keyword in first:
            common[keyword] = copy.deepcopy(first[keyword])


def identify_instance(context: BuildContext, own: InstanceElements, index: int) -> None:
    """Give an instance its UID and number, unless the blueprint does.

    Parameters
    ----------
    context : BuildContext
        What is built.
    own : dict of BaseTag to DataElement
        What the instance has of its own. Is changed.
    index : int
        Its place in the series.
    """
    if context.makes_uids:
        put(own, "SOPInstanceUID", "UI", context.uids.SOPInstanceUID(index))
    if context.numbers_instances:
        put(own, "InstanceNumber", "IS", index + 1)


def put(own: InstanceElements, keyword: str, vr: str, value: Any) -> None:
    """Add an element that the factory itself has made, which needs no check."""
    element = trusted_element(keyword, vr, value)
    own[element.tag] = element


def produced_elements(
    context: BuildContext, environment: InstanceEnvironment, common: Dataset
) -> InstanceElements:
    """Ask the header's producers for one instance.

    Parameters
    ----------
    context : BuildContext
        What is built.
    environment : InstanceEnvironment
        The instance.
    common : Dataset
        What all instances share.

    Returns
    -------
    dict of BaseTag to DataElement
        The elements that were produced_elements, with SpecificCharacterSet if their text needs another one.
    """
    own: InstanceElements = {}
    gathered = MissingTags()
    supplied = context.geometry.supplied
    for producer in context.header.producers:
        if producer.tag in supplied:
            continue
        if (ready := prepared(producer, environment)) is not None:
            own[ready.tag] = ready
            continue
        try:
            element = producer.produce(environment)
        except MissingTagsError as error:
            gathered.errors.append(error)
            continue
        if element is not None:
            if producer.creator is not None:
                _move_to_block(own, common, element, producer.creator)
            own[element.tag] = element
    gathered.report(f"instance {environment.instance_number} of {environment.total}")
    texts = [element for element in own.values() if isinstance(element, DataElement)]
    if not charset_holds(common.get("SpecificCharacterSet"), texts):
        put(own, "SpecificCharacterSet", "CS", UNICODE)
    return own


def _move_to_block(own: InstanceElements, common: Dataset, element: DataElement, creator: str) -> None:
    """Give a private element the tag that its creator's block has in the whole; reserve one if needed."""
    group = element.tag.group
    tags = [tag for tag in {*own, *common.keys()} if tag.group == group]
    creators = {tag: own.get(tag) or common[tag] for tag in tags if tag.is_private_creator}
    held_by = {tag: held.value for tag, held in creators.items() if isinstance(held, DataElement)}
    block = next((tag.element for tag, name in held_by.items() if name == creator), None)
    if block is None:
        used = {tag.element for tag in creators}
        block = next(number for number in range(0x10, 0x100) if number not in used)
        reserved = DataElement(BaseTag(group << 16 | block), "LO", creator)
        own[reserved.tag] = reserved
    element.tag = BaseTag(group << 16 | block << 8 | element.tag.element & 0xFF)
