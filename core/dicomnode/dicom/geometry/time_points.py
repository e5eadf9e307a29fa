"""Telling images at the same place apart: time points, echoes, diffusion directions, or duplicates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any, Final

from dicomnode.dicom.reading.planes import Plane

PlanesByPosition = list[list[Plane]]
"""The planes of each position, the positions in order along the normal."""

# The same set of values at every position. In the order in which they are tried: what says time first, what
# may differ for another reason last.
_SHARED: Final = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "InversionTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "NominalCardiacTriggerDelayTime",
    "FrameReferenceTime",
    "TimeSlotVector",
    "TimeSliceVector",
    "RRIntervalVector",
    "EnergyWindowVector",
    "PhaseVector",
    "FlipAngle",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ComplexImageComponent",
    "ImageType",
    "FrameType",
    "SeriesInstanceUID",
)
# Distinct and in order at each position, but not the same from one position to the next.
_ORDERED: Final = (
    "TriggerTime",
    "FrameAcquisitionDateTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
)


def separate_time_points(stack: PlanesByPosition) -> tuple[PlanesByPosition, tuple[str, ...]] | None:
    """Put the planes of each position into the same order of time points.

    Parameters
    ----------
    stack : list of list of Plane
        For each position its planes, equally many (T > 1) at each.

    Returns
    -------
    (list of list of Plane, tuple of str) or None
        For each position the T planes in order, and the T names; ``None`` where nothing tells them apart, so
        that they are duplicates.
    """
    return _by_shared(stack) or _by_order(stack) or _by_instance_number(stack)


def missing_time_points(stack: PlanesByPosition) -> list[str]:
    """Say which time points lack an image at which place, where an attribute names the time points.

    Parameters
    ----------
    stack : list of list of Plane
        For each position its planes, not equally many at each.

    Returns
    -------
    list of str
        What is missing, such as ``"no image of TemporalPositionIdentifier 2 at (0, 0, 5)"``; empty where no
        attribute tells the time points apart.
    """
    for keyword in _SHARED:
        keys = [[_plain(plane.value(keyword)) for plane in planes] for planes in stack]
        known = {key for place in keys for key in place}
        distinct = all(len(set(place)) == len(place) for place in keys)
        if None in known or not distinct or len(known) != max(len(place) for place in keys):
            continue
        return [
            f"no image of {keyword} {key} at {planes[0].position_text}"
            for planes, place in zip(stack, keys, strict=True)
            for key in _sorted(known - set(place)) or ()
        ]
    return []


def _by_shared(stack: PlanesByPosition) -> tuple[PlanesByPosition, tuple[str, ...]] | None:
    useful: list[tuple[str, ...]] = []
    for keyword in _SHARED:
        if found := _arranged(stack, (keyword,)):
            return found
        if _differs_alike(stack, keyword):
            useful.append((keyword,))
    together: tuple[str, ...] = ()
    for keywords in useful:
        together += keywords
        if len(together) > 1 and (found := _arranged(stack, together)):
            return found
    return None


def _arranged(
    stack: PlanesByPosition, keywords: tuple[str, ...]
) -> tuple[PlanesByPosition, tuple[str, ...]] | None:
    """Order by some attributes, if their values are distinct at each position and the same at all of them."""
    first: list[Any] | None = None
    arranged: PlanesByPosition = []
    for planes in stack:
        keyed = {tuple(_plain(plane.value(keyword)) for keyword in keywords): plane for plane in planes}
        if len(keyed) < len(planes) or any(None in key for key in keyed):
            return None
        keys = _sorted(keyed)
        if keys is None or (first is not None and keys != first):
            return None
        first = keys
        arranged.append([keyed[key] for key in keys])
    return arranged, tuple(_label(keywords, key) for key in first or ())


def _differs_alike(stack: PlanesByPosition, keyword: str) -> bool:
    """Return whether an attribute differs within the positions and has the same values at all of them."""
    counts: list[dict[Hashable, int]] = []
    for planes in stack:
        count: dict[Hashable, int] = {}
        for plane in planes:
            value = _plain(plane.value(keyword))
            count[value] = count.get(value, 0) + 1
        counts.append(count)
    return None not in counts[0] and len(counts[0]) > 1 and all(count == counts[0] for count in counts)


def _by_order(stack: PlanesByPosition) -> tuple[PlanesByPosition, tuple[str, ...]] | None:
    for keyword in _ORDERED:
        arranged = [_ordered(planes, lambda plane: _plain(plane.value(keyword))) for planes in stack]  # noqa: B023 - used at once
        if all(arranged):
            stacked = [planes for planes in arranged if planes]
            return stacked, tuple(f"{keyword} no. {number + 1}" for number in range(len(stacked[0])))
    return None


def _by_instance_number(stack: PlanesByPosition) -> tuple[PlanesByPosition, tuple[str, ...]] | None:
    """Order by InstanceNumber if it runs through volume after volume, or place after place.

    Some scanners write nothing else that tells time points apart. Numbers that run in neither way are no
    order of time.
    """
    arranged = [_ordered(planes, _instance_number) for planes in stack]
    if not all(arranged):
        return None
    stacked = [planes for planes in arranged if planes]
    numbers = [[_instance_number(plane) for plane in planes] for planes in stacked]
    by_volume = list(zip(*numbers, strict=True))
    if not (_runs(by_volume) or _runs(numbers)):
        return None
    return stacked, tuple(f"InstanceNumber {min(group)} to {max(group)}" for group in by_volume)


def _runs(groups: Sequence[Sequence[Any]]) -> bool:
    """Return whether the ranges of the groups do not overlap."""
    ranges = sorted((min(group), max(group)) for group in groups)
    return all(before[1] < after[0] for before, after in pairwise(ranges))


def _ordered(planes: list[Plane], key: Callable[[Plane], Any]) -> list[Plane] | None:
    values = [key(plane) for plane in planes]
    if None in values or len(set(values)) < len(values):
        return None
    return [plane for _, plane in sorted(zip(values, planes, strict=True), key=lambda pair: pair[0])]


def _instance_number(plane: Plane) -> Any:
    number = plane.header.get("InstanceNumber")
    return None if number in (None, "") or plane.groups else int(number)


def _plain(value: Any) -> Any:
    """Return a value that can be compared and hashed."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return tuple(_plain(part) for part in value)
    return float(value) if isinstance(value, float) else value


def _sorted(keys: Any) -> list[Any] | None:
    try:
        return sorted(keys)
    except TypeError:
        return None


def _label(keywords: tuple[str, ...], key: tuple[Any, ...]) -> str:
    return ", ".join(f"{keyword} {value}" for keyword, value in zip(keywords, key, strict=True))


__all__ = ["separate_time_points"]
