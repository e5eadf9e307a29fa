"""One data set through the profile."""

from __future__ import annotations

import datetime as dt
import io
import re
from pathlib import Path

import pydicom
import pytest
from dicomnode_anonymize import AnonymizeError, Anonymizer
from hypothesis import given
from hypothesis import strategies as st
from instances import DATE, SECRET, bare, code, ct, mr, wheel_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, SecondaryCaptureImageStorage

from conftest import KEY
from dicomnode import IdentityMapping, LazyDataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"


def anonymized(dataset: Dataset, *options: str, **more: object) -> Dataset:
    """De-identify with the key of the tests."""
    return Anonymizer(IdentityMapping(KEY), options, **more).anonymize(dataset)


def encoded(dataset: Dataset) -> bytes:
    """Return the file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_result_says_what_was_done() -> None:
    """PatientIdentityRemoved, method, codes and temporal information are written (PS3.15 section E.1.1)."""
    made = anonymized(ct(), "clean-graphics", "retain-longitudinal-modified-dates")
    assert made.PatientIdentityRemoved == "YES"
    assert made.DeidentificationMethod[0] == "DICOM PS3.15 2026d Basic Application Confidentiality Profile"
    assert all(len(each) <= 64 for each in made.DeidentificationMethod)
    codes = [
        (item.CodeValue, item.CodingSchemeDesignator) for item in made.DeidentificationMethodCodeSequence
    ]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113103", "DCM")]
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"


def test_a_second_time_adds_to_what_the_first_said() -> None:
    """De-identified again, the methods of both are there and no code twice."""
    first = anonymized(ct(DeidentificationMethod="by hand"), "clean-graphics")
    again = anonymized(first, "clean-descriptors")
    assert again.DeidentificationMethod[0] == "by hand"
    assert len(again.DeidentificationMethod) == 3
    codes = [item.CodeValue for item in again.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113105"]


def test_a_patient_is_one_patient() -> None:
    """Patient ID and name become one pseudonym, by number and issuer; without a number the name decides."""
    mapping = IdentityMapping(KEY)
    spelled_two_ways = [anonymized(ct(PatientName=name)) for name in ("Doe^J", "DOE^JANE")]
    assert {made.PatientID for made in spelled_two_ways} == {mapping.patient_id("1CT1")}
    assert {str(made.PatientName) for made in spelled_two_ways} == {mapping.patient_id("1CT1")}
    elsewhere = anonymized(ct(IssuerOfPatientID="B"))
    assert elsewhere.PatientID == mapping.patient_id("1CT1", "B") != mapping.patient_id("1CT1")
    assert "IssuerOfPatientID" not in elsewhere
    unnumbered = anonymized(ct(PatientID=""))
    assert unnumbered.PatientID == ""
    assert str(unnumbered.PatientName) == mapping.pseudonym("PatientName", "CompressedSamples^CT1")
    nobody = anonymized(ct(PatientID="", PatientName=""))
    assert not nobody.PatientID
    assert not nobody.PatientName


def test_uids_are_new_everywhere_and_still_refer() -> None:
    """One UID has one new UID: at the root, in references at any depth, in the file meta information."""
    target = ct()
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = CT_IMAGE, target.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = target.SeriesInstanceUID, [inner]
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = target.StudyInstanceUID, [series]
    source = ct(StudiesContainingOtherReferencedInstancesSequence=[study], SourceImageSequence=[inner])
    old = (target.StudyInstanceUID, target.SeriesInstanceUID, target.SOPInstanceUID)
    referring, referred = anonymized(source), anonymized(target)
    below = referring.StudiesContainingOtherReferencedInstancesSequence[0]
    assert below.StudyInstanceUID == referred.StudyInstanceUID != old[0]
    assert below.ReferencedSeriesSequence[0].SeriesInstanceUID == referred.SeriesInstanceUID != old[1]
    reference = below.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == referred.SOPInstanceUID != old[2]
    assert reference.ReferencedSOPClassUID == CT_IMAGE
    assert referring.SourceImageSequence[0].ReferencedSOPInstanceUID == referred.SOPInstanceUID
    assert referring.FrameOfReferenceUID == referred.FrameOfReferenceUID
    assert referring.file_meta.MediaStorageSOPInstanceUID == referring.SOPInstanceUID
    assert referring.SOPInstanceUID.is_valid


def test_uids_stay_when_asked() -> None:
    """With retain-uids they are as they were."""
    before = ct()
    made = anonymized(ct(), "retain-uids")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[keyword].value == before[keyword].value
    assert made.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID


def test_file_meta_and_preamble_say_nothing() -> None:
    """Who wrote, sent or received the file is gone; so is what was in front of it."""
    dataset = ct()
    dataset.preamble = b"SECRET IN PREAMBLE".ljust(128, b"x")
    dataset.file_meta.SourceApplicationEntityTitle = "SECRETAE"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = b"SECRET"
    file = encoded(anonymized(dataset))
    assert b"SECRET" not in file
    assert sorted(element.keyword for element in pydicom.dcmread(io.BytesIO(file)).file_meta) == [
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "ImplementationClassUID",
        "ImplementationVersionName",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
    ]


@given(
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)), st.integers(0, 4000), st.text("ABC123", min_size=1)
)
def test_dates_of_a_patient_move_together(date: dt.date, apart: int, patient: str) -> None:
    """Study, content and acquisition dates of one patient keep their distance, in all files and forms."""
    later = date + dt.timedelta(days=apart)
    options = ("retain-longitudinal-modified-dates",)
    one = anonymized(
        bare(CT_IMAGE, PatientID=patient, StudyDate=f"{date:%Y%m%d}", StudyTime="101112"), *options
    )
    other = anonymized(
        bare(CT_IMAGE, PatientID=patient, AcquisitionDateTime=f"{later:%Y%m%d}101112.5"), *options
    )

    def read(text: str) -> dt.date:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:8]))

    assert read(other.AcquisitionDateTime) - read(one.StudyDate) == later - date
    assert read(one.StudyDate) < date
    assert one.StudyTime == "101112"
    assert other.AcquisitionDateTime.endswith("101112.5")


def test_dates_with_and_without_options() -> None:
    """Emptied, kept in full, or moved; what is no date never stays; a birth date never does."""
    given_ = {"StudyDate": DATE, "SeriesDate": "someday", "PatientBirthDate": "19500101"}
    plain = anonymized(ct(**given_))
    assert (plain.StudyDate, plain.PatientBirthDate) == ("", "")
    assert "SeriesDate" not in plain
    full = anonymized(ct(**given_), "retain-longitudinal-full-dates")
    assert (full.StudyDate, full.PatientBirthDate) == (DATE, "")
    moved = anonymized(ct(**given_), "retain-longitudinal-modified-dates")
    assert moved.StudyDate not in ("", DATE)
    assert "SeriesDate" not in moved
    assert moved.PatientBirthDate == ""


def test_types_decide_between_dummy_and_removal() -> None:
    """What is mandatory in one IOD is removed in another (PS3.15 Table E.1-1a)."""
    enhanced = anonymized(bare(ENHANCED_CT, DeviceSerialNumber="SN 1", AcquisitionDateTime="20240101101112"))
    plain = anonymized(bare(CT_IMAGE, DeviceSerialNumber="SN 1", AcquisitionDateTime="20240101101112"))
    unknown = anonymized(bare("1.2.3.4.5", DeviceSerialNumber="SN 1"))
    mapping = IdentityMapping(KEY)
    assert enhanced.DeviceSerialNumber == mapping.pseudonym("DeviceSerialNumber", "SN 1")
    assert enhanced.AcquisitionDateTime == "19000101000000"
    assert "DeviceSerialNumber" not in plain
    assert "AcquisitionDateTime" not in plain
    assert unknown.DeviceSerialNumber == enhanced.DeviceSerialNumber


def test_private_unknown_and_group_length_elements_go() -> None:
    """At every level: private blocks, tags that no dictionary knows, retired group lengths."""
    item = code("1", "DCM", "x")
    item.private_block(0x0011, SECRET, create=True).add_new(1, "LO", SECRET)
    dataset = ct(AnatomicRegionSequence=[item])
    dataset.private_block(0x0019, SECRET, create=True).add_new(1, "PN", SECRET)
    dataset.add_new(0x00180000, "UL", 100)
    dataset.add_new(0x00189FFE, "LO", SECRET)
    made = anonymized(dataset)
    assert not [element for element in made.iterall() if element.tag.is_private or element.tag.element == 0]
    assert SECRET.encode() not in encoded(made)
    assert made.AnatomicRegionSequence[0].CodeValue == "1"


def test_safe_private_attributes_stay_when_asked() -> None:
    """Known ones, those that a site names and those that the data set declares; all others go."""
    dataset = ct()
    gems = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    gems.add_new(0x23, "DS", "5.0")  # table speed: in Table E.3.10-1
    gems.add_new(0x24, "DS", "6.0")
    gems.add_new(0x7F, "LO", SECRET)
    dataset.private_block(0x0029, "SITE", create=True).add_new(1, "LO", "kept")
    dataset.private_block(0x0029, "OTHER", create=True).add_new(1, "LO", SECRET)
    declared = dataset.private_block(0x0031, "DECLARED", create=True)
    declared.add_new(1, "LO", "harmless")
    declared.add_new(2, "LO", SECRET)
    says = Dataset()
    says.PrivateGroupReference, says.PrivateCreatorReference = 0x0031, "DECLARED"
    says.BlockIdentifyingInformationStatus, says.NonidentifyingPrivateElements = "MIXED", [1]
    dataset.PrivateDataElementCharacteristicsSequence = [says]
    made = anonymized(dataset, "retain-safe-private", safe_private=['(0029,"SITE",01)'])
    assert made.private_block(0x0019, "GEMS_ACQU_01")[0x23].value == 5
    assert made.private_block(0x0029, "SITE")[1].value == "kept"
    assert made.private_block(0x0031, "DECLARED")[1].value == "harmless"
    assert SECRET.encode() not in encoded(made)
    assert not anonymized(ct(), "retain-safe-private").group_dataset(0x0009)


def test_what_private_blocks_hold_is_looked_at() -> None:
    """UIDs in a safe private attribute are mapped, names go, sequences are walked."""
    dataset = ct()
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.PatientName = "1.2.3", SECRET
    block = dataset.private_block(0x0029, "SITE", create=True)
    block.add_new(1, "UI", "1.2.3")
    block.add_new(2, "SQ", [item])
    block.add_new(3, "PN", SECRET)
    made = anonymized(dataset, "retain-safe-private", safe_private=[f"0029,SITE,0{n}" for n in (1, 2, 3)])
    block = made.private_block(0x0029, "SITE")
    mapped = IdentityMapping(KEY).uid("1.2.3")
    assert block[1].value == mapped
    assert block[2].value[0].ReferencedSOPInstanceUID == mapped
    assert SECRET.encode() not in encoded(made)


def test_pixels_stay_as_they_are(tmp_path: Path) -> None:
    """Compressed pixels keep their bytes and transfer syntax, and are not read to get there."""
    path = wheel_file("MR_small_jp2klossless.dcm")
    before = pydicom.dcmread(path)
    image = LazyDataset(path)
    made = anonymized(image)
    assert made.get_item(0x7FE00010).released
    made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
    after = pydicom.dcmread(tmp_path / "made.dcm")
    assert after.PixelData == before.PixelData
    assert after.file_meta.TransferSyntaxUID == JPEG2000Lossless


def test_overlays_and_curves_go_with_all_that_describes_them() -> None:
    """No orphans are left; with clean-graphics regions of interest stay, drawings do not."""

    def with_graphics() -> Dataset:
        dataset = ct()
        for group, kind in ((0x6000, "G"), (0x6002, "R")):
            dataset.add_new((group, 0x0010), "US", 8)
            dataset.add_new((group, 0x0011), "US", 8)
            dataset.add_new((group, 0x0040), "CS", kind)
            dataset.add_new((group, 0x3000), "OW", b"\1" * 8)
        dataset.add_new((0x5000, 0x0010), "US", 8)
        dataset.add_new((0x5000, 0x3000), "OW", b"\1" * 8)
        return dataset

    def groups(dataset: Dataset) -> set[int]:
        return {tag.group for tag in list(dataset.keys()) if tag.group >> 8 in (0x50, 0x60)}

    assert groups(anonymized(with_graphics())) == set()
    assert groups(anonymized(with_graphics(), "clean-graphics")) == {0x6002}


def test_graphic_annotations() -> None:
    """Text drawn on an image becomes a dummy, or with the options its known words."""

    def state() -> Dataset:
        text = Dataset()
        text.UnformattedTextValue = f"left lung {SECRET}"
        text.BoundingBoxAnnotationUnits = "PIXEL"
        layer = Dataset()
        layer.GraphicLayer, layer.TextObjectSequence = "ONE", [text]
        return bare(PRESENTATION_STATE, GraphicAnnotationSequence=[layer])

    def text_of(dataset: Dataset) -> str:
        return dataset.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue

    assert text_of(anonymized(state())) == "REMOVED"
    assert text_of(anonymized(state(), "clean-graphics")) == "REMOVED"
    assert text_of(anonymized(state(), "clean-graphics", "clean-descriptors")) == "left lung"


def test_encapsulated_documents_are_replaced() -> None:
    """A PDF becomes an empty page, of another kind of document nothing is left."""
    pdf = bare("1.2.840.10008.5.1.4.1.1.104.1", MIMETypeOfEncapsulatedDocument="application/pdf")
    pdf.add_new("EncapsulatedDocument", "OB", b"%PDF-1.4 " + SECRET.encode() * 10)
    made = anonymized(pdf)
    assert made.EncapsulatedDocument.startswith(b"%PDF-1.4")
    offset = int(re.search(rb"startxref\n(\d+)", made.EncapsulatedDocument)[1])
    assert made.EncapsulatedDocument[offset:].startswith(b"xref")
    other = bare("1.2.840.10008.5.1.4.1.1.104.2", MIMETypeOfEncapsulatedDocument="text/XML")
    other.add_new("EncapsulatedDocument", "OB", SECRET.encode())
    assert anonymized(other).EncapsulatedDocument == b"\0\0"


def test_descriptions() -> None:
    """With clean-descriptors known words stay; where none is known it is as without the option."""
    given_ = {"StudyDescription": f"CT Thorax {SECRET}", "SeriesDescription": SECRET, "ProtocolName": SECRET}
    plain = anonymized(ct(**given_))
    assert not {"StudyDescription", "SeriesDescription"} & set(plain.dir())
    cleaned = anonymized(ct(**given_), "clean-descriptors")
    assert cleaned.StudyDescription == "CT Thorax"
    assert "SeriesDescription" not in cleaned
    assert anonymized(
        ct(StudyDescription="Siteword"), "clean-descriptors", vocabulary=["siteword"]
    ).StudyDescription


def test_the_patients_name_in_a_place_where_none_belongs() -> None:
    """Text of an unlisted attribute goes when it holds the patient's own name or number."""
    dataset = bare(
        CT_IMAGE, ImageID=f"of {SECRET}", PositionReferenceIndicator="4711-q", DetectorDescription="of x"
    )
    dataset.AnatomicRegionSequence = [code("1", "SCT", SECRET), code("1", "99OURS", SECRET)]
    made = anonymized(dataset)
    assert "ImageID" not in made
    assert made.get("PositionReferenceIndicator") in (None, "")
    assert made.DetectorDescription == "of x"
    assert [item.CodeMeaning for item in made.AnatomicRegionSequence] == [SECRET, "REMOVED"]


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100"])
def test_names_outside_of_ascii_are_found_too(charset: str) -> None:
    """The name is sought as it is written in the file's character set."""
    given_ = bare(
        CT_IMAGE, SpecificCharacterSet=charset, PatientName="Größmüller^Jörg", ImageID="GRÖSSMÜLLER"
    )
    given_.DetectorDescription, given_.PositionReferenceIndicator = "von Größmüller", "Jörg"
    made = anonymized(pydicom.dcmread(io.BytesIO(encoded(given_))))
    assert "DetectorDescription" not in made
    assert not made.get("PositionReferenceIndicator")
    assert "Größmüller".encode(pydicom.charset.python_encoding[charset]) not in encoded(made)


def test_addresses_of_the_original_go() -> None:
    """A URL under which the original can be fetched holds its UIDs; that of a coding scheme stays."""
    scheme = Dataset()
    scheme.CodingSchemeURL = "https://example.org/scheme"
    made = anonymized(
        bare(
            CT_IMAGE,
            RetrieveURL="https://pacs/1.2.3",
            CodingSchemeIdentificationSequence=[scheme],
        )
    )
    assert "RetrieveURL" not in made
    assert made.CodingSchemeIdentificationSequence[0].CodingSchemeURL == "https://example.org/scheme"


def test_identifiers_that_must_be_there_stay_apart() -> None:
    """A mandatory identifier becomes a pseudonym, so that two devices or specimens are still two."""
    made = [
        anonymized(bare(ENHANCED_CT, DeviceSerialNumber=number)).DeviceSerialNumber
        for number in ("1", "2", "1")
    ]
    assert made[0] == made[2] != made[1]
    title = anonymized(ct(StationAETitle="SCANNER3"), "retain-device-identity").StationAETitle
    assert len(title) == 16
    assert title != "SCANNER3"


def test_it_is_the_same_on_every_run_and_reversible_with_the_table_only(mapping: IdentityMapping) -> None:
    """Two runs give the same bytes; the mapping that remembers leads back, another one does not."""
    first, second = encoded(anonymized(mr())), encoded(anonymized(mr()))
    assert first == second
    made = Anonymizer(mapping).anonymize(mr())
    assert mapping.original("PatientID", made.PatientID) == "4MR1"
    assert mapping.original("UID", made.SOPInstanceUID) == mr().SOPInstanceUID
    with pytest.raises(KeyError):
        IdentityMapping(KEY).original("PatientID", made.PatientID)


def test_what_is_no_instance_is_refused_unchanged() -> None:
    """A DICOMDIR, a fragment, an image with burned-in text: an error that quotes no value."""
    directory = pydicom.dcmread(wheel_file("dicomdirtests/DICOMDIR"))
    with pytest.raises(AnonymizeError, match="DICOMDIR"):
        anonymized(directory)
    with pytest.raises(AnonymizeError, match="no instance"):
        anonymized(Dataset())
    burned = bare(SecondaryCaptureImageStorage, Rows=1, BurnedInAnnotation="YES", PatientComments=SECRET)
    with pytest.raises(AnonymizeError, match="BurnedInAnnotation is YES") as caught:
        anonymized(burned)
    assert SECRET not in str(caught.value)
    assert burned.PatientComments == SECRET


def test_flagged_images_say_so() -> None:
    """Images that are only flagged carry the mark in DeidentificationMethod."""
    burned = bare(SecondaryCaptureImageStorage, Rows=1)
    made = anonymized(burned, burned_in="flag")
    assert made.DeidentificationMethod[-1] == "pixels may hold burned-in text"
    head = anonymized(ct(BodyPartExamined="HEAD"))
    assert head.DeidentificationMethod[-1] == "pixels may show a recognizable face"
    with pytest.raises(AnonymizeError, match="show who it is"):
        anonymized(ct(BodyPartExamined="HEAD"), visual_features="refuse")
