"""Single-frame instances of a series."""

import numpy as np
import pytest

from built_results import CT, FACTORY, MR, build, header_of
from dicomnode.dicom import blueprints
from dicomnode.dicom.elements.standard_elements import CallElement
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.errors import BlueprintError
from sources import ct_slices


def test_four_axes_are_time_points():
    """Instances run time point after time point, and are told apart when read back."""
    array = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    built = build(array, MR)
    assert [image.TemporalPositionIdentifier for image in built] == [1, 1, 2, 2, 3, 3]
    assert {image.NumberOfTemporalPositions for image in built} == {3}
    back = NumpyGrinder()(built)
    assert (back.array == array).all()
    assert len(back.time_points) == 3


def test_four_axes_of_an_iod_without_time_are_told_apart_by_number():
    """A CT has no TemporalPositionIdentifier: the instance numbers run on."""
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    back = NumpyGrinder()(build(array, CT))
    assert (back.array == array).all()


def test_an_element_that_names_every_instance_alike_is_refused():
    """Two instances under one UID would be one at the PACS."""
    mine = blueprints.ct_blueprint + CallElement("SOPInstanceUID", lambda _: "1.2.3")
    with pytest.raises(BlueprintError, match="1 of 2 instances a SOPInstanceUID that another one has"):
        build(np.zeros((2, 4, 5)), header_of(mine))


def test_building_changes_neither_sources_nor_header():
    """The same header makes another series afterwards, and sources stay as they were read."""
    sources = ct_slices()
    header = FACTORY.make_header(blueprints.ct_blueprint, sources)
    before = [source.to_json() for source in sources], header.shared.to_json()
    first = build(np.zeros((2, 4, 5)), header)
    first[0].PatientName = "Changed"
    first[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    assert ([source.to_json() for source in sources], header.shared.to_json()) == before
    assert first[1].PatientName != "Changed"
