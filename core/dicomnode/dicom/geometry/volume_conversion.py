"""Volumes as images of nibabel and SimpleITK, and back."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import DicomError, GeometryError, PixelDataError

_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's axes run to left, posterior and head, those of NIfTI to right, anterior and head."""
_REVERSED: Final = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
"""(column, row, slice) instead of (slice, row, column)."""
_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_AXES: Final = 3
_ORTHOGONAL: Final = 1e-4


def to_nibabel(array: NDArray[Any], affine: NDArray[np.float64], *, colour: bool) -> Any:
    """Return an array and where it lies as ``nibabel.Nifti1Image``; see :meth:`.Volume.to_nibabel`."""
    nibabel = _library("nibabel", "nibabel")
    array = _common_dtype(array)
    if colour:
        if array.dtype != np.uint8:
            raise PixelDataError(f"NIfTI holds colour of 8 bits, not {array.dtype}")
        array = np.ascontiguousarray(array).view(_RGB)[..., 0]
    affine = _TO_RAS @ affine @ _REVERSED
    # NIfTI counts columns first and varies them fastest: the transposed view is that, without a copy.
    image = nibabel.Nifti1Image(array.T, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    # A qform is a rotation: it cannot say the shear of a tilted gantry, which the sform does.
    if _is_orthogonal(affine):
        image.set_qform(affine, code="scanner")
    return image


def from_nibabel(image: Any) -> tuple[NDArray[Any], NDArray[np.float64], bool]:
    """Return array, affine and whether it is colour; see :meth:`.Volume.from_nibabel`."""
    if image.affine is None:
        raise GeometryError("the image has no affine")
    array = np.asanyarray(image.dataobj)
    colour = array.dtype.names is not None
    if colour:
        if array.dtype.names[:_AXES] != _RGB.names:
            raise PixelDataError(f"an image of {array.dtype} is neither grayscale nor RGB")
        array = np.stack([array[name] for name in _RGB.names or ()])
    grid = array.ndim - colour
    if grid > _AXES + 1:
        raise PixelDataError(f"an image of shape {image.shape} has more axes than space and time")
    if grid < _AXES:
        raise PixelDataError(f"an image of shape {image.shape} is no volume")
    affine = _TO_RAS @ np.asarray(image.affine, np.float64) @ _REVERSED
    return array.T, affine, colour


def to_sitk(array: NDArray[Any], affine: NDArray[np.float64], *, colour: bool) -> Any:
    """Return an array and where it lies as ``SimpleITK.Image``; see :meth:`.Volume.to_sitk`."""
    sitk = _library("SimpleITK", "sitk")
    affine = affine[:_AXES] @ _REVERSED
    spacing = np.linalg.norm(affine[:, :_AXES], axis=0)
    direction = affine[:, :_AXES] / spacing
    origin = affine[:, _AXES]
    array = np.ascontiguousarray(_common_dtype(array))
    image = sitk.GetImageFromArray(array, isVector=colour)
    if array.ndim - colour > _AXES:
        turn = np.eye(_AXES + 1)
        turn[:_AXES, :_AXES] = direction
        spacing, origin, direction = np.append(spacing, 1.0), np.append(origin, 0.0), turn
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def from_sitk(image: Any) -> tuple[NDArray[Any], NDArray[np.float64], bool]:
    """Return array, affine and whether it is colour; see :meth:`.Volume.from_sitk`."""
    sitk = _library("SimpleITK", "sitk")
    axes, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if axes not in (_AXES, _AXES + 1) or components not in (1, _AXES):
        raise PixelDataError(f"an image of {axes} axes with {components} components a voxel is no volume")
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:_AXES, :_AXES]
    affine = np.eye(4)
    affine[:_AXES, :_AXES] = direction * np.array(image.GetSpacing())[:_AXES]
    affine[:_AXES, _AXES] = image.GetOrigin()[:_AXES]
    return sitk.GetArrayFromImage(image), affine @ _REVERSED, components == _AXES


def _common_dtype(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of a dtype that both libraries know: no booleans, no half precision."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _is_orthogonal(affine: NDArray[np.float64]) -> bool:
    """Return whether a rotation can say it (a qform); a sheared stack with gantry tilt cannot."""
    axes = affine[:_AXES, :_AXES] / np.linalg.norm(affine[:_AXES, :_AXES], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(_AXES)).max() < _ORTHOGONAL)


def _library(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DicomError(f"{name} is not installed: pip install 'dicomnode-host[{extra}]'") from error


__all__ = ["from_nibabel", "from_sitk", "to_nibabel", "to_sitk"]
