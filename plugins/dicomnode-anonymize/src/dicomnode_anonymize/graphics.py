"""Overlay planes and curves (PS3.3 sections C.9.2 and C.10.2): bitmaps and lines that may be writing."""

from __future__ import annotations

from pydicom.dataset import Dataset

_REPEATING = 0xFF00
_CURVES, _OVERLAYS = 0x5000, 0x6000
_OVERLAY_TYPE, _OVERLAY_DATA = 0x0040, 0x3000


def drop(dataset: Dataset, *, keep_regions: bool) -> None:
    """Remove the overlay planes and curves of a data set, each with everything that describes it.

    Table E.1-1 of PS3.15 names only the data; what would be left of the plane is no valid overlay.

    Parameters
    ----------
    dataset : Dataset
        A data set or an item; it is changed.
    keep_regions : bool
        Whether planes that mark a region of interest stay (OverlayType R). Those of graphics (G) never do:
        nobody can tell by program what is drawn in them.
    """
    groups = {tag.group for tag in dataset.keys()}  # noqa: SIM118 - its iterator decodes
    dropped = {
        group
        for group in groups
        if group & _REPEATING == _CURVES
        or (
            (group & _REPEATING == _OVERLAYS and _has_own_data(dataset, group))
            and not (keep_regions and _marks_a_region(dataset, group))
        )
    }
    for tag in [tag for tag in dataset.keys() if tag.group in dropped and not tag.is_private]:  # noqa: SIM118 - its iterator decodes
        del dataset[tag]


def _has_own_data(dataset: Dataset, group: int) -> bool:
    """Say whether the plane is an attribute of its own, rather than a bit of Pixel Data (retired)."""
    return (group, _OVERLAY_DATA) in dataset


def _marks_a_region(dataset: Dataset, group: int) -> bool:
    kind = dataset.get((group, _OVERLAY_TYPE))
    return kind is not None and str(kind.value).strip() == "R"
