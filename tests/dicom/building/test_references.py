"""References of a result to what it was derived from."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import blueprints
from dicomnode.dicom.building.encoding import encode_element
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.building.references import (
    SourceElement,
    derivation_image_item,
    evidence_by_series,
    evidence_by_study,
)
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from sources import ct_slices, mr_slices


def test_a_result_without_a_source_slice_refers_to_all_sources():
    """A single picture of a whole series names every slice."""
    sources = ct_slices()
    header = make_header(None, blueprints.secondary_capture_blueprint, sources)
    result = header.instance(InstanceEnvironment(0, 1))
    assert len(result.SourceImageSequence) == len(sources)


def test_references_do_not_grow_with_the_square():
    """Where every instance would refer to every one of many sources, none does."""
    header = make_header(None, blueprints.secondary_capture_blueprint, ct_slices())
    assert "SourceImageSequence" not in header.instance(InstanceEnvironment(0, 1, total=2001))


def test_a_document_refers_to_instances_and_is_no_image():
    """A PDF has SourceInstanceSequence, and neither ImageType nor SourceImageSequence (PS3.3 A.45.1)."""
    sources = ct_slices()
    header = make_header(None, blueprints.pdf_blueprint(b"%PDF-1.4 x", "Report"), sources)
    result = header.instance(InstanceEnvironment(0, 1))
    assert len(result.SourceInstanceSequence) == len(sources)
    assert "ImageType" not in result
    assert "SourceImageSequence" not in result
    assert (len(result.EncapsulatedDocument), result.EncapsulatedDocumentLength) == (10, 10)


def test_a_frame_names_its_sources_with_a_code():
    """The derivation image macro always has a code, also when the author named none (PS3.3 C.7.6.16.2.6)."""
    item = derivation_image_item(ct_slices()[:1], None)
    assert item.DerivationCodeSequence[0].CodeValue == "110001"
    assert item.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def result_of(blueprint, sources):
    header = make_header(None, blueprint, sources)
    return header.instance(InstanceEnvironment(0, 1, sources[0], total=len(sources)))


def test_an_enhanced_image_lists_its_evidence_by_study_and_series():
    """SourceImageEvidenceSequence and ReferencedSeriesSequence name every source."""
    sources = mr_slices()
    result = result_of(blueprints.enhanced_mr_blueprint, sources)
    series = result.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0]
    expected = [source.SOPInstanceUID for source in sources]
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == expected
    listed = result.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == expected


def test_a_reference_has_the_same_bytes_prepared_and_produced():
    """What is encoded beforehand is what pydicom would make of the element."""
    source = ct_slices()[0]
    element = SourceElement("SourceImageSequence")
    environment = InstanceEnvironment(0, 1, source)
    ready = element.prepare(environment)
    assert ready is not None
    assert ready.encoded == encode_element(element.produce(environment), None, Dataset())
    assert ready.make() == element.produce(environment)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_a_source_without_identity_is_not_referred_to(keyword):
    """Neither beforehand nor later: there is nothing to name it by."""
    source = ct_slices()[0]
    del source[keyword]
    element, environment = SourceElement("SourceImageSequence"), InstanceEnvironment(0, 1, source)
    assert element.prepare(environment) is None
    assert element.produce(environment) is None


def test_evidence_is_listed_by_series_and_by_study():
    """Each source once, in its series and study (PS3.3 table 10-4, C.17.2.1); none without sources."""
    sources = [*ct_slices(), *mr_slices()]
    by_series, by_study = evidence_by_series(sources), evidence_by_study(sources)
    assert [len(item.ReferencedInstanceSequence) for item in by_series] == [5, 4]
    assert [item.StudyInstanceUID for item in by_study] == [
        sources[0].StudyInstanceUID,
        sources[5].StudyInstanceUID,
    ]
    assert [len(item.ReferencedSeriesSequence[0].ReferencedSOPSequence) for item in by_study] == [5, 4]
    assert evidence_by_series([]) is None
    assert evidence_by_study([Dataset()]) is None
