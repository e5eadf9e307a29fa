"""Images in geometric order, and what keeps them from forming a volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.planes import Plane
from dicomnode.errors import GeometryError

Array = NDArray[np.float64]


class Fault(Enum):
    """What keeps images from forming a volume."""

    EMPTY = "no images"
    UNLOCATED = "no position"
    ORIENTATION = "mixed orientation"
    FRAME_OF_REFERENCE = "mixed frames of reference"
    SIZE = "mixed sizes"
    DUPLICATE = "doubled slices"
    GAP = "missing slices"
    TILT = "tilted stack"


@dataclass(frozen=True)
class Problem:
    """One reason why images form no volume.

    Parameters
    ----------
    fault : Fault
        Its kind.
    message : str
        What is wrong and where, with the positions.
    brief : str
        The same in short, for a line that says what a patient still lacks; the message where it is left out.
    """

    fault: Fault
    message: str
    brief: str = ""

    def __post_init__(self) -> None:
        if not self.brief:
            object.__setattr__(self, "brief", self.message)


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Images in geometric order.

    Parameters
    ----------
    planes : tuple of Plane
        Time point after time point; within each along the slice normal.
    slices : int
        Number of slices of a time point.
    time_points : tuple of str
        What tells each time point from the others; empty for a single one.
    affine : ndarray of float64, shape (4, 4), or None
        Maps (slice, row, column, 1) to LPS in mm; ``None`` where the images do not say where they lie.
    problems : tuple of Problem
        Why the images do not form a regular volume; empty if they do.
    """

    planes: tuple[Plane, ...]
    slices: int
    time_points: tuple[str, ...] = ()
    affine: Array | None = None
    problems: tuple[Problem, ...] = field(default=())

    @property
    def times(self) -> int:
        """How many time points there are."""
        return len(self.time_points) or 1

    @property
    def images(self) -> tuple[Dataset, ...]:
        """The datasets in the order of the planes, each once."""
        return tuple({id(plane.image): plane.image for plane in self.planes}.values())

    @property
    def positions(self) -> Array | None:
        """ImagePositionPatient of the slices of the first time point, shape (slices, 3), mm."""
        first = self.planes[: self.slices]
        if not first or not all(plane.located for plane in first):
            return None
        return np.array([plane.position for plane in first], dtype=np.float64)

    def require_volume(self, *, allow: Iterable[Fault] = ()) -> SliceStack:
        """Return the stack itself if it is a regular volume.

        Parameters
        ----------
        allow : iterable of Fault
            What does not matter here.

        Raises
        ------
        GeometryError
            Otherwise; every problem is named, with the positions.
        """
        tolerated = set(allow)
        reasons = [problem.message for problem in self.problems if problem.fault not in tolerated]
        if reasons:
            count = len(self.images)
            what = "1 image forms" if count == 1 else f"{count} images form"
            raise GeometryError(f"{what} no volume: " + "; ".join(reasons))
        return self


__all__ = ["Fault", "Problem", "SliceStack"]
