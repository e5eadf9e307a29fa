"""Declarative blueprints: elements by name, ready-made bases, and what is wrong by its key."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints import secondary_capture_blueprint
from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import ConfigurationError
from dicomnode.plugins.declared_blueprint import declared_blueprint
from dicomnode.plugins.declared_tables import BlueprintTable
from dicomnode.plugins.registry import Registry
from plugin_factory import PluginFactory

ELEMENTS = """
from dicomnode import VirtualElement

class Counted(VirtualElement):
    def __init__(self, tag, word="sources"):
        super().__init__(tag)
        self.word = word

    def corporealize(self, factory, sources):
        return self.element(f"{len(sources)} {self.word}")

def number(instance):
    return instance.instance_number
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Install a plugin that registers an element."""
    plugins = PluginFactory(tmp_path_factory.mktemp("plugins"))
    plugins.add("site_elements", ELEMENTS, pipelines={}, elements={"site-counted": "Counted"})
    with plugins.installed():
        yield Registry(only=["site_elements"])


def declared(registry: Registry, **table: Any) -> Blueprint:
    """Return the blueprint of a table."""
    return declared_blueprint(BlueprintTable.model_validate(table), registry)


def test_elements_go_by_name(registry: Registry) -> None:
    """Values are static; elements of the library and of plugins go by their entry points' names."""
    blueprint = declared(
        registry,
        base="ct",
        elements={
            "SeriesDescription": "Halved",
            "ImageComments": {"element": "site-counted", "word": "slices"},
            "BodyPartExamined": {"element": "copy", "optional": True},
        },
    )
    assert blueprint["SeriesDescription"] == StaticElement("SeriesDescription", "Halved")
    assert blueprint["BodyPartExamined"] == CopyElement("BodyPartExamined", optional=True)
    counted: Any = blueprint["ImageComments"]
    assert (type(counted).__name__, counted.word) == ("Counted", "slices")
    assert blueprint.SOPClassUID is not None
    assert blueprint.SOPClassUID.keyword == "CTImageStorage"
    assert "PatientID" in blueprint


@pytest.mark.parametrize("name", ["secondary_capture", "secondary-capture", "secondary_capture_blueprint"])
def test_a_ready_made_base(registry: Registry, name: str) -> None:
    """A blueprint of the library goes by its name, with or without the suffix."""
    assert declared(registry, base=name) == secondary_capture_blueprint


def test_a_sop_class(registry: Registry) -> None:
    """``SOPClassUID`` makes a blueprint whole that is put together of parts."""
    made = declared(registry, base="secondary_capture", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert made.SOPClassUID is not None
    assert made.SOPClassUID.keyword == "SecondaryCaptureImageStorage"


def test_elements_that_need_more_than_values(registry: Registry) -> None:
    """Sequences by items, private attributes by creator, functions by import, dates as TOML has them."""
    elements = {
        "AnatomicRegionSequence": {
            "element": "sequence",
            "items": [{"CodeValue": "12738006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Brain"}],
        },
        "(0029,xx01)": {"element": "static", "private_creator": "ACME 1.0", "value": "x", "VR": "LO"},
        "InstanceNumber": {"element": "call", "function": {"import": "site_elements:number"}},
        "StudyDate": datetime.date(2026, 1, 2),
        "0010,0010": "Anonymous",
    }
    blueprint: Any = declared(registry, elements=elements)
    assert blueprint["AnatomicRegionSequence"].items[0]["CodeMeaning"].value == "Brain"
    assert blueprint[PrivateTag(0x29, 1, "ACME 1.0")].value == "x"
    assert blueprint["InstanceNumber"].function.__name__ == "number"
    assert blueprint["StudyDate"].value == "20260102"
    assert blueprint["PatientName"].value == "Anonymous"


FUNCTION = {"element": "call", "function": {"import": "site_elements:none"}}


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"base": "xray"}, "", "there is no ready-made blueprint 'xray'; there are: .*ct"),
        ({"base": "ct", "SOPClassUID": "MRImageStorage"}, "", "CT does not fit MR Image Storage"),
        ({"elements": {"Modality": {"element": 3}}}, ".elements.Modality", "say which element it is"),
        ({"elements": {"Modality": {"element": "none"}}}, ".elements.Modality", "no installed plugin"),
        ({"elements": {"NoSuchKeyword": "x"}}, ".elements.NoSuchKeyword", ""),
        ({"elements": {"StudyDate": "soon"}}, ".elements.StudyDate", ""),
        ({"elements": {"Modality": {"element": "copy", "when": 1}}}, ".elements.Modality", ".*when"),
        (
            {"elements": {"0029,xx01": {"element": "static"}}},
            ".elements.0029,xx01",
            "a private attribute needs",
        ),
        (
            {"elements": {"InstanceNumber": FUNCTION}},
            ".elements.InstanceNumber.function",
            "site_elements:none cannot be imported",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_by_its_key(
    registry: Registry, table: dict[str, Any], key: str, message: str
) -> None:
    """The message begins with the key that is wrong."""
    with pytest.raises(ConfigurationError, match=f"^{re.escape(f'blueprint{key}: ')}{message}"):
        declared(registry, **table)
