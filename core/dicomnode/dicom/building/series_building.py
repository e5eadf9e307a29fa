"""Building the single-frame instances of a series."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import CTImageStorage

from dicomnode.dicom.building.built_series import BuiltSeries, Own
from dicomnode.dicom.building.header import SeriesHeader
from dicomnode.dicom.building.pixel_encoding import (
    StoredPixels,
    describe_pixels,
    describe_rescale,
    describe_window,
    pixel_element,
    rescale_elements,
)
from dicomnode.dicom.building.pixel_rules import PixelRules, Scaling
from dicomnode.dicom.building.placement import OWN_PLACE, SHARED_PLACE, Placement, own_place, shared_place
from dicomnode.dicom.elements.data_elements import copy_element
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, prepared
from dicomnode.dicom.elements.missing_tags import MissingTags
from dicomnode.dicom.elements.standard_elements import DiscardElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.charset import UNICODE, charset_holds
from dicomnode.dicom.values.modules import IOD, iod_of
from dicomnode.dicom.values.uids import SeriesUIDs
from dicomnode.dicom.values.values import trusted_element
from dicomnode.errors import BlueprintError, MissingTagsError

_SOP_INSTANCE_UID = Tag("SOPInstanceUID")


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
        return keyword not in self.header.blueprint and (self.iod is None or keyword in self.iod.attributes)

    def places(self, keyword: str) -> bool:
        """Return whether an attribute of the place is written: unless the blueprint discards it."""
        element = self.header.blueprint.get(keyword)
        return self.wants(keyword) if element is None else not isinstance(element, DiscardElement)

    @cached_property
    def iod(self) -> IOD | None:
        """The IOD of the result, ``None`` if the tables do not know it."""
        return iod_of(str(self.header.shared.SOPClassUID))

    @cached_property
    def makes_uids(self) -> bool:
        """Whether instances get new UIDs, the blueprint being silent."""
        return "SOPInstanceUID" not in self.header.blueprint

    @cached_property
    def counts(self) -> bool:
        """Whether instances are numbered, the blueprint being silent."""
        return "InstanceNumber" not in self.header.blueprint

    @cached_property
    def copied_place(self) -> tuple[BaseTag, ...]:
        """What is copied from the source at the same place though the blueprint is silent."""
        return tuple(Tag(keyword) for keyword in OWN_PLACE if self.wants(keyword))

    @cached_property
    def written_place(self) -> frozenset[str]:
        """What is written from the result's own affine for each slice."""
        return frozenset(keyword for keyword in OWN_PLACE if self.places(keyword))

    @cached_property
    def tells_times(self) -> bool:
        """Whether time points have to be told apart, since the sources do not have them."""
        planes = self.placement.sources
        if self.volume.times == 1 or len({id(plane) for plane in planes if plane}) == len(planes):
            return False
        return self.iod is not None and "TemporalPositionIdentifier" in self.iod.attributes


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
    slices = building.volume.slices
    own = [_own_part(building, common, index, total, slices[index]) for index in range(total)]
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
    if rescaled and "RescaleType" not in common and (kind := _rescale_type(building)):
        common.RescaleType = kind
    if rescaled and building.wants("RescaleType") and _has_modality_lut(building):
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
    known = building.iod is None or "RescaleSlope" in building.iod.attributes
    return known or not all(rescale.identity for rescale in stored.rescales)


def _has_modality_lut(building: Building) -> bool:
    return building.iod is not None and "modality-lut" in building.iod.modules


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
            if building.places(keyword) and (keyword != "SpacingBetweenSlices" or keyword in common):
                setattr(common, keyword, value)
        return
    first = placement.source(0) if placement.sources else None
    if first is None or placement.sources[0] is None or not placement.sources[0].located:
        return
    for keyword in SHARED_PLACE[:-1]:
        if building.wants(keyword) and keyword in first:
            common[keyword] = copy.deepcopy(first[keyword])


def _own_part(building: Building, common: Dataset, index: int, total: int, image: Any) -> Own:
    """Return what one instance has of its own."""
    source = building.placement.source(index)
    environment = InstanceEnvironment(
        index=index,
        instance_number=index + 1,
        source=source,
        image=image,
        pixels=building.stored.pixels[index],
        header=building.header,
        factory=building.factory,
        total=total,
    )
    own = produced(building, environment, common)
    name_instance(building, own, index)
    if len(building.stored.rescales) > 1:
        own.update(rescale_elements(building.stored.rescale(index)))
    time, number = divmod(index, building.volume.grid[0])
    if building.placement.affine is not None:
        for keyword, value in own_place(building.placement.affine, number).items():
            if keyword in building.written_place:
                put(own, keyword, "DS", value)
    elif source is not None:
        own.update({tag: copy_element(source[tag]) for tag in building.copied_place if tag in source})
    if building.tells_times:  # PS3.3 C.8.13.5.1
        put(own, "TemporalPositionIdentifier", "IS", time + 1)
        put(own, "NumberOfTemporalPositions", "IS", building.volume.times)
    return own


def name_instance(building: Building, own: Own, index: int) -> None:
    """Give an instance its UID and number, unless the blueprint does.

    Parameters
    ----------
    building : Building
        What is built.
    own : dict of BaseTag to DataElement
        What the instance has of its own. Is changed.
    index : int
        Its place in the series.
    """
    if building.makes_uids:
        put(own, "SOPInstanceUID", "UI", building.uids.SOPInstanceUID(index))
    if building.counts:
        put(own, "InstanceNumber", "IS", index + 1)


def put(own: Own, keyword: str, vr: str, value: Any) -> None:
    """Add an element that the factory itself has made, which needs no check."""
    element = trusted_element(keyword, vr, value)
    own[element.tag] = element


def produced(building: Building, environment: InstanceEnvironment, common: Dataset) -> Own:
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
    dict of BaseTag to DataElement
        The elements that were produced, with SpecificCharacterSet if their text needs another one.
    """
    own: Own = {}
    gathered = MissingTags()
    supplied = building.placement.supplied
    for producer in building.header.producers:
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


def _move_to_block(own: Own, common: Dataset, element: DataElement, creator: str) -> None:
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


def refuse_same_uids(own: Iterable[Own], common: Dataset) -> None:
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


__all__ = [
    "Building",
    "build_slices",
    "common_part",
    "name_instance",
    "produced",
    "put",
    "refuse_same_uids",
]
