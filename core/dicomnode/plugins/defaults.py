"""The core's own behaviour, as hook implementations like everybody's: they ask the pipeline object.

They come last (``trylast``) where the first result wins, and first where any veto wins: asking them is cheap,
and a veto counts wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dicomnode.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicomnode.pipeline.container import InputContainer
    from dicomnode.pipeline.inputs import AbstractInput
    from dicomnode.pipeline.outputs import PipelineOutput
    from dicomnode.pipeline.pipelines import AbstractPipeline


@hookimpl(tryfirst=True)
def dicomnode_validate_image(pipeline: AbstractPipeline, input_name: str, image: Dataset) -> str | None:
    """Ask the input's rules."""
    return pipeline.empty_input(input_name).why_not(image)


@hookimpl(tryfirst=True)
def dicomnode_validate_input(input: AbstractInput) -> str | None:
    """Ask the input whether it is complete."""
    return input.missing()


@hookimpl(trylast=True)
def dicomnode_process(
    pipeline: AbstractPipeline, inputs: InputContainer
) -> PipelineOutput | Iterable[PipelineOutput]:
    """Let the pipeline process."""
    return pipeline.process(inputs)
