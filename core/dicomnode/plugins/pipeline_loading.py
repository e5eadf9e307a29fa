"""Pipeline objects made of plain data: what a configuration or a job says of them; each one is made once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from dicomnode.errors import ConfigurationError, PluginError
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.declared import Resolved, resolve_pipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registration, Registry

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRequest:
    """Which pipeline is wanted, as plain data that another process can be sent.

    Attributes
    ----------
    pipeline : str
        The name of its table in the configuration.
    plugin : str or None
        The name of its entry point, when it is not the table's.
    settings : mapping of str to Any
        Its settings, as the configuration has them.
    declared : mapping of str to Any, or None
        What the configuration declares of it; see :func:`~dicomnode.plugins.declared.resolve_pipeline`.
    disabled, only : sequences of str
        Which distributions are used; see :class:`~dicomnode.plugins.registry.Registry`.
    distribution, version : str or None
        Where it must come from, if that matters.
    """

    pipeline: str
    plugin: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, Any] | None = None
    disabled: Sequence[str] = ()
    only: Sequence[str] | None = None
    distribution: str | None = None
    version: str | None = None

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PipelineRequest:
        """Return the request that a mapping holds among other things, by the names of the attributes."""
        return cls(**{each.name: plain[each.name] for each in fields(cls) if each.name in plain})

    @property
    def key(self) -> str:
        """A text that is equal for requests of one object.

        The version does not belong to it: a process that has imported one version of a module cannot import
        another, so a request of another version is an error (:meth:`check_origin`), not another object.
        """
        plain = (self.pipeline, self.plugin, self.settings, self.declared, self.disabled, self.only)
        return json.dumps(plain, default=str)

    def check_origin(self, registration: Registration) -> None:
        """Check that a pipeline comes from where it must.

        Raises
        ------
        PluginError
            When it comes from another distribution or version.
        """
        wanted = (self.distribution, self.version)
        if wanted not in ((None, None), (registration.distribution, registration.version)):
            name = self.plugin or self.pipeline
            msg = (
                f"it was made for {self.distribution} {self.version}, and {name!r} now belongs to"
                f" {registration.distribution} {registration.version}. Restart the host after a plugin was"
                " installed, upgraded or removed."
            )
            raise PluginError(msg)


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline object that is not set up for processing yet.

    Attributes
    ----------
    pipeline : AbstractPipeline
        With its settings.
    registration : Registration
        Where it comes from.
    registry : Registry
        The plugins of its environment.
    hooks : Hooks
        The hooks of its environment.
    """

    pipeline: AbstractPipeline
    registration: Registration
    registry: Registry
    hooks: Hooks


def load_pipeline(request: PipelineRequest) -> LoadedPipeline:
    """Make a pipeline object in this process.

    Raises
    ------
    PluginError
        When the plugin cannot be found or loaded, or is not the one that the request is for.
    ConfigurationError
        As :func:`make_pipeline`.
    """
    registry = Registry(request.disabled, request.only)
    resolved = resolve_pipeline(registry, request.pipeline, request.plugin, request.declared)
    # Before its settings are looked at: another version may have others, and then says what misleads.
    request.check_origin(resolved.registration)
    pipeline = make_pipeline(resolved, request.settings)
    return LoadedPipeline(pipeline, resolved.registration, registry, Hooks(registry))


def make_pipeline(resolved: Resolved, settings: Mapping[str, Any]) -> AbstractPipeline:
    """Make an object of a pipeline's class.

    Raises
    ------
    SettingsError
        When its settings are wrong; a note names the class and its distribution.
    ConfigurationError
        When the class is defined wrongly, or its constructor raised.
    """
    registration, kind = resolved.registration, resolved.kind
    name = f"{kind.__name__} of {registration.distribution} {registration.version}"
    try:
        kind.check_definition()
        validated = kind.validated_settings(settings)
    except ConfigurationError as error:
        error.add_note(f" (pipeline {name})")
        raise
    try:
        return kind(validated)
    except Exception as error:
        msg = f"{name} could not be made: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error


class PipelineCache(Generic[T]):
    """What was made of the pipelines that were asked for in this process, one object for equal requests.

    Threads may use it: an executor of a plugin may run several jobs in one process.

    Parameters
    ----------
    prepare : callable
        Makes of a loaded pipeline what is kept. Nothing is kept of one for which it raises.
    """

    def __init__(self, prepare: Callable[[LoadedPipeline], T]) -> None:
        self._prepare = prepare
        self._prepared: dict[str, tuple[Registration, T]] = {}
        self._lock = threading.Lock()

    def get(self, request: PipelineRequest) -> T:
        """Return what was made for this request or an equal one; make it first where there is none.

        Raises
        ------
        PluginError, ConfigurationError
            As :func:`load_pipeline`.
        """
        key = request.key
        with self._lock:
            if key not in self._prepared:
                loaded = load_pipeline(request)
                self._prepared[key] = loaded.registration, self._prepare(loaded)
            registration, prepared = self._prepared[key]
        request.check_origin(registration)
        return prepared
