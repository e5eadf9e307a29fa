"""What says when a job of a pipeline starts here, as plain data."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.configuration.config import HostTable, PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.configuration.gathering_rules import gathering_rules


class Counted(AbstractInput):
    """Knows how many images it has, and which series it wants."""

    expected_images = len

    def choose_series(self, candidates: Any) -> Any:
        """Choose the first."""
        return candidates[0]


class FromPeer(AbstractInput):
    """Has its peer asked."""

    expected_images = "peer"


class Pipeline(AbstractPipeline):
    """Says some of it."""

    inputs = {"counted": Counted, "any": AbstractInput, "asked": FromPeer}
    expires = 60.0

    def process(self, inputs: object) -> NoOutput:
        """Do nothing."""
        return NoOutput()


def test_what_holds_here() -> None:
    """The table's word, the class's, the host's; of inputs only what they say."""
    registration: Any = SimpleNamespace(name="some", distribution="some", version="1")
    configured = ConfiguredPipeline(
        name="some",
        pipeline=Pipeline(),
        ae_title="SOME",
        destinations=(),
        table=PipelineTable(late_images="join"),
        registration=registration,
        host=HostTable(settle=21.0, open_association_wait=22.0),
    )
    rules = gathering_rules(configured)
    assert rules == {
        "settle": 21.0,
        "open_association_wait": 22.0,
        "expires": 60.0,
        "late_images": "join",
        "expected_images": {"counted": "function", "asked": "peer"},
        "choose_series": ["counted"],
    }
    assert json.loads(json.dumps(rules)) == rules
