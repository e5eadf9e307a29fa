"""Pipelines of other environments: described once, their methods called when an image comes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dicomnode.errors import ConfigurationError, JobFailedError, SettingsError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import InstalledPipeline
from dicomnode.host.isolation.description import PipelineDescription
from dicomnode.host.isolation.environment import ready_environment
from dicomnode.host.isolation.proxies import isolated_pipeline
from dicomnode.host.isolation.remote_methods import RemoteMethods
from dicomnode.host.isolation.worker_tasks import describe_pipeline
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.host.workers.worker_settings import WorkerSettings
from dicomnode.plugins.registry import Registration

_MOST_WORKERS = 64
_DESCRIBE_TIMEOUT = 300.0


class Isolation:
    """Describes pipelines of other environments, and keeps a worker of each for its methods.

    The workers end with :meth:`close`, or when neither this nor any of its pipelines is in use any more.

    Parameters
    ----------
    home : pathlib.Path
        Where environments are made from requirements.
    disabled, only : collections of str
        Which distributions are used, as in the host's own registry.
    """

    def __init__(self, home: Path, disabled: Sequence[str] = (), only: Sequence[str] | None = None) -> None:
        self._home = home
        self._plugins = {"disabled": list(disabled), "only": None if only is None else list(only)}
        self._pool: WorkerPool | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the one of a configuration."""
        home = Path(config.host.data).expanduser().absolute() / "environments"
        return cls(home, config.plugins.disabled, config.plugins.only)

    def pipeline(
        self,
        name: str,
        environment: Path | Sequence[str],
        *,
        plugin: str | None = None,
        settings: Mapping[str, Any],
        declared: Mapping[str, Any] | None = None,
    ) -> InstalledPipeline:
        """Return a pipeline of another environment.

        Parameters
        ----------
        name : str
            Its table in the configuration.
        environment : pathlib.Path or sequence of str
            As :func:`~dicomnode.host.isolation.environment.ready_environment` takes it.
        plugin, settings, declared
            As in its table.

        Raises
        ------
        ConfigurationError
            When the environment, the plugin or its configuration cannot be used.
        SettingsError
            When its settings are wrong.
        """
        path = ready_environment(environment, self._home)
        request = {
            "pipeline": name,
            "plugin": plugin,
            "environment": str(path),
            "settings": dict(settings),
            "declared": None if declared is None else dict(declared),
            **self._plugins,
        }
        described = self._described({**request, "timeout": _DESCRIBE_TIMEOUT})
        origin = {"distribution": described.distribution, "version": described.version}
        kind = isolated_pipeline(described, RemoteMethods(self, {**request, **origin}))
        registration = Registration("pipelines", plugin or name, described.value, **origin, entry_point=None)
        return InstalledPipeline(kind(dict(settings)), registration, path, described.settings)

    def _described(self, request: Mapping[str, Any]) -> PipelineDescription:
        try:
            result = self.run(describe_pipeline, request)
        except JobFailedError as error:
            msg = f"in the environment {request['environment']}: {error}"
            raise ConfigurationError(msg) from error
        if "settings" in result:
            raise SettingsError([(tuple(key), problem) for key, problem in result["settings"]])
        if "wrong" in result:
            raise ConfigurationError(result["wrong"])
        return PipelineDescription.from_json(result["described"])

    def run(
        self, task: Callable[[Mapping[str, Any]], dict[str, Any]], argument: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run a task in a worker of the environment that its argument names, and return its result.

        Raises
        ------
        JobFailedError
            When it cannot.
        """
        if self._pool is None:
            self._pool = WorkerPool(
                _MOST_WORKERS,
                limits=Limits(timeout=_DESCRIBE_TIMEOUT),
                settings=WorkerSettings(patience=10.0),
            )
            weakref.finalize(self, self._pool.abandon)
        result: dict[str, Any] = self._pool.submit(task, argument).result()
        return result

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
