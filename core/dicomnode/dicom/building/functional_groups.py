"""The functional groups of enhanced images: what frames share and where each lies (PS3.3 C.7.6.16)."""

from __future__ import annotations

import copy
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ParametricMapStorage

from dicomnode.dicom.building.build_context import BuildContext
from dicomnode.dicom.building.references import derivation_image_item
from dicomnode.dicom.building.rescale import Rescale, decimal_string
from dicomnode.dicom.building.result_geometry import shared_plane, slice_plane
from dicomnode.dicom.reading.planes import Plane
from dicomnode.dicom.values.codes import code_item
from dicomnode.errors import GeometryError

_STACK: Final = "1"
_NO_UNITS: Final = ("1", "UCUM", "no units")


def add_functional_groups(context: BuildContext, common: Dataset) -> None:
    """Write shared and per-frame functional groups and the dimensions.

    Parameters
    ----------
    context : BuildContext
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
    for keyword, item in _shared_groups(context).items():
        if keyword not in shared:
            setattr(shared, keyword, [item])
    common.SharedFunctionalGroupsSequence = [shared]
    frames = range(len(context.stored.pixels))
    common.PerFrameFunctionalGroupsSequence = [_frame_groups(context, frame) for frame in frames]
    _dimensions(context, common)


def _shared_groups(context: BuildContext) -> dict[str, Dataset]:
    groups = {
        "PixelMeasuresSequence": _dataset(_measures(context)),
        "PlaneOrientationSequence": _dataset({"ImageOrientationPatient": _orientation(context)}),
    }
    sop_class = context.header.shared.SOPClassUID
    if sop_class == ParametricMapStorage:
        groups["RealWorldValueMappingSequence"] = _real_world(context)
        groups["PixelValueTransformationSequence"] = _transformation(Rescale(), "US")
        return groups
    if len(context.stored.rescales) == 1:
        groups["PixelValueTransformationSequence"] = _transformation(
            context.stored.rescales[0], _rescale_type(context)
        )
    if context.stored.window is not None:
        voi = Dataset()
        voi.WindowCenter = decimal_string(context.stored.window[0])
        voi.WindowWidth = decimal_string(context.stored.window[1])
        if context.stored.exact_window:
            voi.VOILUTFunction = "LINEAR_EXACT"
        groups["FrameVOILUTSequence"] = voi
    return groups


def _frame_groups(context: BuildContext, frame: int) -> Dataset:
    slices, times = context.volume.grid[0], context.volume.times
    time, number = divmod(frame, slices)
    content = Dataset()
    content.StackID = _STACK
    content.InStackPositionNumber = number + 1
    content.DimensionIndexValues = [1, number + 1] if times == 1 else [1, number + 1, time + 1]
    if times > 1:
        content.TemporalPositionIndex = time + 1
    groups = Dataset()
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [_dataset({"ImagePositionPatient": _position(context, frame)})]
    if len(context.stored.rescales) > 1:
        rescale = context.stored.rescale(frame)
        groups.PixelValueTransformationSequence = [_transformation(rescale, _rescale_type(context))]
    if context.header.sources:
        source = context.geometry.source(frame)
        items = [] if source is None else [derivation_image_item([source], context.header.equipment)]
        groups.DerivationImageSequence = items
    return groups


def _measures(context: BuildContext) -> dict[str, Any]:
    affine = context.geometry.affine
    if affine is not None:
        place = shared_plane(affine)
        return {name: place[name] for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")}
    plane = _located(context, 0)
    measures = {"PixelSpacing": copy.deepcopy(plane.image.PixelSpacing)}
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        if plane.image.get(keyword) not in (None, ""):
            measures[keyword] = plane.image.get(keyword)
    return measures


def _orientation(context: BuildContext) -> Any:
    if context.geometry.affine is not None:
        return shared_plane(context.geometry.affine)["ImageOrientationPatient"]
    return copy.deepcopy(_located(context, 0).image.ImageOrientationPatient)


def _position(context: BuildContext, frame: int) -> Any:
    affine = context.geometry.affine
    if affine is not None:
        return slice_plane(affine, frame % context.volume.grid[0])["ImagePositionPatient"]
    return copy.deepcopy(_located(context, frame).image.ImagePositionPatient)


def _located(context: BuildContext, frame: int) -> Plane:
    plane = context.geometry.sources[frame]
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


def _rescale_type(context: BuildContext) -> str:
    """Return RescaleType: HU for CT, else the units if there are any, else US (unspecified)."""
    if context.header.shared.SOPClassUID == EnhancedCTImageStorage:
        return "HU"
    return (context.volume.units or "US")[:64]


def _real_world(context: BuildContext) -> Dataset:
    """Return the mapping of a parametric map's values to a quantity (PS3.3 C.7.6.16.2.11)."""
    stored, rescale = context.stored, context.stored.rescales[0]
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
    units = context.volume.units
    item.MeasurementUnitsCodeSequence = [code_item((units, "UCUM", units) if units else _NO_UNITS)]
    return item


def _dimensions(context: BuildContext, common: Dataset) -> None:
    """Write the dimensions: stack, place in the stack, and time if there is one (PS3.3 C.7.6.17)."""
    organization = context.uids.uid("DimensionOrganizationUID")
    pointers = [("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence")]
    if context.volume.times > 1:
        pointers.append(("TemporalPositionIndex", "FrameContentSequence"))
    common.DimensionOrganizationType = "3D_TEMPORAL" if context.volume.times > 1 else "3D"
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
