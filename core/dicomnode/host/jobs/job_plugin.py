"""The plugin of a job, loaded and set up once for all jobs that ask for the same."""

from __future__ import annotations

import platform
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from dicomnode.host.jobs.job_failure import failing_as
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.pipeline_loading import LoadedPipeline, PipelineCache, PipelineRequest
from dicomnode.plugins.registry import host_version, installed_packages


@dataclass(frozen=True, slots=True)
class PreparedPipeline:
    """A pipeline that is ready to process.

    Attributes
    ----------
    pipeline : AbstractPipeline
        With its settings, set up.
    hooks : Hooks
        The hooks of its environment.
    environment : dict
        What a result says of where it was made.
    shown_settings : Any
        The settings as they came out of the settings class: with its defaults, without its secrets.
    lock : threading.Lock
        Held while it processes.
    """

    pipeline: AbstractPipeline
    hooks: Hooks
    environment: dict[str, Any]
    shown_settings: Any
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def prepare(request: PipelineRequest) -> PreparedPipeline:
    """Return the pipeline of a job; the first job of a process loads it and calls its ``setup``.

    Raises
    ------
    JobFailedError
        When it cannot be loaded, is of another version than the job was made for, or its ``setup`` raises.
    """
    with failing_as(f"loading the pipeline {request.plugin or request.pipeline!r}"):
        return _pipelines.get(request)


def _set_up(loaded: LoadedPipeline) -> PreparedPipeline:
    pipeline, settings = loaded.pipeline, loaded.pipeline.settings
    shown = TypeAdapter(type(settings)).dump_python(settings, mode="json", fallback=str)
    with failing_as(f"setup of {type(pipeline).__name__}"):
        pipeline.setup()
    environment = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "host": host_version(),
        "plugins": {plugin.distribution: plugin.version for plugin in loaded.registry.plugins},
        "packages": _packages(),
    }
    return PreparedPipeline(pipeline, loaded.hooks, environment, shown)


_packages = cache(installed_packages)

_pipelines = PipelineCache(_set_up)
