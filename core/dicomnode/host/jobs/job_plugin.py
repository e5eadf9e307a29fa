"""The plugin of a job, loaded and set up once for all jobs that ask for the same."""

from __future__ import annotations

import json
import platform
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure, failing_as
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.declared import resolve_pipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registration, Registry, host_version, installed_packages

if TYPE_CHECKING:
    from dicomnode.host.jobs.job import JobDescription


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pipeline that is ready to process.

    Attributes
    ----------
    pipeline : AbstractPipeline
        With its settings, set up.
    hooks : Hooks
        The hooks of its environment.
    registration : Registration
        Where it comes from.
    environment : dict
        What a result says of where it was made.
    shown_settings : Any
        The settings as they came out of the settings class: with its defaults, without its secrets.
    lock : threading.Lock
        Held while it processes.
    """

    pipeline: AbstractPipeline
    hooks: Hooks
    registration: Registration
    environment: dict[str, Any]
    shown_settings: Any
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


_SAME = ("pipeline", "plugin", "distribution", "version", "settings", "declared", "disabled", "only")
"""What two jobs must have in common to share an object."""

_prepared: dict[str, Prepared] = {}
_preparing = threading.Lock()


def prepare(job: JobDescription) -> Prepared:
    """Return the job's pipeline; the first job of a process loads it and calls its ``setup``.

    Raises
    ------
    JobFailedError
        When it cannot be loaded, is of another version than the job was made for, or its ``setup`` raises.
    """
    key = pipeline_key(job)
    with _preparing:
        if key not in _prepared:
            _prepared[key] = _load(job)
        return _prepared[key]


def pipeline_key(job: JobDescription) -> str:
    """Return what is equal for two jobs that share a pipeline object.

    Only what decides about the object is looked at: a job may have a hundred thousand inputs.
    """
    return json.dumps([getattr(job, name) for name in _SAME], default=str)


def _load(job: JobDescription) -> Prepared:
    with failing_as(f"loading the pipeline {job.plugin!r}"):
        registry = Registry(job.disabled, job.only)
        resolved = resolve_pipeline(registry, job.pipeline, job.plugin, job.declared)
        registration, kind = resolved.registration, resolved.kind
        _check_version(job, registration)
        hooks = Hooks(registry)
        settings = kind.validated_settings(job.settings)
        pipeline = kind(settings)
    with failing_as(f"setup of {kind.__name__}"):
        pipeline.setup()
    environment = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "host": host_version(),
        "plugins": {plugin.distribution: plugin.version for plugin in registry.plugins},
        "packages": _packages(),
    }
    shown = TypeAdapter(type(settings)).dump_python(settings, mode="json", fallback=str)
    return Prepared(pipeline, hooks, registration, environment, shown)


_packages = cache(installed_packages)


def _check_version(job: JobDescription, registration: Registration) -> None:
    found = (registration.distribution, registration.version)
    if found != (job.distribution, job.version):
        msg = (
            f"the job was made for {job.distribution} {job.version}, and {job.plugin!r} now belongs to "
            f"{found[0]} {found[1]}. Restart the host after a plugin was installed, upgraded or removed."
        )
        raise JobFailedError(msg, Failure.PLUGIN)
