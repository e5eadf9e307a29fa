"""What a host's configuration may say in place of a pipeline's class."""

from __future__ import annotations

import re
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, Rules
from dicomnode.plugins.declared_tables import DeclaredPipeline


class Some(AbstractPipeline):
    """A pipeline that says nothing."""

    inputs = {"images": AbstractInput}

    def process(self, inputs: object) -> NoOutput:
        """Do nothing."""
        return NoOutput()


def configured(**table: Any) -> ConfiguredPipeline:
    """Return the pipeline as a table configures it."""
    return ConfiguredPipeline(
        name="some",
        pipeline=Some(),
        ae_title="SOME",
        destinations=(),
        table=PipelineTable(**table),
        registration=SimpleNamespace(name="some", distribution="some", version="1"),  # type: ignore[arg-type]  # as much of it as is looked at
    )


OTHERWISE: dict[str, Any] = {
    "trigger": "quiet",
    "quiet": 7.0,
    "expires": 8.0,
    "late_images": "join",
    "sorts_before_answer": False,
    "timeout": 9.0,
    "memory": 10,
    "disk": 11,
    "concurrency": 12,
    "in_order": True,
    "priority": 13,
    "resources": {"gpu": 1},
    "iod_check": "block",
}


@pytest.mark.parametrize("name", [each.name for each in fields(Rules)])
def test_every_rule_of_a_class_can_be_set_for_one_host(name: str) -> None:
    """The table's word holds; where it says nothing, the class's."""
    assert getattr(configured().rules, name) == getattr(Some, name) != OTHERWISE[name]
    assert getattr(configured(**{name: OTHERWISE[name]}).rules, name) == OTHERWISE[name]


def test_the_docstring_says_what_can_be_set() -> None:
    """Rules, what a declaration changes, and what is the author's alone make up all attributes."""
    text = AbstractPipeline.__doc__ or ""
    told = re.search(r"``ae_title``, and what says(.*?)author's alone", text, re.DOTALL)
    assert told is not None
    settable, declared, alone = " ".join(told[1].split()).split(". ")
    known = {name for name in AbstractPipeline.__annotations__ if name != "ae_title"}
    words = [set(re.findall(r"``(\w+)``", text)) for text in (settable, declared, alone)]
    assert words[0] == {each.name for each in fields(Rules)}
    assert words[1] <= set(DeclaredPipeline.model_fields)
    assert set().union(*words) == known
