"""Built series: datasets on demand, and bytes that are those which pydicom writes."""

import copy

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from built_results import AFFINE, FACTORY
from dicomnode.dicom import blueprints
from dicomnode.dicom.building.built_series import encode_series
from dicomnode.dicom.building.header import FillingStrategy
from dicomnode.dicom.elements.standard_elements import CallElement, StaticElement
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import PrivateTag
from sources import ct_slices, mr_slices, pet_slices


def build(name="ct", sources=ct_slices, shape=(3, 5, 5), extra=(), dtype=np.float32, **options):
    blueprint = getattr(blueprints, f"{name}_blueprint")
    for element in extra:
        blueprint = blueprint + element
    header = FACTORY.make_header(blueprint, sources(), **options)
    values = (np.arange(np.prod(shape)).reshape(shape) % 200).astype(dtype)
    return FACTORY.build_series(
        header,
        Volume(values, AFFINE, colour=shape[-1] == 3),
        source_matching=None if shape[-1] == 3 else "geometry",
    )


def written(dataset):
    file = DicomBytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


CASES = {
    "ct": {},
    "ct of one slice": {"shape": (1, 5, 5)},
    "mr": {"name": "mr", "sources": mr_slices},
    "mr over time": {"name": "mr", "sources": mr_slices, "shape": (2, 3, 5, 5)},
    "pet": {"name": "pet", "sources": pet_slices},
    "bytes of odd length": {"name": "secondary_capture", "dtype": np.uint8},
    "colour of odd length": {"name": "secondary_capture", "dtype": np.uint8, "shape": (3, 5, 5, 3)},
    "enhanced": {"name": "enhanced_ct"},
    "dose": {"name": "rt_dose"},
    "map of floats": {"name": "parametric_map"},
    "map of doubles": {"name": "parametric_map", "dtype": np.float64},
    "everything copied": {"filling_strategy": FillingStrategy.COPY},
    "text in another script": {"extra": [StaticElement("SeriesDescription", "Überblick 画像")]},
    "one slice in another script": {
        "extra": [CallElement("ImageComments", lambda e: "画像" if e.index == 1 else "plain")]
    },
    "private elements": {
        "extra": [
            StaticElement(PrivateTag(0x0029, 0x01, "ACME 1.0"), "x", VR="LO"),
            CallElement(PrivateTag(0x0029, 0x02, "ACME 1.0"), lambda e: e.index, VR="IS"),
            CallElement(PrivateTag(0x0031, 0x02, "OTHER"), lambda e: str(e.index), VR="LT"),
        ]
    },
    "an element that only some have": {
        "extra": [CallElement("ImageComments", lambda e: None if e.index else "first")]
    },
    "elements behind the pixels": {
        "extra": [
            StaticElement(PrivateTag(0x7FE1, 0x01, "ACME 1.0"), b"ab", VR="OB"),
            CallElement(PrivateTag(0x7FE1, 0x02, "ACME 1.0"), lambda e: str(e.index), VR="LO"),
        ]
    },
}


@pytest.mark.parametrize("case", CASES)
def test_encoded_instances_are_what_pydicom_writes(case):
    """Byte for byte, whether or not anybody asked for the dataset before."""
    built = build(**CASES[case])
    asked = copy.deepcopy(built)
    expected = [written(dataset) for dataset in asked]
    assert [bytes(item) for item in encode_series(built)] == expected
    assert [bytes(item) for item in encode_series(asked)] == expected
    assert [item.size for item in encode_series(built)] == [len(file) for file in expected]


def test_an_encoded_instance_says_what_it_is():
    """SOP class, instance and transfer syntax, without decoding."""
    built = build()
    for item, dataset in zip(encode_series(built), built, strict=True):
        assert item.SOPClassUID == dataset.SOPClassUID
        assert item.SOPInstanceUID == dataset.SOPInstanceUID
        assert item.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID


def test_pixels_are_not_copied_to_be_encoded():
    """The bytes are views of the stored array."""
    built = build()
    parts = built.encode(0).parts
    assert any(
        isinstance(part, memoryview) and np.shares_memory(np.asarray(part), built._pixels) for part in parts
    )


def test_datasets_are_made_once_and_can_be_changed():
    """A change is seen by the next reader and in the bytes, and by no other instance."""
    built = build()
    built[1].SeriesDescription = "changed"
    assert built[1].SeriesDescription == "changed"
    assert built[0].SeriesDescription != "changed"
    read = [dcmread(DicomBytesIO(bytes(item))) for item in encode_series(built)]
    assert [image.SeriesDescription == "changed" for image in read] == [False, True, False]


def test_private_blocks_of_datasets_are_their_own():
    """What is written to a private block of one instance reaches no other, and not what they share."""
    built = build(extra=[StaticElement(PrivateTag(0x0029, 0x01, "ACME 1.0"), "x", VR="LO")])
    built[1].private_block(0x0029, "ACME 1.0")[0x01].value = "changed"
    built[1].private_block(0x0029, "ACME 1.0").add_new(0x02, "LO", "more")
    read = [dcmread(DicomBytesIO(bytes(item))) for item in encode_series(built)]
    values = [
        [element.value for element in image if element.tag in (0x00291001, 0x00291002)] for image in read
    ]
    assert values == [["x"], ["changed", "more"], ["x"]]


def test_it_is_a_sequence():
    """Length, negative indices, slices, iteration, and an error past the end."""
    built = build()
    assert len(built) == 3
    assert built[-1] is built[2]
    assert built[1:] == [built[1], built[2]]
    assert next(iter(built)) is built[0]
    assert "3 x 5 x 5" in repr(built)
    with pytest.raises(IndexError):
        built[3]
    with pytest.raises(IndexError):
        built.encode(3)


def test_any_datasets_can_be_encoded():
    """What another library built goes the same way, through pydicom."""
    sources = ct_slices()[:2]
    assert [bytes(item) for item in encode_series(sources)] == [written(source) for source in sources]
    assert isinstance(sources[0], Dataset)


def test_pixels_on_disk_are_not_held_after_they_were_written(tmp_path):
    """Of data sets whose pixels are in files, one instance's at a time is in memory."""
    handles = []
    for image in ct_slices():
        dcmwrite(tmp_path / f"{image.SOPInstanceUID}.dcm", image, enforce_file_format=True)
        handles.append(LazyDataset(tmp_path / f"{image.SOPInstanceUID}.dcm"))
    for count, instance in enumerate(encode_series(handles), 1):
        assert dcmread(DicomBytesIO(b"".join(instance.parts))).PixelData
        held = [not each.get_item("PixelData").released for each in handles[:count]]
        assert held == [False] * count
