"""Volumes: arrays that know where they lie in the patient."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from dicomnode.dicom.geometry.volume_conversion import from_nibabel, from_sitk, to_nibabel, to_sitk
from dicomnode.errors import GeometryError

_AXES: Final = 3


@dataclass(frozen=True, eq=False)
class Volume:
    """An array and where each of its voxels lies.

    Used as an array it is its ``array`` (``np.mean(volume)``, ``volume[3]``).

    Parameters
    ----------
    array : ndarray
        Shape (slices, rows, columns), (times, slices, rows, columns) with time points, and a last axis of
        3 for colour. In physical units, see ``units``. An array of two axes becomes one slice.
    affine : ndarray of float64, shape (4, 4), optional
        Maps (slice, row, column, 1) to the patient's LPS coordinates in mm (PS3.3 C.7.6.2.1.1). ``None``
        where the images do not say where they lie.
    colour : bool
        Whether the last axis holds red, green and blue.
    units : str, optional
        ``"HU"``, ``"BQML"``, ``"GY"``, or what RescaleType says.
    FrameOfReferenceUID : str, optional
        The coordinate system: volumes with the same one can be compared by position.
    sources : tuple of Dataset
        The source datasets in array order, time point after time point; each once.
    time_points : tuple of str
        What tells each time point from the others.
    photometric : str
        PhotometricInterpretation of the sources. Values are never inverted: ``"MONOCHROME1"`` says that small
        values are meant to be shown bright.

    Raises
    ------
    GeometryError
        When array and affine cannot belong together.

    Examples
    --------
    >>> import numpy as np
    >>> volume = Volume(np.zeros((20, 64, 64)), np.diag([3.0, 1.5, 1.5, 1.0]))
    >>> volume.spacing
    (3.0, 1.5, 1.5)
    """

    array: NDArray[Any]
    affine: NDArray[np.float64] | None = None
    _: KW_ONLY
    colour: bool = False
    units: str | None = None
    FrameOfReferenceUID: str | None = None
    sources: tuple[Dataset, ...] = ()
    time_points: tuple[str, ...] = ()
    photometric: str = "MONOCHROME2"

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        axes = array.ndim - self.colour
        if axes == _AXES - 1:
            array, axes = array[np.newaxis], _AXES
        if axes not in (_AXES, _AXES + 1) or (self.colour and array.shape[-1] != _AXES):
            raise GeometryError(
                f"an array of shape {np.shape(self.array)} is no {'colour ' if self.colour else ''}volume:"
                " its axes are [times,] slices, rows, columns[, 3 colours]"
            )
        object.__setattr__(self, "array", array)
        if self.affine is None:
            return
        affine = np.array(self.affine, dtype=np.float64)
        if (
            affine.shape != (4, 4)
            or not np.isfinite(affine).all()
            or not np.allclose(affine[3], [0, 0, 0, 1])
        ):
            raise GeometryError(f"an affine is 4 x 4 with the last row 0, 0, 0, 1, not\n{self.affine}")
        if abs(np.linalg.det(affine)) == 0.0:
            raise GeometryError(f"the affine is singular:\n{affine}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.array.shape

    @property
    def grid(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        last = self.array.ndim - self.colour
        slices, rows, columns = self.array.shape[last - _AXES : last]
        return slices, rows, columns

    @property
    def times(self) -> int:
        """How many time points there are."""
        return self.array.shape[0] if self.array.ndim - self.colour > _AXES else 1

    @property
    def slices(self) -> NDArray[Any]:
        """All slices, time point after time point: shape (times x slices, rows, columns[, 3])."""
        return self.array.reshape(-1, *self.array.shape[self.array.ndim - self.colour - _AXES + 1 :])

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Distance of voxels along slices, rows and columns, mm."""
        if self.affine is None:
            return None
        slices, rows, columns = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return slices, rows, columns

    @property
    def orientation(self) -> tuple[float, ...] | None:
        """ImageOrientationPatient: cosines of a row (from column to column), then of a column."""
        if self.affine is None or self.spacing is None:
            return None
        along_row = self.affine[:3, 2] / self.spacing[2]
        along_column = self.affine[:3, 1] / self.spacing[1]
        return tuple(float(part) for part in (*along_row, *along_column))

    @property
    def positions(self) -> NDArray[np.float64] | None:
        """ImagePositionPatient of each slice of a time point, shape (slices, 3), mm."""
        if self.affine is None:
            return None
        index = np.arange(self.grid[0])[:, np.newaxis]
        positions: NDArray[np.float64] = self.affine[:3, 3] + index * self.affine[:3, 0]
        return positions

    def to_patient(self, index: ArrayLike) -> NDArray[np.float64]:
        """Return where array indices lie.

        Parameters
        ----------
        index : array_like, shape (..., 3)
            (slice, row, column), also between voxels.

        Returns
        -------
        ndarray, shape (..., 3)
            LPS, mm.

        Raises
        ------
        GeometryError
            When the volume does not know where it lies.
        """
        affine = self._located()
        result: NDArray[np.float64] = np.asarray(index, np.float64) @ affine[:3, :3].T + affine[:3, 3]
        return result

    def to_index(self, position: ArrayLike) -> NDArray[np.float64]:
        """Return the array indices of positions; the inverse of :meth:`to_patient`.

        Parameters
        ----------
        position : array_like, shape (..., 3)
            LPS, mm.
        """
        inverse = np.linalg.inv(self._located())
        result: NDArray[np.float64] = np.asarray(position, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return result

    def with_array(self, array: ArrayLike, *, units: str | None = None) -> Volume:
        """Return another array on the same grid.

        Parameters
        ----------
        array : array_like
            With the same slices, rows and columns; time points and colour may differ.
        units : str, optional
            Its units, when they are others.

        Raises
        ------
        GeometryError
            When the grid is another one.
        """
        held = np.asarray(array)
        grid = self.grid
        # (3, 3, 3, 3) on the grid (3, 3, 3) may be time points or colour; time points are taken.
        colour = held.shape[-4:] == (*grid, _AXES) and held.shape[-_AXES:] != grid
        changed = replace(self, array=held, colour=colour, units=units or self.units)
        if changed.times != self.times:
            changed = replace(changed, time_points=())
        if changed.grid != grid:
            raise GeometryError(f"an array of grid {changed.grid} does not lie on the grid {grid}")
        return changed

    def to_nibabel(self) -> Any:
        """Return a ``nibabel.Nifti1Image``; needs the extra ``nibabel``.

        Returns
        -------
        nibabel.Nifti1Image
            Axes (column, row, slice[, time]), RAS coordinates in mm; colour as NIfTI's RGB of 8 bits.
            Booleans become uint8. The array is a view where possible.

        Raises
        ------
        GeometryError
            When the volume does not know where it lies.
        PixelDataError
            When colour has more than 8 bits.
        DicomError
            When nibabel is not installed.
        """
        return to_nibabel(self.array, self._located(), colour=self.colour)

    @classmethod
    def from_nibabel(cls, image: Any, *, units: str | None = None) -> Volume:
        """Return the volume of a NIfTI image, to build a series of it.

        Parameters
        ----------
        image : nibabel.Nifti1Image
            With an affine; 3 axes, or 4 with time.
        units : str, optional
            Units of the values; NIfTI does not say.

        Raises
        ------
        PixelDataError
            When it has other axes, or voxels of a kind that is neither grayscale nor RGB.
        """
        array, affine, colour = from_nibabel(image)
        return cls(array, affine, colour=colour, units=units)

    def to_sitk(self) -> Any:
        """Return a ``SimpleITK.Image``; needs the extra ``sitk``.

        Returns
        -------
        SimpleITK.Image
            LPS coordinates in mm as here; 4 axes with time points, 3 components a voxel for colour. Booleans
            become uint8.

        Raises
        ------
        GeometryError
            When the volume does not know where it lies.
        DicomError
            When SimpleITK is not installed.
        """
        return to_sitk(self.array, self._located(), colour=self.colour)

    @classmethod
    def from_sitk(cls, image: Any, *, units: str | None = None) -> Volume:
        """Return the volume of a SimpleITK image, to build a series of it.

        Parameters
        ----------
        image : SimpleITK.Image
            3 axes, or 4 with time; 1 component a voxel, or 3 for colour.
        units : str, optional
            Units of the values.

        Raises
        ------
        PixelDataError
            When it has other axes or components.
        """
        array, affine, colour = from_sitk(image)
        return cls(array, affine, colour=colour, units=units)

    def _located(self) -> NDArray[np.float64]:
        if self.affine is None:
            raise GeometryError("the images of this volume do not say where they lie in the patient")
        return self.affine

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy:
            return np.array(self.array, dtype=dtype)
        return np.asarray(self.array, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        spacing = (
            "" if self.spacing is None else " of " + " x ".join(f"{s:.4g}" for s in self.spacing) + " mm"
        )
        units = f", {self.units}" if self.units else ""
        return f"<Volume {' x '.join(map(str, self.shape))}{spacing}, {self.array.dtype}{units}>"


__all__ = ["Volume"]
