"""What a series is built from, and what the factory may write of its own accord."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.building.header import SeriesHeader
from dicomnode.dicom.building.pixel_encoding import (
    StoredPixels,
)
from dicomnode.dicom.building.pixel_rules import PixelRules
from dicomnode.dicom.building.result_geometry import (
    SLICE_PLANE_KEYWORDS,
    ResultGeometry,
)
from dicomnode.dicom.elements.standard_elements import DiscardElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.iod import IOD, iod_of
from dicomnode.dicom.values.uids import SeriesUIDs


@dataclass(frozen=True, eq=False)
class BuildContext:
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
    geometry : ResultGeometry
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
    geometry: ResultGeometry
    uids: SeriesUIDs
    rules: PixelRules
    keep_window: bool = False

    def may_write(self, keyword: str) -> bool:
        """Return whether the factory may write an attribute: the IOD knows it, the blueprint is silent."""
        return keyword not in self.header.blueprint and (self.iod is None or keyword in self.iod.attributes)

    def writes_plane(self, keyword: str) -> bool:
        """Return whether an attribute of the place is written: unless the blueprint discards it."""
        element = self.header.blueprint.get(keyword)
        return self.may_write(keyword) if element is None else not isinstance(element, DiscardElement)

    @cached_property
    def iod(self) -> IOD | None:
        """The IOD of the result, ``None`` if the tables do not know it."""
        return iod_of(str(self.header.shared.SOPClassUID))

    @cached_property
    def makes_uids(self) -> bool:
        """Whether instances get new UIDs, the blueprint being silent."""
        return "SOPInstanceUID" not in self.header.blueprint

    @cached_property
    def numbers_instances(self) -> bool:
        """Whether instances are numbered, the blueprint being silent."""
        return "InstanceNumber" not in self.header.blueprint

    @cached_property
    def copied_plane_tags(self) -> tuple[BaseTag, ...]:
        """What is copied from the source at the same place though the blueprint is silent."""
        return tuple(Tag(keyword) for keyword in SLICE_PLANE_KEYWORDS if self.may_write(keyword))

    @cached_property
    def written_plane_keywords(self) -> frozenset[str]:
        """What is written from the result's own affine for each slice."""
        return frozenset(keyword for keyword in SLICE_PLANE_KEYWORDS if self.writes_plane(keyword))

    @cached_property
    def numbers_time_points(self) -> bool:
        """Whether time points have to be told apart, since the sources do not have them."""
        planes = self.geometry.sources
        if self.volume.times == 1 or len({id(plane) for plane in planes if plane}) == len(planes):
            return False
        return self.iod is not None and "TemporalPositionIdentifier" in self.iod.attributes
