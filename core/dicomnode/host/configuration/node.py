"""A pipeline as it is configured on this host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydicom.tag import BaseTag

from dicomnode.errors import ConfigurationError, PluginError, SettingsError
from dicomnode.host.configuration.config import FILE_SCHEME, Config, PipelineTable
from dicomnode.pipeline.nodes import AbstractPipeline, IODCheck, Trigger
from dicomnode.plugins.declared import resolve_pipeline
from dicomnode.plugins.registry import Registration, Registry

_LONGEST_AE_TITLE = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """When and how a pipeline's jobs run; see :class:`~dicomnode.AbstractPipeline`."""

    trigger: Trigger
    quiet: float
    expires: float | None
    timeout: float
    memory: int | None
    disk: int | None
    concurrency: int
    priority: int
    iod_check: IODCheck


@dataclass(frozen=True)
class Node:
    """One configured pipeline: under which AE title it is called, what runs, and where its results go.

    Attributes
    ----------
    name : str
        The table's name in the configuration, and the scope of its instances in the spool.
    pipeline : AbstractPipeline
        The object that sorts images on this host. Processing has another one, in a worker.
    ae_title : str
        The called AE title that chooses it.
    destinations : tuple of str
        Names of peers, or ``file:`` and a folder.
    table : PipelineTable
        What the configuration says of it.
    registration : Registration
        Which distribution it comes from.
    environment : pathlib.Path or None
        The virtual environment that it lives in, where that is not the host's own.
    """

    name: str
    pipeline: AbstractPipeline
    ae_title: str
    destinations: tuple[str, ...]
    table: PipelineTable
    registration: Registration = field(repr=False)
    environment: Path | None = None

    @property
    def kind(self) -> type[AbstractPipeline]:
        """The pipeline's class."""
        return type(self.pipeline)

    @cached_property
    def copied_tags(self) -> Mapping[str, frozenset[BaseTag]]:
        """Input name -> the tags that the blueprint copies from its images."""
        return self.kind.copied_tags()

    @cached_property
    def rules(self) -> Rules:
        """What holds here: the configuration's word, else the class's."""
        return Rules(
            **{
                each.name: getattr(self.pipeline, each.name)
                if getattr(self.table, each.name) is None
                else getattr(self.table, each.name)
                for each in fields(Rules)
            }
        )


@dataclass(frozen=True, slots=True)
class Installed:
    """A pipeline's object, where it comes from, and in which environment (``None``: the host's own)."""

    pipeline: AbstractPipeline
    registration: Registration
    environment: Path | None = None


class Elsewhere(Protocol):
    """Who knows pipelines of other environments: :class:`~dicomnode.host.isolation.isolation.Isolation`."""

    def pipeline(
        self,
        name: str,
        environment: Path | Sequence[str],
        *,
        plugin: str | None,
        settings: Mapping[str, Any],
        declared: Mapping[str, Any] | None,
    ) -> Installed:
        """Return a pipeline of another environment."""
        ...


def configured_nodes(config: Config, registry: Registry, elsewhere: Elsewhere | None = None) -> list[Node]:
    """Return the pipelines that the configuration asks for, or every installed one where it names none.

    Parameters
    ----------
    config : Config
        The configuration.
    registry : Registry
        The installed plugins.
    elsewhere : Elsewhere, optional
        Who makes pipelines of other environments, and keeps workers for them; one of its own by default.

    Raises
    ------
    ConfigurationError
        When a pipeline is not installed or cannot be used, its settings are wrong, or two have one AE title.
    """
    if config.pipelines is None:
        tables: Iterable[tuple[str, PipelineTable]] = (
            (name, PipelineTable()) for name in registry.names("pipelines")
        )
        nodes = [
            node for name, table in tables if (node := _working(name, table, config, registry)) is not None
        ]
    else:
        nodes = [_node(name, table, config, registry, elsewhere) for name, table in config.pipelines.items()]
    if not nodes:
        raise ConfigurationError(no_pipeline_message(registry))
    by_title: dict[str, Node] = {}
    for node in nodes:
        other = by_title.setdefault(node.ae_title, node)
        if other is not node:
            msg = (
                f"pipelines {other.name!r} and {node.name!r} are both called {node.ae_title!r}: "
                f"set pipelines.{node.name}.ae_title to another AE title"
            )
            raise ConfigurationError(msg)
    return nodes


def no_pipeline_message(registry: Registry) -> str:
    """Return what to tell someone who has no pipeline that runs."""
    broken = [plugin for plugin in registry.plugins if plugin.reason]
    told = "".join(
        f"\n  {plugin.distribution} {plugin.version}: {plugin.status.value}: {plugin.reason}"
        for plugin in broken
    )
    if told:
        return f"no installed pipeline can run:{told}"
    return (
        "no pipeline is installed. A pipeline is a Python package: install one beside dicomnode-host, for"
        " instance the example with `pip install ./examples/smooth` in a copy of the repository, then look at"
        " `dicomnode-host --list-plugins`."
    )


def _working(name: str, table: PipelineTable, config: Config, registry: Registry) -> Node | None:
    """Return a pipeline that nobody asked for by name; ``None`` if it is broken (the registry says why)."""
    try:
        return _node(name, table, config, registry)
    except ConfigurationError as error:
        registry.plugin_of(registry.registration("pipelines", name)).fail(str(error))
        return None


def _node(
    name: str, table: PipelineTable, config: Config, registry: Registry, elsewhere: Elsewhere | None = None
) -> Node:
    where = config.named(("pipelines", name))
    try:
        installed = (
            installed_here(name, table, registry)
            if table.environment is None
            else _there(name, table, table.environment, elsewhere or _isolation(config))
        )
    except SettingsError as error:
        keys = (("pipelines", name, "settings", *key) for key, _ in error.problems)
        told = (f"{config.named(key)}: {what}" for key, (_, what) in zip(keys, error.problems, strict=True))
        whose = "".join(getattr(error, "__notes__", ()))
        raise ConfigurationError("\n".join(f"{each}{whose}" for each in told)) from error
    except (ConfigurationError, PluginError) as error:
        msg = f"{where}: {error}" + "".join(getattr(error, "__notes__", ()))
        raise ConfigurationError(msg) from error
    pipeline, kind = installed.pipeline, type(installed.pipeline)
    lacking = {
        each: count
        for each, count in pipeline.resources.items()
        if config.host.resources.get(each, 0) < count
    }
    if lacking:
        needs = ", ".join(f"{each} = {count}" for each, count in lacking.items())
        msg = f"{where}: it needs {needs}, which host.resources does not have: set host.resources"
        raise ConfigurationError(msg)
    return Node(
        name=name,
        pipeline=pipeline,
        ae_title=table.ae_title or kind.ae_title or name.upper()[:_LONGEST_AE_TITLE],
        destinations=table.destinations if table.destinations is not None else (default_destination(config),),
        table=table,
        registration=installed.registration,
        environment=installed.environment,
    )


def installed_here(name: str, table: PipelineTable, registry: Registry) -> Installed:
    """Return a pipeline of the host's own environment."""
    resolved = resolve_pipeline(registry, name, table.plugin, table.declaration())
    registration, kind = resolved.registration, resolved.kind
    whose = f"{kind.__name__} of {registration.distribution} {registration.version}"
    try:
        kind.check_definition()
        settings = kind.validated_settings(table.settings)
    except ConfigurationError as error:
        error.add_note(f" (pipeline {whose})")
        raise
    try:
        return Installed(kind(settings), registration)
    except Exception as error:
        msg = f"{whose} could not be made: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error


def _isolation(config: Config) -> Elsewhere:
    """Return who makes pipelines of other environments, for the time that they are in use."""
    from dicomnode.host.isolation.isolation import Isolation

    return Isolation.of(config)


def _there(
    name: str, table: PipelineTable, environment: Path | Sequence[str], elsewhere: Elsewhere
) -> Installed:
    """Return a pipeline of another environment."""
    return elsewhere.pipeline(
        name, environment, plugin=table.plugin, settings=table.settings, declared=table.declaration()
    )


def default_destination(config: Config) -> str:
    """Return where results go when the configuration names no destination: a folder in the data directory."""
    return f"{FILE_SCHEME}{Path(config.host.data) / 'results'}"
