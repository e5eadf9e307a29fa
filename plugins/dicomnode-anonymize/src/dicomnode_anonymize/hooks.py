"""What this plugin adds to the host: a command, and the refusal of images that its pipeline must not take.

Nothing heavy is imported before it is used: the host reads this module whenever it lists plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode import hookimpl

if TYPE_CHECKING:
    import click
    from pydicom.dataset import Dataset

    from dicomnode import AbstractPipeline


@hookimpl
def dicomnode_commands(cli: click.Group) -> None:
    """Add ``dicomnode-host anonymize``."""
    from dicomnode_anonymize.command import anonymize

    cli.add_command(anonymize)


@hookimpl
def dicomnode_validate_image(pipeline: AbstractPipeline, image: Dataset) -> str | None:
    """Refuse to the pipeline ``anonymize`` what its settings do not let it take."""
    from dicomnode_anonymize.pipeline import AnonymizePipeline

    return pipeline.why_refused(image) if isinstance(pipeline, AnonymizePipeline) else None
