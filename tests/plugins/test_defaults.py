"""The core's own hook implementations: they ask the pipeline object, and a plugin may come before them."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset

from dicomnode import AbstractInput, AbstractPipeline, NoOutput, hookimpl
from dicomnode.plugins import defaults
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry


class Images(AbstractInput):
    """CT images."""

    required_values = {"Modality": "CT"}


class Pipeline(AbstractPipeline):
    """Makes nothing."""

    inputs = {"images": Images}

    def process(self, inputs: Any) -> NoOutput:
        """Return an output of its own."""
        return NoOutput(destinations=["own"])


def test_the_input_decides() -> None:
    """Whether an image belongs, and what is missing, is what the input's own methods return."""
    held, image = Images("images"), Dataset()
    image.Modality = "MR"
    refused = defaults.dicomnode_validate_image(Pipeline(), "images", image)
    assert refused == held.why_not(image) == "Modality is MR, not CT"
    assert defaults.dicomnode_validate_input(held) == held.missing() == "no image yet"


def test_the_pipeline_processes_where_no_plugin_does() -> None:
    """The core comes last where the first result wins."""
    hooks = Hooks(Registry(only=()))
    inputs: Any = {}
    (own,) = hooks.process(Pipeline(), inputs)
    assert own.destinations == ("own",)

    class Replacing:
        @hookimpl
        def dicomnode_process(self) -> NoOutput:
            return NoOutput(destinations=["other"])

    hooks.register(Replacing(), "acme")
    (other,) = hooks.process(Pipeline(), inputs)
    assert other.destinations == ("other",)
