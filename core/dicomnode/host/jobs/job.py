"""A job: plain data that any executor can carry, and the function that does it.

A job travels as data (names, paths, settings), never as pixels, and its result is a folder: whatever runs
:func:`run_job` (a worker process of this host, a Dask worker on another machine) needs the plugin, the file
system and nothing else of the host.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dicomnode.dicom.elements.standard_elements import CopyElement
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure, failing_as
from dicomnode.host.jobs.job_folder import JobFolder
from dicomnode.host.jobs.job_identity import job_identity
from dicomnode.host.jobs.job_inputs import InputFiles
from dicomnode.host.jobs.job_plugin import PreparedPipeline, prepare
from dicomnode.host.jobs.output_check import check_outputs
from dicomnode.pipeline.container import InputContainer, Job
from dicomnode.pipeline.destination import OutboxItem
from dicomnode.pipeline.outputs import PipelineOutput
from dicomnode.pipeline.pipelines import IODCheck
from dicomnode.plugins.pipeline_loading import PipelineRequest

JobInputs = Mapping[str, Sequence[tuple[str, Mapping[int, Any]]]]
"""Input name -> (absolute path, index: tag -> value as plain data) of each image, in order of arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDescription:
    """Everything that is needed to do a job, as plain data.

    Attributes
    ----------
    id : str
        The job's number in the ledger.
    attempt : int
        Which attempt this is, from 1.
    identity : str
        What new UIDs are derived from; see :func:`job_identity`.
    pipeline : str
        The name of its table in the configuration.
    plugin : str
        The name of the pipeline's entry point.
    distribution, version : str
        Where the plugin comes from. A job is not done by another version than it was made for.
    settings : mapping of str to Any
        The table ``settings`` of the configuration.
    declared : mapping of str to Any, or None
        What the configuration declares of the pipeline; see
        :func:`~dicomnode.plugins.declared.resolve_pipeline`.
    container_key : str
        The key of the patient container.
    inputs : mapping of str to sequence of (str, mapping of int to Any)
        Input name -> absolute path and index of each image.
    checksums : mapping of str to str
        Absolute path of an image -> the SHA-256 of its file when it was received, in hexadecimal, where that
        was taken.
    folder : str
        Absolute path of the finished folder in the outbox. It must not exist; its parent must.
    workdir : str
        Absolute path of a folder that is the job's own while it runs. It is made, and removed afterwards.
    created : float
        When the job was made (seconds since 1970): the moment that results carry, so that a job that is run
        again makes the same bytes.
    timeout : float or None
        Seconds after which the worker pool ends it.
    memory, disk : int or None
        Bytes of memory, and of files in ``folder`` and ``workdir``, over which the worker pool ends it.
        ``None`` for the pool's own limits.
    iod_check : {"off", "warn", "block"}
        What becomes of results that lack attributes of their IOD.
    environment : str or None
        The virtual environment that the plugin lives in; ``None`` for the host's own.
    resources : mapping of str to Any
        What the pipeline says that it needs (``{"gpu": 1}``), for executors that know of such things.
    disabled : tuple of str
        Distributions that are left out.
    only : tuple of str, or None
        Distributions that alone are used; ``None`` for all of them.
    durable : bool
        Whether results must survive a power cut.
    """

    id: str
    attempt: int = 1
    identity: str
    pipeline: str
    plugin: str
    distribution: str
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, Any] | None = None
    container_key: str
    inputs: JobInputs
    checksums: Mapping[str, str] = field(default_factory=dict)
    folder: str
    workdir: str
    created: float
    timeout: float | None = None
    memory: int | None = None
    disk: int | None = None
    iod_check: IODCheck = "warn"
    environment: str | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    disabled: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    durable: bool = True

    @property
    def request(self) -> PipelineRequest:
        """Which pipeline the job needs; jobs of equal requests share an object."""
        return PipelineRequest(**{each.name: getattr(self, each.name) for each in fields(PipelineRequest)})

    def to_json(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        plain: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["inputs"] = {
            name: [
                [str(path), {f"{tag:08x}": value for tag, value in index.items()}] for path, index in images
            ]
            for name, images in self.inputs.items()
        }
        plain["settings"] = json.loads(json.dumps(dict(self.settings), default=_plain))
        plain["checksums"] = dict(self.checksums)
        plain["resources"], plain["disabled"] = dict(self.resources), list(self.disabled)
        plain["only"] = None if self.only is None else list(self.only)
        plain["folder"], plain["workdir"] = str(self.folder), str(self.workdir)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> JobDescription:
        """Return the description that :meth:`to_json` made plain."""
        inputs = {
            name: tuple(
                (path, {int(tag, 16): value for tag, value in index.items()}) for path, index in images
            )
            for name, images in plain["inputs"].items()
        }
        only = None if plain["only"] is None else tuple(plain["only"])
        return cls(**{**plain, "inputs": inputs, "disabled": tuple(plain["disabled"]), "only": only})


def run_job(description: Mapping[str, Any], prepared: PreparedPipeline | None = None) -> dict[str, Any]:
    """Do a job: load the plugin, grind, process, write the results, check them, and put them into the outbox.

    Parameters
    ----------
    description : mapping
        What :meth:`JobDescription.to_json` returned.
    prepared : PreparedPipeline, optional
        A pipeline that is ready to process, instead of the one that the description names: for a test.

    Returns
    -------
    dict
        ``{"folder": path}``: the finished folder, whose ``manifest.json`` says what is in it
        (:func:`~dicomnode.host.jobs.job_folder.read_manifest`).

    Raises
    ------
    JobFailedError
        Whatever went wrong, in words; nothing is left behind.
    """
    job = JobDescription.from_json(description)
    started = dt.datetime.now(dt.UTC)
    with JobFolder(Path(job.folder), Path(job.workdir), durable=job.durable) as folder:
        prepared = prepared or prepare(job.request)
        with prepared.lock:  # a plugin's object does one job at a time, wherever it runs
            inputs = InputFiles(job.inputs, folder.links, job.checksums)
            outputs = _processed(job, prepared, inputs)
            written = _written(outputs, folder)
        inputs.check_unchanged()
        checked = check_outputs(
            written,
            inputs.sources,
            iod_check=job.iod_check,
            same_study=_copies_study(prepared),
            same_patient=not prepared.pipeline.changes_identity,
        )
        folder.finish(
            {
                "job": job.id,
                "attempt": job.attempt,
                "identity": job.identity,
                "pipeline": job.pipeline,
                "plugin": job.plugin,
                "distribution": job.distribution,
                "version": job.version,
                "container_key": job.container_key,
                "settings": prepared.shown_settings,
                "declared": job.declared,
                "environment": prepared.environment,
                "inputs": inputs.to_json(),
                "series": checked.series,
                "warnings": checked.warnings,
                "started": started.isoformat(),
                "ended": dt.datetime.now(dt.UTC).isoformat(),
            },
            written,
        )
    return {"folder": job.folder}


def _processed(job: JobDescription, prepared: PreparedPipeline, files: InputFiles) -> list[PipelineOutput]:
    """Let the pipeline process, and return its outputs with those that hooks add."""
    pipeline, hooks, name = prepared.pipeline, prepared.hooks, type(prepared.pipeline).__name__
    unknown = sorted(set(files.images) - set(pipeline.inputs))
    if unknown:
        known = ", ".join(pipeline.inputs)
        msg = f"the job has images for {', '.join(unknown)}, and {name} has the inputs {known}"
        raise JobFailedError(msg, Failure.PLUGIN)
    with failing_as(f"the inputs of {name}"):
        inputs = {each: kind(each) for each, kind in pipeline.inputs.items()}
        for each, images in files.images.items():
            for image in images:
                inputs[each].insert(image)
    with failing_as(f"the blueprint of {name}"):
        blueprint = hooks.blueprint(pipeline, pipeline.blueprint)
    container = InputContainer(
        inputs,
        blueprint=blueprint,
        filling_strategy=pipeline.filling_strategy,
        header_input=pipeline.chosen_header_input(),
        job=Job(job.id, job.identity, Path(job.workdir)),
        equipment=Equipment(
            name=job.distribution,
            version=job.version,
            moment=dt.datetime.fromtimestamp(job.created).astimezone(),
        ),
    )
    with failing_as(f"process of {name}"):
        return hooks.process(pipeline, container)


def _written(outputs: Sequence[PipelineOutput], folder: JobFolder) -> list[OutboxItem]:
    """Write every output into a folder of its own and return what is to be delivered."""
    items: list[OutboxItem] = []
    for number, output in enumerate(outputs):
        name = type(output).__name__
        place = folder.output_folder(number)
        with failing_as(f"{name}.write"):
            items.extend(folder.check_item(item, place) for item in output.write(place))
    return items


def _copies_study(prepared: PreparedPipeline) -> bool:
    """Say whether results are meant to be filed in the study of their source."""
    return isinstance(prepared.pipeline.blueprint.get("StudyInstanceUID"), CopyElement)


def _plain(value: object) -> str:
    """Make plain what a TOML file can hold and JSON cannot: dates and times."""
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


__all__ = ["JobDescription", "JobInputs", "job_identity", "run_job"]
