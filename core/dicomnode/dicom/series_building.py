"""Building the single-frame instances of a series."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import CTImageStorage

from dicomnode.dicom.built_series import BuiltSeries
from dicomnode.dicom.charset import UNICODE, settle_charset
from dicomnode.dicom.gathering import MissingTags
from dicomnode.dicom.header import SeriesHeader
from dicomnode.dicom.modules import iod_of
from dicomnode.dicom.pixel_rules import PixelRules, Scaling
from dicomnode.dicom.placement import OWN_PLACE, SHARED_PLACE, Placement, own_place, shared_place
from dicomnode.dicom.storing import (
    StoredPixels,
    describe_pixels,
    describe_rescale,
    describe_window,
    pixel_element,
)
from dicomnode.dicom.uids import SeriesUIDs
from dicomnode.dicom.virtual_element import InstanceEnvironment
from dicomnode.dicom.volume import Volume
from dicomnode.errors import BlueprintError


@dataclass(frozen=True, eq=False)
class Building:
    """What a series is built from.

    Parameters
    ----------
    header : SeriesHeader
        The header.
    factory : object
        The factory.
    volume : Volume
        The data, in physical units.
    stored : StoredPixels
        The data as they are stored.
    placement : Placement
        Where they lie.
    uids : SeriesUIDs
        The new UIDs.
    rules : PixelRules
        What the SOP class asks.
    keep_window : bool
        Whether the blueprint's window stays.
    """

    header: SeriesHeader
    factory: Any
    volume: Volume
    stored: StoredPixels
    placement: Placement
    uids: SeriesUIDs
    rules: PixelRules
    keep_window: bool = False

    def wants(self, keyword: str) -> bool:
        """Return whether the factory may write an attribute: the IOD knows it, the blueprint is silent."""
        iod = iod_of(str(self.header.shared.SOPClassUID))
        return keyword not in self.header.blueprint and (iod is None or keyword in iod.attributes)


def build_slices(building: Building) -> BuiltSeries:
    """Build an instance for each slice.

    Parameters
    ----------
    building : Building
        What it is built from.

    Raises
    ------
    MissingTagsError
        When the blueprint's elements lack something for an instance.
    BlueprintError
        When two instances would have the same SOP Instance UID.
    """
    common = common_part(building)
    total = len(building.stored.pixels)
    own = [_own_part(building, common, index, total) for index in range(total)]
    refuse_same_uids(own, common)
    keyword, VR = pixel_element(building.stored)  # noqa: N806 - DICOM's own spelling
    return BuiltSeries(common, own, building.stored.pixels, keyword, VR)


def common_part(building: Building, frames: int | None = None) -> Dataset:
    """Return what all instances share: the header's elements, series, pixels, place.

    Parameters
    ----------
    building : Building
        What it is built from.
    frames : int, optional
        NumberOfFrames, for multi-frame images.
    """
    header, stored = building.header, building.stored
    common = copy.deepcopy(header.shared)
    if "SeriesInstanceUID" not in header.blueprint:
        common.SeriesInstanceUID = building.uids.SeriesInstanceUID
    describe_pixels(common, stored, frames)
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in common:
            del common[keyword]
    rescaled = _rescaled(building)
    if rescaled and len(stored.rescales) == 1:
        describe_rescale(common, stored.rescales[0])
    if _rescaled(building) and "RescaleType" not in common and (kind := _rescale_type(building)):
        common.RescaleType = kind
    if rescaled and building.wants("RescaleType") and _has_modality_lut(common):
        common.RescaleType = "US"  # unspecified; the module wants some type (PS3.3 C.11.1)
    if not building.keep_window and building.rules.scaling is not Scaling.FRAME:
        describe_window(common, stored)
    if building.volume.FrameOfReferenceUID and (
        "FrameOfReferenceUID" in common or building.wants("FrameOfReferenceUID")
    ):
        common.FrameOfReferenceUID = building.volume.FrameOfReferenceUID
    _shared_place(building, common)
    return common


def _rescaled(building: Building) -> bool:
    """Return whether RescaleSlope and RescaleIntercept belong into the dataset itself.

    An identity is left out where the IOD has no Modality LUT (MR), and for colour.
    """
    stored, scaling = building.stored, building.rules.scaling
    if stored.colour or stored.stored is None or scaling in (Scaling.DOSE, Scaling.FRAME, Scaling.REAL_WORLD):
        return False
    iod = iod_of(str(building.header.shared.SOPClassUID))
    known = iod is None or "RescaleSlope" in iod.attributes
    return known or not all(rescale.identity for rescale in stored.rescales)


def _has_modality_lut(dataset: Dataset) -> bool:
    iod = iod_of(str(dataset.SOPClassUID))
    return iod is not None and "modality-lut" in iod.modules


def _rescale_type(building: Building) -> str | None:
    """Return RescaleType where the IOD asks for it: of CT only if it is not HU (PS3.3 C.8.2.1)."""
    if not building.wants("RescaleType"):
        return None
    units = (building.volume.units or "")[:64]
    if building.header.shared.SOPClassUID == CTImageStorage:
        return units if units != "HU" else None
    return units or "US"


def _shared_place(building: Building, common: Dataset) -> None:
    """Write orientation and spacing: of the result's own affine, or copied where the blueprint is silent."""
    placement = building.placement
    if placement.affine is not None:
        for keyword, value in shared_place(placement.affine).items():
            if _placed(building, keyword) and (keyword != "SpacingBetweenSlices" or keyword in common):
                setattr(common, keyword, value)
        return
    first = placement.source(0) if placement.sources else None
    if first is None or placement.sources[0] is None or not placement.sources[0].located:
        return
    for keyword in SHARED_PLACE[:-1]:
        if building.wants(keyword) and keyword in first:
            common[keyword] = copy.deepcopy(first[keyword])


def _placed(building: Building, keyword: str) -> bool:
    """Return whether an attribute of the place is written: unless the blueprint discards it."""
    element = building.header.blueprint.get(keyword)
    if element is not None:
        return type(element).__name__ != "DiscardElement"
    return building.wants(keyword)


def _own_part(building: Building, common: Dataset, index: int, total: int) -> Dataset:
    """Return what one instance has of its own."""
    environment = InstanceEnvironment(
        index=index,
        instance_number=index + 1,
        source=building.placement.source(index),
        image=building.volume.slices[index],
        pixels=building.stored.pixels[index],
        header=building.header,
        factory=building.factory,
        total=total,
    )
    own = produced(building, environment, common)
    blueprint = building.header.blueprint
    if "SOPInstanceUID" not in blueprint:
        own.SOPInstanceUID = building.uids.SOPInstanceUID(index)
    if "InstanceNumber" not in blueprint:
        own.InstanceNumber = index + 1
    if len(building.stored.rescales) > 1:
        describe_rescale(own, building.stored.rescale(index))
    slices = building.volume.grid[0]
    if building.placement.affine is not None:
        for keyword, value in own_place(building.placement.affine, index % slices).items():
            if _placed(building, keyword):
                setattr(own, keyword, value)
    elif environment.source is not None:
        for keyword in OWN_PLACE:
            if building.wants(keyword) and keyword in environment.source:
                own[keyword] = copy.deepcopy(environment.source[keyword])
    _own_time(building, own, index // slices)
    return own


def _own_time(building: Building, own: Dataset, time: int) -> None:
    """Tell time points apart that the sources do not have (PS3.3 C.8.13.5.1)."""
    times = building.volume.times
    distinct = len({id(plane) for plane in building.placement.sources if plane is not None})
    if times == 1 or distinct == len(building.placement.sources):
        return
    iod = iod_of(str(building.header.shared.SOPClassUID))
    if iod is not None and "TemporalPositionIdentifier" in iod.attributes:
        own.TemporalPositionIdentifier = time + 1
        own.NumberOfTemporalPositions = times


def produced(building: Building, environment: InstanceEnvironment, common: Dataset) -> Dataset:
    """Ask the header's producers for one instance.

    Parameters
    ----------
    building : Building
        What is built.
    environment : InstanceEnvironment
        The instance.
    common : Dataset
        What all instances share.

    Returns
    -------
    Dataset
        The elements that were produced, with SpecificCharacterSet if their text needs another one.
    """
    own = Dataset()
    made: list[DataElement] = []
    gathered = MissingTags()
    supplied: frozenset[BaseTag] = building.placement.supplied
    for producer in building.header.producers:
        if producer.tag in supplied:
            continue
        with gathered:
            element = producer.produce(environment)
            if element is not None:
                _place(own, common, element, producer.creator)
                made.append(element)
    gathered.report(f"instance {environment.instance_number} of {environment.total}")
    probe = Dataset()
    probe.SpecificCharacterSet = common.get("SpecificCharacterSet")
    settle_charset(probe, made)
    if probe.get("SpecificCharacterSet") == UNICODE != common.get("SpecificCharacterSet"):
        own.SpecificCharacterSet = UNICODE
    return own


def _place(own: Dataset, common: Dataset, element: DataElement, creator: str | None) -> None:
    """Put an element where it belongs; a private one into the block that its creator has in the whole."""
    if creator is not None:
        for holder in (common, own):
            for block in range(0x10, 0x100):
                if holder.get(BaseTag(element.tag.group << 16 | block), None) is not None and (
                    holder[BaseTag(element.tag.group << 16 | block)].value == creator
                ):
                    element.tag = BaseTag(element.tag.group << 16 | block << 8 | element.tag.element & 0xFF)
                    own[element.tag] = element
                    return
        used = {
            tag.element
            for holder in (common, own)
            for tag in list(holder.group_dataset(element.tag.group).keys())
        }
        free = next(block for block in range(0x10, 0x100) if block not in used)
        own.add_new(BaseTag(element.tag.group << 16 | free), "LO", creator)
        element.tag = BaseTag(element.tag.group << 16 | free << 8 | element.tag.element & 0xFF)
    own[element.tag] = element


def refuse_same_uids(own: list[Dataset], common: Dataset) -> None:
    """Refuse instances that would have the same SOP Instance UID.

    Raises
    ------
    BlueprintError
        When an element of the blueprint gives two instances the same one.
    """
    uids = [str(part.get("SOPInstanceUID", common.get("SOPInstanceUID"))) for part in own]
    if len(set(uids)) < len(uids):
        raise BlueprintError(
            f"the blueprint gives {len(uids) - len(set(uids))} of {len(uids)} instances a SOPInstanceUID that"
            " another one has; leave SOPInstanceUID out of the blueprint, new ones are made"
        )


__all__ = ["Building", "build_slices", "common_part", "produced", "refuse_same_uids"]
