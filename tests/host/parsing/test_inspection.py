"""Index values and the checks above the structure."""

from __future__ import annotations

import zlib

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicomnode.host.parsing.inspection import InspectionLimits, RefusedDataSetError, inspect
from dicomnode.host.parsing.statuses import Status
from dicomnode.host.parsing.structure import BytesSource
from receiving import encoded, small_dataset


def index(dataset: Dataset, *tags: int, syntax: str = ExplicitVRLittleEndian) -> list[object]:
    data = encoded(dataset, syntax)
    found = inspect(BytesSource(data), 0, len(data), syntax, frozenset(tags))
    return [found.get(tag, "absent") for tag in tags]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2"])
def test_values_are_plain_json(syntax: str) -> None:
    """Numbers are numbers, several values are a list, an empty one is None, bulk is left out."""
    dataset = small_dataset(
        ImagePositionPatient=[1.5, -2, 3], InstanceNumber=7, PatientBirthDate="", AccessionNumber=" A1 "
    )
    dataset.FrameIncrementPointer = [0x00181063, 0x00181065]
    dataset.ImageType = ["ORIGINAL", "", "M"]
    tags = 0x00200032, 0x00200013, 0x00100030, 0x00080050, 0x00280009, 0x00080008, 0x00280010, 0x7FE00010
    assert index(dataset, *tags, syntax=syntax) == [
        [1.5, -2.0, 3.0],
        7,
        None,
        "A1",
        [0x00181063, 0x00181065],
        ["ORIGINAL", None, "M"],
        64,
        "absent",
    ]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Äneas^Ö"),
        ("ISO_IR 192", "Ærø^山田"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
    ],
)
def test_text_is_decoded_with_its_character_set(charset: str | list[str], name: str) -> None:
    """PS3.5 section 6.1.2, single byte, multi byte and code extensions."""
    dataset = small_dataset()
    dataset.SpecificCharacterSet = charset
    dataset.PatientName = name
    assert index(dataset, 0x00100010) == [name]


def test_an_unknown_character_set_does_no_harm(recwarn: pytest.WarningsRecorder) -> None:
    """What is not known is read as the default repertoire, and nobody is warned with its value."""
    data = encoded(small_dataset(PatientID="ABC")).replace(b"ISO_IR 100", b"\x1b[31mEVIL\n")
    found = inspect(BytesSource(data), 0, len(data), ExplicitVRLittleEndian, frozenset({0x00100020}))
    assert found[0x00100020] == "ABC"
    assert not recwarn.list


def test_numbers_that_are_none_stay_text() -> None:
    """A decimal string that is no number is not invented."""
    data = encoded(small_dataset(InstanceNumber="12345"))
    data = data.replace(b"12345 ", b"1x\\+7 ")
    found = inspect(BytesSource(data), 0, len(data), ExplicitVRLittleEndian, frozenset({0x00200013}))
    assert found[0x00200013] == ["1x", 7]


def refused(data: bytes, syntax: str = ExplicitVRLittleEndian, **options: object) -> int:
    with pytest.raises(RefusedDataSetError) as caught:
        inspect(BytesSource(data), 0, len(data), syntax, frozenset(), **options)  # type: ignore[arg-type]  # options by name
    assert len(caught.value.response.comment or "") > 5
    return caught.value.response.status


def test_another_class_or_instance_than_announced() -> None:
    """The request's SOP class and instance must be the data set's."""
    dataset = small_dataset()
    data = encoded(dataset)
    assert refused(data, expected=("1.2", dataset.SOPInstanceUID)) == Status.DATA_SET_MISMATCH
    assert refused(data, expected=(dataset.SOPClassUID, "1.2")) == Status.OTHER_INSTANCE


def test_a_uid_that_is_a_path_is_refused() -> None:
    """UIDs have digits and dots."""
    data = encoded(small_dataset(SOPInstanceUID="1.2.3.4.5.6.7"))
    assert refused(data.replace(b"1.2.3.4.5.6.7\0", b"../../etc/pass")) == Status.UID_MISSING


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_deflated_data_sets_are_bounded() -> None:
    """A data set that inflates to too much is refused; one that does not is read; one cut off is refused."""
    data = deflate(encoded(small_dataset(SOPInstanceUID="1.2.3")))
    limits = InspectionLimits(inflated=1_000_000)
    syntax = DeflatedExplicitVRLittleEndian
    assert inspect(BytesSource(data), 0, len(data), syntax, frozenset(), limits)[0x00080018] == "1.2.3"
    assert refused(data[:-8], syntax) == Status.UNREADABLE
    assert refused(deflate(bytes(50_000_000)), syntax, limits=limits) == Status.INFLATED_TOO_LONG
    assert refused(b"\xff" * 100, syntax) == Status.UNREADABLE


def test_an_image_cut_between_elements_is_refused() -> None:
    """Wherever an image ends between two of its elements, it is refused, also before its Rows."""
    dataset = small_dataset()
    tags = list(dataset.keys())
    for last in [tag for tag in tags if tag <= 0x7FE00010]:
        cut = Dataset()
        cut.update({tag: dataset[tag] for tag in tags if tag < last})
        data = encoded(cut)
        assert refused(data) in {Status.UID_MISSING, Status.PIXELS_INCOMPLETE}


@pytest.mark.parametrize("digits", [1, 13, 400, 5000])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "YBR_PARTIAL_420"])
def test_a_number_of_frames_of_any_length_is_a_number(digits: int, photometric: str) -> None:
    """Numbers beyond what Python converts to an integer or a float mean that the pixels are incomplete."""
    dataset = small_dataset(PhotometricInterpretation=photometric, SamplesPerPixel=3)
    dataset.add(DataElement(0x00280008, "UT", "9" * digits))
    assert refused(encoded(dataset)) == Status.PIXELS_INCOMPLETE
    dataset = small_dataset()
    dataset.add(DataElement(0x00280008, "UT", "0" * digits + "1"))
    assert index(dataset, 0x00280010) == [64]


@pytest.mark.parametrize(
    ("sop_class", "keyword", "value"),
    [
        ("1.2.840.10008.5.1.4.1.1.30", "FloatPixelData", bytes(64 * 64 * 4)),
        ("1.2.840.10008.5.1.4.1.1.30", "DoubleFloatPixelData", bytes(64 * 64 * 8)),
        ("1.2.840.10008.5.1.4.1.1.4.2", "SpectroscopyData", bytes(200_000)),
        ("1.2.840.10008.5.1.4.1.1.4", "PixelDataProviderURL", "https://example.invalid/pixels"),
    ],
)
def test_other_data_may_stand_in_for_pixels(sop_class: str, keyword: str, value: object) -> None:
    """Float pixels, spectra, and pixels that are to be fetched elsewhere need no PixelData."""
    dataset = small_dataset(SOPClassUID=sop_class, **{keyword: value})
    del dataset.PixelData
    assert index(dataset, 0x00280010) == [64]


def test_what_is_no_image_needs_no_pixels() -> None:
    """A document without rows and pixels is taken."""
    dataset = small_dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    assert index(dataset, 0x00280010) == ["absent"]
