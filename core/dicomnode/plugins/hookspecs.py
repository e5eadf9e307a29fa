"""The hooks by which a plugin extends, wraps or replaces a stage of the route.

An *intervention* (an answer counts) is one of ``dicomnode_validate_image``, ``dicomnode_validate_input``,
``dicomnode_blueprint``, ``dicomnode_process``, ``dicomnode_output``, ``dicomnode_executor``. A *notification*
(no result counts, and the failure of one is reported and keeps it from no other) is one of
``dicomnode_host_started``, ``dicomnode_host_stopping``, ``dicomnode_job_changed``, ``dicomnode_commands``.

An implementation takes those of a hook's arguments that it needs, by name. The page of each hook is
``docs/reference/hooks/NAME.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click
    from pydicom.dataset import Dataset

    from dicomnode.dicom.blueprint.blueprint import Blueprint
    from dicomnode.pipeline.container import InputContainer
    from dicomnode.pipeline.inputs import AbstractInput
    from dicomnode.pipeline.outputs import PipelineOutput
    from dicomnode.pipeline.pipelines import AbstractPipeline

PROJECT_NAME = "dicomnode"

INTERVENTIONS = frozenset(
    {
        "dicomnode_validate_image",
        "dicomnode_validate_input",
        "dicomnode_blueprint",
        "dicomnode_process",
        "dicomnode_output",
        "dicomnode_executor",
    }
)
"""The hooks whose results count."""

NOTIFICATIONS = frozenset(
    {"dicomnode_host_started", "dicomnode_host_stopping", "dicomnode_job_changed", "dicomnode_commands"}
)
"""The hooks whose results do not count."""

WRAPPABLE = frozenset({"dicomnode_process", "dicomnode_output", "dicomnode_executor"})
"""The hooks that take ``@hookimpl(wrapper=True)``. Of the others a wrapper could overrule a veto."""

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def dicomnode_validate_image(
    pipeline: AbstractPipeline,
    input_name: str,
    image: Dataset,
) -> str | None:
    """Refuse an image to an input. Called on the host for each image and input; any refusal wins.

    It is called while the sender waits, so it must be quick. What it raises is no refusal: the image is
    quarantined and the sender gets the status of a processing failure (0x0110).

    The answer depends on the image alone, and on nothing that waits or came before: a sender gets the same
    answer in whatever order images come, and where the host has several receiver processes, any of them asks.

    Parameters
    ----------
    pipeline : AbstractPipeline
        The pipeline that was called.
    input_name : str
        The input in question.
    image : pydicom.Dataset
        The image; touching Pixel Data reads the file.

    Returns
    -------
    str or None
        ``None``, or the reason to refuse, which the sender gets (PS3.7 section C.5.10, Error Comment) and
        which therefore holds no patient data.

    Examples
    --------
    >>> from dicomnode import hookimpl, looks_at
    >>> @hookimpl
    ... @looks_at("BurnedInAnnotation")
    ... def dicomnode_validate_image(image):
    ...     if image.get("BurnedInAnnotation") == "YES":
    ...         return "images with burned-in annotation are not processed here"

    >>> from pydicom import Dataset
    >>> screenshot = Dataset()
    >>> screenshot.BurnedInAnnotation = "YES"
    >>> dicomnode_validate_image(screenshot)
    'images with burned-in annotation are not processed here'
    """


@hookspec
def dicomnode_validate_input(
    pipeline: AbstractPipeline,
    container_key: str,
    patient_id: str,
    input_name: str,
    input: AbstractInput,
) -> str | None:
    """Hold an input back. Called on the host when a container may be complete; any answer holds the job back.

    Parameters
    ----------
    pipeline : AbstractPipeline
        The pipeline.
    container_key : str
        What the images have in common, as the pipeline's ``gather_by`` says.
    patient_id : str
        The Patient ID (0010,0020) of the images. An empty text where they have none, as may be where the
        pipeline gathers by something else.
    input_name : str
        The input in question.
    input : AbstractInput
        Its images.

    Returns
    -------
    str or None
        ``None``, or what is missing.

    Examples
    --------
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_validate_input(input_name, input):
    ...     if input_name == "CT" and len(input) < 20:
    ...         return f"this site sends no CT of fewer than 20 slices; there are {len(input)}"

    >>> dicomnode_validate_input("CT", ["slice"] * 3)
    'this site sends no CT of fewer than 20 slices; there are 3'
    """


@hookspec
def dicomnode_blueprint(pipeline: AbstractPipeline, blueprint: Blueprint) -> Blueprint | None:
    """Add to the blueprint before a header is made. Called in the worker.

    Every plugin sees the pipeline's own blueprint. What they return is added to it, and overrides it where
    both name an attribute. Two plugins that want different things of one attribute are a conflict: the job
    fails, and says which plugins and which attribute.

    Parameters
    ----------
    pipeline : AbstractPipeline
        The pipeline.
    blueprint : Blueprint
        Its blueprint.

    Returns
    -------
    Blueprint or None
        ``None``, or a blueprint to add.

    Examples
    --------
    >>> from dicomnode import Blueprint, StaticElement, hookimpl
    >>> @hookimpl
    ... def dicomnode_blueprint():
    ...     return Blueprint([StaticElement("InstitutionName", "Example Hospital")])

    >>> dicomnode_blueprint()["InstitutionName"]
    StaticElement('InstitutionName', 'Example Hospital')
    """


@hookspec(firstresult=True)
def dicomnode_process(
    pipeline: AbstractPipeline, inputs: InputContainer
) -> PipelineOutput | Iterable[PipelineOutput] | None:
    """Process a patient's inputs. Called in the worker; the first result wins.

    The core's own implementation comes last and calls ``pipeline.process(inputs)``. Plugins come before it,
    sorted by name (``tryfirst`` before the others). May be wrapped.

    Parameters
    ----------
    pipeline : AbstractPipeline
        The pipeline.
    inputs : InputContainer
        What ``process`` receives.

    Returns
    -------
    PipelineOutput, iterable of PipelineOutput, or None
        ``None`` to leave it to the next.

    Examples
    --------
    A wrapper that measures, whatever pipeline runs:

    >>> import time
    >>> from dicomnode import hookimpl
    >>> @hookimpl(wrapper=True)
    ... def dicomnode_process(pipeline):
    ...     started = time.perf_counter()
    ...     try:
    ...         return (yield)
    ...     finally:
    ...         print(type(pipeline).__name__, "took", round(time.perf_counter() - started), "s")
    """


@hookspec
def dicomnode_output(
    pipeline: AbstractPipeline, output: PipelineOutput
) -> PipelineOutput | Iterable[PipelineOutput] | None:
    """Add further outputs to one that a pipeline produced. Called in the worker. May be wrapped.

    Parameters
    ----------
    pipeline : AbstractPipeline
        The pipeline.
    output : PipelineOutput
        One of its outputs.

    Returns
    -------
    PipelineOutput, iterable of PipelineOutput, or None
        ``None``, or what is delivered besides.

    Examples
    --------
    >>> from dicomnode import DicomOutput, FileOutput, hookimpl
    >>> @hookimpl
    ... def dicomnode_output(output):
    ...     if isinstance(output, DicomOutput):
    ...         return FileOutput({"made.txt": "by us"}, destinations=["file:/srv/notes"])

    >>> dicomnode_output(FileOutput({"report.txt": "nothing to add to a file"}))
    """


@hookspec
def dicomnode_host_started(host: Any) -> None:
    """Take note that the host receives.

    Parameters
    ----------
    host : Host
        The running host.

    Examples
    --------
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_host_started(host):
    ...     print("up")

    >>> dicomnode_host_started(None)
    up
    """


@hookspec
def dicomnode_host_stopping(host: Any) -> None:
    """Take note that the host is about to stop. It receives no more; jobs may still be running.

    Parameters
    ----------
    host : Host
        The host.

    Examples
    --------
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_host_stopping(host):
    ...     print("going down")

    >>> dicomnode_host_stopping(None)
    going down
    """


@hookspec
def dicomnode_job_changed(job: Any) -> None:
    """Take note of a change of a job's state.

    Parameters
    ----------
    job : JobRecord
        The job as it now stands in the ledger.

    Examples
    --------
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_job_changed(job):
    ...     if job.state == "failed":
    ...         print("job", job.id, "needs someone")

    >>> from types import SimpleNamespace
    >>> dicomnode_job_changed(SimpleNamespace(id=7, state="failed"))
    job 7 needs someone
    """


@hookspec(firstresult=True)
def dicomnode_executor(config: Any) -> Executor | None:
    """Provide what runs jobs. Called once, when the host starts; the first result wins.

    The host's own implementation comes last and makes a pool of warm worker processes. What is submitted is
    ``run_job(description)`` with a description of plain data, never pixels; the result is the path of a
    folder in the outbox. An executor on other machines needs the data directory on a file system that they
    share. May be wrapped.

    Parameters
    ----------
    config : Config
        The host's configuration.

    Returns
    -------
    concurrent.futures.Executor or None
        ``None`` to leave it to the next. The host shuts it down when it stops. One that is a
        :class:`~dicomnode.plugins.terminable_executor.TerminableExecutor`, too, is asked to end jobs that are
        discarded while they run.

    Examples
    --------
    >>> from concurrent.futures import ProcessPoolExecutor
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_executor(config):
    ...     return ProcessPoolExecutor(max_workers=2)

    >>> dicomnode_executor(None).shutdown()
    """


@hookspec
def dicomnode_commands(cli: click.Group) -> None:
    """Add commands to the command line.

    Each plugin is handed a group of its own, whose commands then join the host's. A name that the host or
    another plugin has is reported and left out.

    Parameters
    ----------
    cli : click.Group
        Where to add commands.

    Examples
    --------
    >>> import click
    >>> from dicomnode import hookimpl
    >>> @hookimpl
    ... def dicomnode_commands(cli):
    ...     @cli.command("hello")
    ...     def hello() -> None:
    ...         click.echo("hello from a plugin")

    >>> group = click.Group()
    >>> dicomnode_commands(group)
    >>> sorted(group.commands)
    ['hello']
    """
