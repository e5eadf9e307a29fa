"""The functional groups of enhanced images: what frames share and where each lies (PS3.3 C.7.6.16)."""

from __future__ import annotations

import copy
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ParametricMapStorage

from dicomnode.dicom.building.placement import own_place, shared_place
from dicomnode.dicom.building.references import derivation_image_item
from dicomnode.dicom.building.rescale import Rescale, decimal_string
from dicomnode.dicom.building.series_building import Building
from dicomnode.dicom.reading.planes import Plane
from dicomnode.dicom.values.codes import code_item
from dicomnode.errors import GeometryError

_STACK: Final = "1"
_NO_UNITS: Final = ("1", "UCUM", "no units")


def add_functional_groups(building: Building, common: Dataset) -> None:
    """Write shared and per-frame functional groups and the dimensions.

    Parameters
    ----------
    building : Building
        What is built.
    common : Dataset
        The instance; its SharedFunctionalGroupsSequence may hold what the blueprint knows. Is changed.

    Raises
    ------
    GeometryError
        When nothing says where the frames lie.
    """
    given = common.get("SharedFunctionalGroupsSequence")
    shared = Dataset(given[0]) if given else Dataset()
    for keyword, item in _shared_groups(building).items():
        if keyword not in shared:
            setattr(shared, keyword, [item])
    common.SharedFunctionalGroupsSequence = [shared]
    frames = range(len(building.stored.pixels))
    common.PerFrameFunctionalGroupsSequence = [_frame_groups(building, frame) for frame in frames]
    _dimensions(building, common)


def _shared_groups(building: Building) -> dict[str, Dataset]:
    groups = {
        "PixelMeasuresSequence": _dataset(_measures(building)),
        "PlaneOrientationSequence": _dataset({"ImageOrientationPatient": _orientation(building)}),
    }
    sop_class = building.header.shared.SOPClassUID
    if sop_class == ParametricMapStorage:
        groups["RealWorldValueMappingSequence"] = _real_world(building)
        groups["PixelValueTransformationSequence"] = _transformation(Rescale(), "US")
        return groups
    if len(building.stored.rescales) == 1:
        groups["PixelValueTransformationSequence"] = _transformation(
            building.stored.rescales[0], _rescale_type(building)
        )
    if building.stored.window is not None:
        voi = Dataset()
        voi.WindowCenter = decimal_string(building.stored.window[0])
        voi.WindowWidth = decimal_string(building.stored.window[1])
        if building.stored.exact_window:
            voi.VOILUTFunction = "LINEAR_EXACT"
        groups["FrameVOILUTSequence"] = voi
    return groups


def _frame_groups(building: Building, frame: int) -> Dataset:
    slices, times = building.volume.grid[0], building.volume.times
    time, number = divmod(frame, slices)
    content = Dataset()
    content.StackID = _STACK
    content.InStackPositionNumber = number + 1
    content.DimensionIndexValues = [1, number + 1] if times == 1 else [1, number + 1, time + 1]
    if times > 1:
        content.TemporalPositionIndex = time + 1
    groups = Dataset()
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [_dataset({"ImagePositionPatient": _position(building, frame)})]
    if len(building.stored.rescales) > 1:
        rescale = building.stored.rescale(frame)
        groups.PixelValueTransformationSequence = [_transformation(rescale, _rescale_type(building))]
    if building.header.sources:
        source = building.placement.source(frame)
        items = [] if source is None else [derivation_image_item([source], building.header.equipment)]
        groups.DerivationImageSequence = items
    return groups


def _measures(building: Building) -> dict[str, Any]:
    affine = building.placement.affine
    if affine is not None:
        place = shared_place(affine)
        return {name: place[name] for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")}
    plane = _located(building, 0)
    measures = {"PixelSpacing": copy.deepcopy(plane.image.PixelSpacing)}
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        if plane.image.get(keyword) not in (None, ""):
            measures[keyword] = plane.image.get(keyword)
    return measures


def _orientation(building: Building) -> Any:
    if building.placement.affine is not None:
        return shared_place(building.placement.affine)["ImageOrientationPatient"]
    return copy.deepcopy(_located(building, 0).image.ImageOrientationPatient)


def _position(building: Building, frame: int) -> Any:
    affine = building.placement.affine
    if affine is not None:
        return own_place(affine, frame % building.volume.grid[0])["ImagePositionPatient"]
    return copy.deepcopy(_located(building, frame).image.ImagePositionPatient)


def _located(building: Building, frame: int) -> Plane:
    plane = building.placement.sources[frame]
    if plane is None or not plane.located:
        raise GeometryError(
            f"frame {frame + 1} of an enhanced image lies somewhere, but nothing says where: pass a"
            " Volume(array, affine), or sources that lie where the result lies"
        )
    return plane


def _transformation(rescale: Rescale, kind: str) -> Dataset:
    return _dataset(
        {
            "RescaleIntercept": rescale.intercept_text,
            "RescaleSlope": rescale.slope_text,
            "RescaleType": kind,
        }
    )


def _rescale_type(building: Building) -> str:
    """Return RescaleType: HU for CT, else the units if there are any, else US (unspecified)."""
    if building.header.shared.SOPClassUID == EnhancedCTImageStorage:
        return "HU"
    return (building.volume.units or "US")[:64]


def _real_world(building: Building) -> Dataset:
    """Return the mapping of a parametric map's values to a quantity (PS3.3 C.7.6.16.2.11)."""
    stored, rescale = building.stored, building.stored.rescales[0]
    item = Dataset()
    item.RealWorldValueIntercept, item.RealWorldValueSlope = rescale.intercept, rescale.slope
    lowest, highest = stored.pixels.min(), stored.pixels.max()
    if stored.stored is None:
        item.DoubleFloatRealWorldValueFirstValueMapped = float(lowest)
        item.DoubleFloatRealWorldValueLastValueMapped = float(highest)
    else:
        VR = "SS" if stored.stored.signed else "US"  # noqa: N806 - DICOM's own spelling
        item.add_new("RealWorldValueFirstValueMapped", VR, int(lowest))
        item.add_new("RealWorldValueLastValueMapped", VR, int(highest))
    item.LUTExplanation = "Values of the map"
    item.LUTLabel = "MAP"
    units = building.volume.units
    item.MeasurementUnitsCodeSequence = [code_item((units, "UCUM", units) if units else _NO_UNITS)]
    return item


def _dimensions(building: Building, common: Dataset) -> None:
    """Write the dimensions: stack, place in the stack, and time if there is one (PS3.3 C.7.6.17)."""
    organization = building.uids.uid("DimensionOrganizationUID")
    pointers = [("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence")]
    if building.volume.times > 1:
        pointers.append(("TemporalPositionIndex", "FrameContentSequence"))
    common.DimensionOrganizationType = "3D_TEMPORAL" if building.volume.times > 1 else "3D"
    common.DimensionOrganizationSequence = [_dataset({"DimensionOrganizationUID": organization})]
    common.DimensionIndexSequence = [
        _dataset(
            {
                "DimensionOrganizationUID": organization,
                "DimensionIndexPointer": Tag(keyword),
                "FunctionalGroupPointer": Tag(sequence),
            }
        )
        for keyword, sequence in pointers
    ]


def _dataset(values: dict[str, Any]) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


__all__ = ["add_functional_groups"]
