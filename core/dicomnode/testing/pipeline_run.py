"""A pipeline without a network: sorted, checked, ground, processed and built as the host does it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.configuration.result_content import content_digest, settings_digest
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.jobs.job import JobDescription, job_identity, run_job
from dicomnode.host.jobs.job_folder import Manifest, read_manifest
from dicomnode.host.jobs.job_plugin import PreparedPipeline
from dicomnode.host.parsing.index import ALWAYS_WANTED
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.declared import changed_pipeline, resolve_pipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registration, Registry, host_version

_MOMENT = 1767348900.0
"""When results say that they were made, so that a test gets the same bytes each time."""


class PipelineResult(list[Dataset]):
    """The instances that a pipeline's outputs wrote, as a peer would receive them.

    Attributes
    ----------
    files : dict of str to bytes
        File name -> content of what is not DICOM.
    warnings : tuple of str
        What the check of the results against their IODs found.
    """

    def __init__(
        self, datasets: Iterable[Dataset], files: Mapping[str, bytes], warnings: tuple[str, ...]
    ) -> None:
        super().__init__(datasets)
        self.files = dict(files)
        self.warnings = warnings


def run_pipeline(
    pipeline: str | type[AbstractPipeline],
    images: Iterable[Dataset],
    *,
    settings: Mapping[str, Any] | None = None,
    hooks: Iterable[object] = (),
    declared: Mapping[str, Any] | None = None,
) -> PipelineResult:
    """Run a pipeline on images, without network, host or worker process.

    The images are sorted into the pipeline's inputs by its own rules, the inputs must be complete, and what
    comes out is written, checked and read again, as in the host.

    Parameters
    ----------
    pipeline : str or type of AbstractPipeline
        The name of an entry point, or a class.
    images : iterable of Dataset
        Images of one patient, in order of arrival.
    settings : mapping, optional
        The table ``settings`` of a configuration.
    hooks : iterable of object
        Modules or objects with hook implementations. Those that are installed are left out, so that a test
        does not depend on what else is installed.
    declared : mapping, optional
        What a table of the configuration declares besides: ``inputs``, ``blueprint`` ...

    Returns
    -------
    PipelineResult
        The instances, and in ``files`` what else was produced.

    Raises
    ------
    ImageRefusedError
        When no input wants an image; the message says for each input why.
    InputsIncompleteError
        When something is missing.
    JobFailedError
        When processing failed, or the result must not be sent out.
    """
    configured = _configured(pipeline, settings or {}, declared)
    asked = Hooks(Registry(only=()))
    for number, each in enumerate(hooks, 1):
        asked.register(each, f"hooks {number} of the test")
    with tempfile.TemporaryDirectory(prefix="dicomnode-test-") as name:
        folder = Path(name)
        tree = WaitingImages(configured, asked)
        keys = {_sorted(tree, image, folder / f"{number:06d}.dcm") for number, image in enumerate(images)}
        if len(keys) != 1:
            msg = f"run_pipeline runs one patient; the images are of {len(keys)}"
            raise ValueError(msg)
        description = _description(configured, tree, keys.pop(), folder)
        configured.pipeline.setup()
        run_job(
            description.to_json(),
            PreparedPipeline(configured.pipeline, asked, {}, dict(settings or {}), Lock()),
        )
        return _result(read_manifest(Path(description.folder)))


def _configured(
    pipeline: str | type[AbstractPipeline], settings: Mapping[str, Any], declared: Mapping[str, Any] | None
) -> ConfiguredPipeline:
    if isinstance(pipeline, str):
        resolved = resolve_pipeline(Registry(), pipeline, declared=declared)
        registration, kind = resolved.registration, resolved.kind
    else:
        kind = changed_pipeline(pipeline, pipeline.__name__, declared, Registry()) if declared else pipeline
        where = f"{kind.__module__}:{kind.__name__}"
        registration = Registration(
            "pipelines", kind.__name__, where, "dicomnode-testing", host_version(), None
        )
    kind.check_definition()
    return ConfiguredPipeline(
        name=registration.name,
        pipeline=kind(kind.validated_settings(settings)),
        ae_title="TEST",
        destinations=(),
        table=PipelineTable.model_validate({**(declared or {}), "settings": dict(settings)}),
        registration=registration,
    )


def _sorted(tree: WaitingImages, image: Dataset, path: Path) -> str:
    """Put an image into the inputs that want it, and return whose it is."""
    dcmwrite(path, image, enforce_file_format=True)
    handle = LazyDataset(path)
    with tree.known.storing(str(image.SOPInstanceUID)) as held:
        if held is not None:  # sent twice: kept once
            return tree.container_key(handle)
        placement = tree.place(handle)
        tree.insert(handle, placement)
    return placement.container_key


def _description(
    configured: ConfiguredPipeline, tree: WaitingImages, container_key: str, folder: Path
) -> JobDescription:
    complete = tree.take(container_key)
    inputs = {
        name: [(str(image.path), _index(image)) for image in images]
        for name, images in complete.inputs.items()
    }
    uids = [str(image.SOPInstanceUID) for image in complete.images]
    return JobDescription(
        id="1",
        identity=job_identity(configured.name, container_key, uids, _content(configured)),
        pipeline=configured.name,
        plugin=configured.registration.name,
        distribution=configured.registration.distribution,
        version=configured.registration.version,
        settings=configured.table.settings,
        container_key=container_key,
        inputs=inputs,
        folder=str(folder / "result"),
        workdir=str(folder / "work"),
        created=_MOMENT,
        iod_check=configured.policy.iod_check,
        durable=False,
    )


def _content(configured: ConfiguredPipeline) -> str:
    """Leave the version out, so that a stored result can be compared with what a new version makes."""
    settings = settings_digest(configured.pipeline.settings)
    return content_digest(
        replace(configured.registration, version=""), configured.table.declaration(), settings
    )


def _index(image: Dataset) -> dict[int, str]:
    """Return what the receiver always indexes."""
    return {tag: str(image[tag].value) for tag in ALWAYS_WANTED if tag in image}


def _result(manifest: Manifest) -> PipelineResult:
    datasets, files = [], {}
    for item in manifest.items:
        if item.SOPInstanceUID:
            datasets.append(dcmread(item.path))
        else:
            files["/".join((*item.folders, item.file_name))] = item.path.read_bytes()
    return PipelineResult(datasets, files, manifest.warnings)


__all__ = ["PipelineResult", "run_pipeline"]
