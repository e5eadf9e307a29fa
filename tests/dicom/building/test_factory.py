"""Factories: headers sorted by geometry, and data sets without pixels."""

import random

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.building.factory import DicomFactory
from dicomnode.dicom.elements.standard_elements import AttrElement, CopyElement, StaticElement
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.errors import MissingTagsError
from sources import ct_slices


class Documents(DicomFactory):
    """A factory of no pixels."""

    title = "Report"

    def build_series(self, header, data):
        return [self.build(header.blueprint)] * len(data)


FACTORY = Documents()


def test_a_header_has_its_sources_in_geometric_order():
    """Whatever order they came in, with the stack that they were sorted into."""
    sources = ct_slices()
    random.Random(1).shuffle(sources)
    header = FACTORY.make_header(blueprints.ct_blueprint, iter(sources))
    heights = [source.ImagePositionPatient[2] for source in header.sources]
    assert heights == sorted(heights)
    assert header.stack is not None
    assert header.stack.images == header.sources
    assert header.factory is FACTORY


def test_a_header_needs_no_sources():
    """A document from nothing."""
    header = FACTORY.make_header(Blueprint([StaticElement("PatientID", "1")]), [])
    assert (header.sources, header.stack) == ((), None)
    assert header.shared.PatientID == "1"


def test_options_reach_the_header():
    """UIDs, equipment and filling strategy; UIDs are random where none are given."""
    uids, equipment = UIDSource.derived("job"), Equipment("smooth")
    header = FACTORY.make_header(
        Blueprint(), ct_slices(), uids=uids, equipment=equipment, filling_strategy=FillingStrategy.COPY
    )
    assert (header.uids, header.equipment) == (uids, equipment)
    assert "StudyInstanceUID" in header.shared
    assert FACTORY.make_header(Blueprint(), []).uids is not None


def test_a_built_data_set_has_new_uids_and_file_meta():
    """Instance and series are new, the rest is what the blueprint says (PS3.10 section 7.1)."""
    source = ct_slices()[0]
    blueprint = blueprints.pdf_blueprint(b"%PDF-1.4 x") + AttrElement("DocumentTitle", "title")
    built = FACTORY.build(blueprint, source, uids=UIDSource.derived("job"))
    again = FACTORY.build(blueprint, source, uids=UIDSource.derived("job"))
    assert built.DocumentTitle == "Report"
    assert built.StudyInstanceUID == source.StudyInstanceUID
    assert built.SOPInstanceUID == again.SOPInstanceUID != source.SOPInstanceUID
    assert built.SeriesInstanceUID == again.SeriesInstanceUID != source.SeriesInstanceUID
    assert built.file_meta.MediaStorageSOPClassUID == EncapsulatedPDFStorage
    assert built.InstanceNumber == 1


def test_a_data_set_without_a_sop_class_is_a_start():
    """It has UIDs, and no file meta information that would name a class."""
    built = FACTORY.build(Blueprint([StaticElement("InstanceNumber", 9)]))
    assert built.InstanceNumber == 9
    assert built.SOPInstanceUID
    assert not hasattr(built, "file_meta")


def test_what_a_source_lacks_is_reported():
    """By keyword."""
    with pytest.raises(MissingTagsError, match="PatientID"):
        FACTORY.build(Blueprint([CopyElement("PatientID")]), Dataset())


def test_a_factory_says_how_data_become_instances():
    """One that does not cannot be made."""
    with pytest.raises(TypeError, match="build_series"):
        type("Empty", (DicomFactory,), {})()
