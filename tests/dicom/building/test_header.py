"""Series headers: a blueprint made real for one set of sources."""

import copy
import datetime as dt

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.blueprint.sequence_element import SequenceElement
from dicomnode.dicom.blueprints import derived_image_blueprint
from dicomnode.dicom.building.header import make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CallElement,
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    SeriesElement,
    StaticElement,
)
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import MissingTagsError
from sources import ct_slices, mr_slices


def instances(header):
    total = len(header.sources)
    return [
        header.instance(InstanceEnvironment(index, index + 1, source, total=total))
        for index, source in enumerate(header.sources)
    ]


@pytest.mark.parametrize("sources", [ct_slices(), mr_slices()], ids=["CT", "MR"])
def test_a_derived_series_lies_where_its_source_lies(sources):
    """Patient, study, class and each slice's position come from the source."""
    results = instances(make_header(None, derived_image_blueprint, sources))
    for result, source in zip(results, sources, strict=True):
        for keyword in (
            "PatientID",
            "StudyInstanceUID",
            "SOPClassUID",
            "PixelSpacing",
            "ImagePositionPatient",
        ):
            assert result[keyword].value == source[keyword].value
        assert "SOPInstanceUID" not in result
        assert "PixelData" not in result


def test_handles_on_disk_make_the_same_header(tmp_path):
    """A LazyDataset serves as a source as well as a dataset in memory, indexed or not."""
    sources = ct_slices()
    handles = []
    for number, source in enumerate(sources):
        path = tmp_path / f"{number}.dcm"
        source.save_as(path)
        index = {
            0x00100020: str(source.PatientID),
            0x00200032: [float(x) for x in source.ImagePositionPatient],
        }
        handles.append(LazyDataset(path, index))
    equipment = Equipment(moment=dt.datetime(2026, 1, 2))
    for blueprint, strategy in (
        (derived_image_blueprint, FillingStrategy.DISCARD),
        (Blueprint(), FillingStrategy.COPY),
    ):
        made = [
            instances(make_header(None, blueprint, given, filling_strategy=strategy, equipment=equipment))
            for given in (sources, handles)
        ]
        assert made[0] == made[1]


def test_everything_missing_is_reported_at_once_by_keyword():
    """Tags of the source, attributes of the factory, nested ones: one error names them all."""
    blueprint = Blueprint(
        [
            CopyElement("PatientID"),
            CopyElement("StudyID", optional=True),
            InstanceCopyElement("SliceLocation"),
            AttrElement("SeriesDescription", "title"),
            SequenceElement("RequestAttributesSequence", Blueprint([CopyElement("AccessionNumber")])),
        ],
        name="mine",
    )
    with pytest.raises(MissingTagsError) as caught:
        make_header(None, blueprint, [Dataset()])
    expected = {
        "PatientID",
        "SliceLocation",
        "SeriesDescription",
        "RequestAttributesSequence.AccessionNumber",
    }
    assert set(caught.value.keywords) == expected
    assert all(keyword in str(caught.value) for keyword in (*expected, "mine"))


def test_what_instances_lack_is_reported_at_once():
    """Producers that find no source are gathered for the instance."""
    blueprint = Blueprint([InstanceCopyElement("SliceLocation"), InstanceCopyElement("AcquisitionTime")])
    header = make_header(None, blueprint, ct_slices())
    with pytest.raises(MissingTagsError, match="instance 7 of 9") as caught:
        header.instance(InstanceEnvironment(6, 7, None, total=9))
    assert set(caught.value.keywords) == {"SliceLocation", "AcquisitionTime"}


def test_what_the_factory_supplies_is_not_asked_for():
    """A factory that knows the position itself has the producer skipped."""
    header = make_header(None, derived_image_blueprint, ct_slices())
    supplied = {element.tag for element in header.producers if element.tag == 0x00200032}
    result = header.instance(InstanceEnvironment(0, 1, None, total=1), supplied=supplied)
    assert "ImagePositionPatient" not in result


def test_instances_share_nothing():
    """Changing one result changes neither its neighbour, nor the header, nor a source."""
    sources = ct_slices()
    before = copy.deepcopy(sources)
    header = make_header(None, derived_image_blueprint, sources)
    first, second = instances(header)[:2]
    first.ContributingEquipmentSequence[0].Manufacturer = "changed"
    first.ImagePositionPatient[0] = 999
    first.PatientName = "changed"
    assert second.ContributingEquipmentSequence[0].Manufacturer != "changed"
    assert second.PatientName != "changed"
    assert sources == before
    assert instances(header)[0].ImagePositionPatient == before[0].ImagePositionPatient


def test_private_blocks_of_instances_are_their_own():
    """What is written to a block of one instance reaches neither another nor the header."""
    item = Blueprint([StaticElement(PrivateTag(0x0029, 1, "ACME"), "item", VR="LO")])
    blueprint = Blueprint(
        [
            StaticElement(PrivateTag(0x0029, 1, "ACME"), "root", VR="LO"),
            SequenceElement("RequestAttributesSequence", item),
        ]
    )
    header = make_header(None, blueprint, ct_slices())
    first, second = instances(header)[:2]
    for dataset in (first, first.RequestAttributesSequence[0]):
        dataset.private_block(0x0029, "ACME")[1].value = "changed"
    for dataset in (second, header.shared):
        assert dataset.private_block(0x0029, "ACME")[1].value == "root"
        assert dataset.RequestAttributesSequence[0].private_block(0x0029, "ACME")[1].value == "item"


def test_one_blueprint_serves_many_patients():
    """A blueprint of a module remembers nothing of the last patient."""
    blueprint = Blueprint([CopyElement("PatientName", default=None), CopyElement("PatientID", optional=True)])
    first, second = Dataset(), Dataset()
    first.PatientName, first.PatientID, second.PatientName = "First^Patient", "1", "Second^Patient"
    assert make_header(None, blueprint, [first]).shared.PatientID == "1"
    shared = make_header(None, blueprint, [second]).shared
    assert shared.PatientName == "Second^Patient"
    assert "PatientID" not in shared


def test_a_series_element_is_called_once_and_a_call_element_for_each():
    """How often the functions of a blueprint are called."""
    series, calls = [], []
    blueprint = Blueprint(
        [
            SeriesElement("SeriesDescription", lambda: series.append(1) or "x"),
            CallElement(
                "InstanceNumber", lambda instance: calls.append(instance) or instance.instance_number
            ),
        ]
    )
    results = instances(make_header(None, blueprint, ct_slices()))
    assert len(series) == 1
    assert [result.InstanceNumber for result in results] == [1, 2, 3, 4, 5]
    assert calls[0].header is not None


def test_private_elements_go_into_their_creators_block():
    """Two creators in one group get two blocks, and each is reserved (PS3.5 section 7.8.1)."""
    blueprint = Blueprint(
        [
            StaticElement(PrivateTag(0x0029, 1, "ALPHA"), "a", VR="LO"),
            CallElement(PrivateTag(0x0029, 1, "BETA"), lambda instance: str(instance.index), VR="LO"),
        ]
    )
    result = instances(make_header(None, blueprint, ct_slices()))[3]
    assert result.private_block(0x0029, "ALPHA")[1].value == "a"
    assert result.private_block(0x0029, "BETA")[1].value == "3"


def test_discard_leaves_out_what_the_source_has():
    """Only what the blueprint says is in the result; defaults can be discarded too."""
    blueprint = Blueprint([CopyElement("PatientID"), DiscardElement("ContributingEquipmentSequence")])
    shared = make_header(None, blueprint, ct_slices()).shared
    assert "PatientID" in shared
    assert "StudyInstanceUID" not in shared
    assert "ContributingEquipmentSequence" not in shared


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        (None, "Doe^Jane", None),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO_IR 100", "Łukasz^Żak", "ISO_IR 192"),
        (None, "Müller^Jörg", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "ISO_IR 192"),
    ],
)
def test_the_character_set_holds_every_text(declared, name, expected):
    """The source's character set is kept where it can be, else UTF-8 is declared (PS3.3 C.12.1.1.2)."""
    source = Dataset()
    if declared is not None:
        source.SpecificCharacterSet = declared
    header = make_header(None, Blueprint([StaticElement("PatientName", name)]), [source])
    assert header.shared.get("SpecificCharacterSet") == expected


def test_the_character_set_also_holds_what_an_instance_adds():
    """A producer's text may need more than the shared texts did."""
    blueprint = Blueprint([CallElement("ImageComments", lambda instance: "ω" * instance.index)])
    header = make_header(None, blueprint, ct_slices())
    assert [r.SpecificCharacterSet for r in instances(header)] == ["ISO_IR 100"] + ["ISO_IR 192"] * 4
