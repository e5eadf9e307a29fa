"""Sorting images by where they lie, and finding out whether they form a volume."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.dicom.geometry.slice_stack import Array, Fault, Problem, SliceStack
from dicomnode.dicom.geometry.time_points import PlanesByPosition, missing_time_points, separate_time_points
from dicomnode.dicom.reading.planes import MOSAIC, Plane, planes_of

SAME_PLACE: Final = 1e-3
"""Positions closer than this along the normal are the same place, mm."""
COSINE_TOLERANCE: Final = 1e-3
"""Largest difference of direction cosines within a volume."""
STEP_TOLERANCE: Final = 0.02
"""Largest deviation of a slice from its even place, as a part of the slice distance."""
_UNIT_TOLERANCE: Final = 0.01
_SPACING_TOLERANCE: Final = 1e-4
_NAMED: Final = 6
_NAMED_IN_BRIEF: Final = 3


def sort_by_geometry(images: Iterable[Dataset], *, tolerance: float = STEP_TOLERANCE) -> SliceStack:
    """Sort images along their slice normal, and tell time points apart.

    The normal is row x column cosines (PS3.3 C.7.6.2.1.1); slices ascend along it. Images that do not say
    where they lie are sorted by InstanceNumber. Nothing is raised for images that form no volume: the stack
    says so in ``problems``, and :meth:`SliceStack.require_volume` raises.

    Parameters
    ----------
    images : iterable of Dataset
        Classic or enhanced images.
    tolerance : float
        How far a slice may lie from its even place, as a part of the slice distance.

    Returns
    -------
    SliceStack

    Raises
    ------
    GeometryError
        When a geometric attribute is malformed.
    """
    held = list(images)
    planes = [plane for image in held for plane in planes_of(image)]
    if not planes:
        return SliceStack((), 0, problems=(Problem(Fault.EMPTY, "there is no image"),))
    headers = [plane.header for plane in planes if not plane.frame]
    problems = [*_instance_problems(headers), *_size_problems(planes), *_frame_of_reference_problems(headers)]
    if not all(plane.located for plane in planes):
        return _unlocated(planes, problems)
    if mixed := _orientation_problems(planes):
        ordered = [plane for group in _group(planes) for plane in group]
        return SliceStack(tuple(ordered), len(ordered), problems=(*problems, *mixed))
    stack = _group(planes)
    stack, labels, doubled = _separate_time_points(stack)
    problems += doubled
    if doubled:
        ordered = [plane for group in stack for plane in group]
        return SliceStack(tuple(ordered), len(ordered), problems=tuple(problems))
    in_time = [[group[time] for group in stack] for time in range(len(stack[0]))]
    affine, uneven = _affine(in_time[0], tolerance)
    ordered = [plane for slices in in_time for plane in slices]
    problems += [*uneven, *_shifted_time_points(in_time)]
    return SliceStack(tuple(ordered), len(stack), labels, affine, tuple(problems))


def _unlocated(planes: list[Plane], problems: list[Problem]) -> SliceStack:
    """Sort by InstanceNumber; several images are no volume, the frames of one image may be a film."""
    if len({id(plane.image) for plane in planes}) > 1:
        without = [plane for plane in planes if not plane.located]
        names = _listed([str(plane) for plane in without])
        if any(MOSAIC in (plane.header.get("ImageType") or ()) for plane in without):
            text = (
                f"{names} are mosaics, sheets of slices (ImageType {MOSAIC}), whose position is that of none"
                " of them: have them split into slices, or take the sheets with require_geometry=False"
            )
        else:
            what = "no ImagePositionPatient and ImageOrientationPatient"
            text = f"{names} say where they lie nowhere ({what})"
        problems.append(Problem(Fault.UNLOCATED, text))
    ordered = tuple(sorted(planes, key=_by_number))
    affine = None
    return SliceStack(ordered, len(ordered), (), affine, tuple(problems))


def _by_number(plane: Plane) -> tuple[bool, int, int]:
    number = plane.header.get("InstanceNumber")
    return (number in (None, ""), 0 if number in (None, "") else int(number), plane.frame)


def _instance_problems(images: list[Any]) -> list[Problem]:
    counts = Counter(str(image.get("SOPInstanceUID")) for image in images if "SOPInstanceUID" in image)
    twice = [uid for uid, count in counts.items() if count > 1]
    if not twice:
        return []
    return [Problem(Fault.DUPLICATE, f"the same instance is there more than once: {_listed(twice)}")]


def _size_problems(planes: list[Plane]) -> list[Problem]:
    sizes = Counter((plane.rows, plane.columns) for plane in planes)
    found = []
    if len(sizes) > 1:
        text = ", ".join(f"{count} of {rows} x {columns}" for (rows, columns), count in sizes.most_common())
        found.append(Problem(Fault.SIZE, f"their sizes (rows x columns) differ: {text}"))
    spacings = [plane.pixel_spacing for plane in planes if plane.pixel_spacing]
    if spacings and (
        len(spacings) < len(planes)
        or not np.allclose(spacings, [spacings[0]], rtol=_SPACING_TOLERANCE, atol=0.0)
    ):
        kinds = sorted({f"{rows:g} x {columns:g}" for rows, columns in spacings})
        lacking = len(planes) - len(spacings)
        text = f"PixelSpacing differs: {_listed(kinds)}" + (f"; {lacking} have none" if lacking else "")
        found.append(Problem(Fault.SIZE, text))
    return found


def _frame_of_reference_problems(images: list[Any]) -> list[Problem]:
    frames = {str(image.get("FrameOfReferenceUID") or "") for image in images} - {""}
    if len(frames) <= 1:
        return []
    text = f"they lie in {len(frames)} frames of reference: {_listed(sorted(frames))}"
    return [Problem(Fault.FRAME_OF_REFERENCE, text)]


def _orientation_problems(planes: list[Plane]) -> list[Problem]:
    cosines = np.array([plane.orientation for plane in planes], dtype=np.float64)
    rows, columns = cosines[:, :3], cosines[:, 3:]
    lengths = np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1)
    skew = np.abs(np.einsum("ij,ij->i", rows, columns))
    wrong = np.flatnonzero(
        ~(
            (np.abs(lengths[0] - 1) < _UNIT_TOLERANCE)
            & (np.abs(lengths[1] - 1) < _UNIT_TOLERANCE)
            & (skew < _UNIT_TOLERANCE)
        )
    )
    if len(wrong):
        plane = planes[wrong[0]]
        text = f"the orientation of {plane} is no pair of perpendicular unit vectors: {plane.orientation}"
        return [Problem(Fault.ORIENTATION, text)]
    groups: list[tuple[Array, int]] = []
    for cosine in cosines:
        for number, (known, count) in enumerate(groups):
            if np.abs(cosine - known).max() <= COSINE_TOLERANCE:
                groups[number] = (known, count + 1)
                break
        else:
            groups.append((cosine, 1))
    if len(groups) == 1:
        return []
    text = _listed([f"{count} along {_vector(known)}" for known, count in groups], ", ")
    return [Problem(Fault.ORIENTATION, f"they have {len(groups)} orientations: {text}")]


def unit_normal(plane: Plane) -> Array:
    """Return the slice normal of a located plane, of length 1."""
    cosines = np.array(plane.orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0 else np.array([0.0, 0.0, 1.0])


def _group(planes: list[Plane]) -> PlanesByPosition:
    """Return the planes of each place, the places in order along the normal of the first plane."""
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    heights = positions @ unit_normal(planes[0])
    order = np.argsort(heights, kind="stable")
    stack: PlanesByPosition = []
    last = -np.inf
    for index in order:
        if heights[index] - last > SAME_PLACE:
            stack.append([])
            last = heights[index]
        stack[-1].append(planes[index])
    return stack


def _separate_time_points(stack: PlanesByPosition) -> tuple[PlanesByPosition, tuple[str, ...], list[Problem]]:
    """Order the time points of each place; say so if they cannot be told apart."""
    counts = [len(planes) for planes in stack]
    if max(counts) == 1:
        return stack, (), []
    if min(counts) == max(counts):
        if found := separate_time_points(stack):
            return *found, []
        places = _listed([planes[0].position_text for planes in stack])
        text = f"there are {counts[0]} images at each place and nothing tells them apart: {places}"
        return stack, (), [Problem(Fault.DUPLICATE, text)]
    usual = Counter(counts).most_common(1)[0][0]
    if usual > 1 and (missing := missing_time_points(stack)):
        return stack, (), [Problem(Fault.GAP, _listed(missing))]
    odd = _listed([f"{len(p)} at {p[0].position_text}" for p in stack if len(p) != usual])
    kind = Fault.DUPLICATE if usual == 1 else Fault.GAP
    text = f"most places have {usual} image{'s' * (usual != 1)}, but there are {odd}"
    return stack, (), [Problem(kind, text)]


def _affine(slices: list[Plane], tolerance: float) -> tuple[Array | None, list[Problem]]:
    """Return the affine of one time point, and what is uneven about its slices."""
    first = slices[0]
    if first.pixel_spacing is None:
        text = "they have no PixelSpacing"
        return None, [Problem(Fault.UNLOCATED, text)] if len(slices) > 1 else []
    positions = np.array([plane.position for plane in slices], dtype=np.float64)
    normal = unit_normal(first)
    problems = _gaps(slices, positions @ normal, tolerance)
    if len(slices) > 1:
        # The mean: positions are rounded to the digits of a DS, which a single step shows more.
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        problems += _tilt(positions, normal, step, tolerance)
    else:
        step = normal * _thickness(first)
    cosines = np.array(first.orientation, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = cosines[3:] * first.pixel_spacing[0]
    affine[:3, 2] = cosines[:3] * first.pixel_spacing[1]
    affine[:3, 3] = positions[0]
    return affine, problems


def _gaps(slices: list[Plane], heights: Array, tolerance: float) -> list[Problem]:
    steps = np.diff(heights)
    if not len(steps):
        return []
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > max(tolerance * usual, SAME_PLACE))
    if not len(uneven):
        # Steps that are each within the tolerance may add up to half a slice.
        drift = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
        if drift <= max(0.5 * usual, SAME_PLACE):
            return []
        return [Problem(Fault.GAP, f"the distances of slices change along the stack, {_range(steps)} mm")]
    texts = [
        f"{steps[i]:.6g} mm between {slices[i].position_text} and {slices[i + 1].position_text}"
        for i in uneven
    ]
    text = f"slices are {usual:.6g} mm apart, but there are {_listed(texts)}"
    wide = [int(i) for i in uneven if steps[i] > usual]
    if not wide:
        return [Problem(Fault.GAP, text)]
    numbers = _slice_numbers(slices)
    pairs = [_pair(i, slices, numbers) for i in wide]
    what = "gap between" if len(pairs) == 1 else "gaps between"
    between = f"{what} {'slices ' if numbers else ''}{_listed(pairs, most=_NAMED_IN_BRIEF)}"
    brief = f"{between} ({_range(steps[wide])} mm, where slices are {usual:.6g} mm apart)"
    return [Problem(Fault.GAP, f"{between}: {text}" if numbers else text, brief)]


def _slice_numbers(slices: list[Plane]) -> list[int]:
    """Return the InstanceNumbers of slices, if they count the slices along the stack, up or down; else none.

    An operator looks for a slice by the number that a viewer shows. Numbers that do not run with the position
    (those of frames, of series that were put together) would name other slices.
    """
    texts = [str(plane.header.get("InstanceNumber") or "") for plane in slices]
    if any(plane.groups or plane.frame for plane in slices) or not all(map(_is_integer, texts)):
        return []
    numbers = [int(text) for text in texts]
    run = np.diff(numbers)
    return numbers if (run > 0).all() or (run < 0).all() else []


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+\s*", text) is not None


def _pair(index: int, slices: list[Plane], numbers: list[int]) -> str:
    """Name the slices on both sides of a gap: by their numbers, the lower first, or by their places."""
    if numbers:
        return "{} and {}".format(*sorted(numbers[index : index + 2]))
    return f"{slices[index].position_text} and {slices[index + 1].position_text}"


def _tilt(positions: Array, normal: Array, step: Array, tolerance: float) -> list[Problem]:
    """Say if slices are shifted in their own plane: along a gantry tilt, or this way and that."""
    height = float(abs(step @ normal))
    shear = step - (step @ normal) * normal
    even = positions[0] + np.outer(np.arange(len(positions)), step)
    off = even - positions
    off -= np.outer(off @ normal, normal)
    limit = max(tolerance * height, SAME_PLACE)
    if np.linalg.norm(off, axis=1).max() > limit:
        worst = int(np.linalg.norm(off, axis=1).argmax())
        distance = float(np.linalg.norm(off[worst]))
        text = f"slices do not lie on one line: {_vector(positions[worst])} is {distance:.6g} mm off"
        return [Problem(Fault.GAP, text)]
    if np.linalg.norm(shear) * (len(positions) - 1) <= max(limit, SAME_PLACE):
        return []
    angle = float(np.degrees(np.arctan2(np.linalg.norm(shear), height)))
    text = (
        f"the stack is tilted by {angle:.4g} degrees (gantry tilt), from {_vector(positions[0])} to"
        f" {_vector(positions[-1])}: its affine is a shear"
    )
    return [Problem(Fault.TILT, text)]


def _shifted_time_points(in_time: list[list[Plane]]) -> list[Problem]:
    """Say if the time points do not lie upon each other."""
    positions = np.array([[plane.position for plane in slices] for slices in in_time], dtype=np.float64)
    away = np.linalg.norm(positions - positions[0], axis=2).max(axis=1)
    far = np.flatnonzero(away > 10 * SAME_PLACE)
    if not len(far):
        return []
    text = _listed([f"no. {number + 1} by {away[number]:.4g} mm" for number in far])
    return [Problem(Fault.TILT, f"time points are shifted within their plane: {text}")]


def _thickness(plane: Plane) -> float:
    """Return the extent of a lone slice along the normal, 1 mm where it does not say."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = plane.value(keyword)
        if value not in (None, "") and float(value) != 0.0:
            return abs(float(value))  # SpacingBetweenSlices of NM may be negative (PS3.3 C.8.4.15)
    return 1.0


def same_grid(one: Array, other: Array, shape: Sequence[int]) -> bool:
    """Return whether two affines put every voxel of an array at the same place, to a hundredth of a voxel.

    Parameters
    ----------
    one, other : ndarray, shape (4, 4)
        The affines.
    shape : sequence of int
        (slices, rows, columns).
    """
    corners = np.array(np.meshgrid(*[(0, max(extent - 1, 0)) for extent in shape[-3:]], [1])).reshape(4, -1)
    difference = np.abs((one - other) @ corners)[:3].max()
    voxel = np.linalg.norm(other[:3, :3], axis=0).min()
    return bool(difference <= 0.01 * voxel)


def _vector(vector: Any) -> str:
    return "(" + ", ".join(f"{part:.6g}" for part in vector) + ")"


def _range(values: Array) -> str:
    low, high = f"{values.min():.6g}", f"{values.max():.6g}"
    return low if low == high else f"{low} to {high}"


def _listed(texts: Sequence[str], separator: str = ", ", *, most: int = _NAMED) -> str:
    shown = separator.join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


__all__ = ["same_grid", "sort_by_geometry", "unit_normal"]
