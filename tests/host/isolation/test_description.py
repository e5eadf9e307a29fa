"""What the host knows of a pipeline that it does not import, as data."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.isolation.description import (
    HISTORIC_DATA,
    INPUT_DATA,
    PIPELINE_DATA,
    InputDescription,
    PipelineDescription,
    rule_from_json,
    rule_to_json,
)
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline


def test_every_attribute_travels_or_is_known_to_stay() -> None:
    """What is added to the base classes must be described, or be known to have no meaning in the host."""
    stays = {"blueprint", "filling_strategy", "inputs", "Settings"}
    assert _attributes(AbstractPipeline) - stays == set(PIPELINE_DATA)
    stays = {"image_grinder", "required_values"}
    assert _attributes(AbstractInput) - stays == set(INPUT_DATA)
    own = _attributes(HistoricAbstractInput) - _attributes(AbstractInput)
    assert own == set(HISTORIC_DATA)


def _attributes(kind: type) -> set[str]:
    return {
        name
        for each in kind.__mro__
        for name in getattr(each, "__annotations__", ())
        if not name.startswith("_") and hasattr(each, name)
    }


@given(
    st.text()
    | st.integers()
    | st.booleans()
    | st.frozensets(st.text())
    | st.lists(st.integers()).map(tuple)
    | st.text().map(lambda text: re.compile(re.escape(text), re.IGNORECASE))
)
def test_rules_that_are_data_survive(rule: Any) -> None:
    """A rule that is data judges alike after its way through JSON."""
    plain = rule_to_json(rule)
    assert plain is not None
    again = rule_from_json(json.loads(json.dumps(plain)))
    if isinstance(rule, re.Pattern):
        assert (again.pattern, again.flags) == (rule.pattern, rule.flags)
    elif isinstance(rule, frozenset | tuple):
        assert set(again) == set(rule)
    else:
        assert again == rule


def test_a_rule_that_is_code_is_no_data() -> None:
    """Predicates, and collections of anything else, are asked for."""
    for rule in (len, [object()], re.compile(b"x"), {1: 2}):
        assert rule_to_json(rule) is None


def test_a_description_survives_json() -> None:
    """A description comes back from JSON as it was, tuples included."""
    described = PipelineDescription(
        kind="Pipeline",
        distribution="many",
        version="1.0",
        value="many:Pipeline",
        data={"timeout": 7.0},
        inputs={
            "images": InputDescription(
                kind="Images",
                historic=False,
                data={"optional": True},
                values={"Modality": {"is": "MR"}},
                indexed=(0x00080060,),
                remote_methods=("validate",),
            )
        },
        indexed=(0x00080060, 0x00100020),
        copied={"images": (0x00100010,)},
        remote_methods=("container_key",),
        settings="0" * 64,
    )
    assert PipelineDescription.from_json(json.loads(json.dumps(described.to_json()))) == described
