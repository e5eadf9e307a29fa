"""Pipelines: what is checked of a class before any image arrives, and how settings are validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator
from pydicom.tag import Tag

from dicomnode import AbstractInput, AbstractPipeline, Blueprint, CopyElement, NoOutput
from dicomnode.errors import ConfigurationError, SettingsError


@dataclass(frozen=True)
class Width:
    """Settings as a dataclass."""

    sigma: float = 1.5


class Checked(BaseModel):
    """Settings as a pydantic model."""

    sigma: float = Field(1.5, gt=0)


class Images(AbstractInput):
    """Any image."""

    required_tags = ["PixelSpacing"]


def pipeline(**attributes: Any) -> type[AbstractPipeline]:
    """Return a pipeline's class."""
    return type(
        "Some",
        (AbstractPipeline,),
        {"inputs": {"images": Images}, "process": lambda s, i: NoOutput(), **attributes},
    )


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"inputs": {}}, "names no inputs"),
        ({"inputs": {"images": dict}}, "not a subclass of AbstractInput"),
        ({"header_input": "other"}, "its inputs are: images"),
        ({"alternatives": [("images", "other")]}, "alternatives names other"),
    ],
)
def test_a_class_that_cannot_work(attributes: dict[str, Any], words: str) -> None:
    """A definition that contradicts itself is told by name before anything arrives."""
    with pytest.raises(ConfigurationError, match=words):
        pipeline(**attributes).check_definition()


@pytest.mark.parametrize("kind", [Width, Checked])
def test_settings(kind: type) -> None:
    """Settings become an object of the pipeline's own class, with its defaults; a dataclass or a model."""
    some = pipeline(Settings=kind)
    assert some.validated_settings({"sigma": "2"}).sigma == 2.0
    assert some().settings.sigma == 1.5


@pytest.mark.parametrize("kind", [Width, Checked])
def test_wrong_settings(kind: type) -> None:
    """Each setting that is wrong or unknown is named."""
    some = pipeline(Settings=kind)
    with pytest.raises(ConfigurationError, match="sigma: "):
        some.validated_settings({"sigma": "wide"})
    with pytest.raises(ConfigurationError, match="width: unknown setting; Some has: sigma"):
        some.validated_settings({"width": 1})


class Even(BaseModel):
    """Settings with a check of their own."""

    size: int = 2

    @field_validator("size")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            msg = "it must be even"
            raise ValueError(msg)
        return value


def test_all_wrong_settings_are_told_at_once() -> None:
    """The unknown beside those with wrong values, in the author's words, without Python's."""
    with pytest.raises(SettingsError) as caught:
        pipeline(Settings=Even).validated_settings({"size": 3, "colour": 3})
    assert caught.value.problems == (
        (("colour",), "unknown setting; Some has: size"),
        (("size",), "it must be even"),
    )


def test_no_settings() -> None:
    """A pipeline without settings refuses any."""
    with pytest.raises(ConfigurationError, match="has: none"):
        pipeline().validated_settings({"sigma": 1})


def test_indexed_tags() -> None:
    """What sorting looks at is indexed: rules, what the blueprint copies, what is added."""
    own = pipeline(
        blueprint=Blueprint([CopyElement("StudyDate")]),
        index_also=["BodyPartExamined"],
    )
    wanted = {Tag(each) for each in ("PixelSpacing", "StudyDate", "BodyPartExamined")}
    assert own.indexed_tags() == wanted
    assert pipeline().indexed_tags() == {Tag("PixelSpacing")}
