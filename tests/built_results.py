"""Series built from arrays, for the tests of building."""

import numpy as np

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from sources import ct_slices, mr_slices, pet_slices

AFFINE = np.array([[0, 0, 0.7, -100.0], [0, 0.8, 0, -90.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1]])
"""Of an axial volume of its own grid: 2.5 mm slices of 0.8 x 0.7 mm."""
FACTORY = NumpyFactory()


def header_of(blueprint="ct", sources=ct_slices, **options):
    """Return the header that a blueprint, or a ready-made one of that name, makes of sources."""
    if isinstance(blueprint, str):
        blueprint = getattr(blueprints, f"{blueprint}_blueprint")
    return FACTORY.make_header(blueprint, sources(), **options)


CT, MR, PET = header_of(), header_of("mr", mr_slices), header_of("pet", pet_slices)
CAPTURE = header_of("secondary_capture")
MAP = header_of("parametric_map", mr_slices)


def build(array, header=CT, **options):
    """Return the series of an array that lies where ``AFFINE`` says."""
    return FACTORY.build_series(header, Volume(array, AFFINE), **options)


def read_back(array, header=CT, **options):
    """Return what is read of the series of an array."""
    return NumpyGrinder(dtype=np.float64)(build(array, header, **options)).array
