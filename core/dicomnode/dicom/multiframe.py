"""Building multi-frame instances."""

from __future__ import annotations

from dicomnode.dicom.built_series import BuiltSeries
from dicomnode.dicom.series_building import Building
from dicomnode.errors import PixelDataError


def build_frames(building: Building) -> BuiltSeries:
    """Build one instance that holds all slices as frames."""
    raise PixelDataError(f"multi-frame results ({building.rules.frames.value}) are not built yet")
