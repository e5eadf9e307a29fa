"""A pipeline as it is configured on this host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydicom.tag import BaseTag

from dicomnode.errors import ConfigurationError, PluginError, SettingsError
from dicomnode.host.configuration.config import Config, HostTable, PipelineTable
from dicomnode.host.configuration.references import FILE_SCHEME
from dicomnode.host.configuration.result_content import content_digest, settings_digest
from dicomnode.pipeline.gather_key import GatherBy, Grouping
from dicomnode.pipeline.inputs import asks_peer
from dicomnode.pipeline.pipelines import AbstractPipeline, IODCheck, LateImages
from dicomnode.plugins.declared import resolve_pipeline
from dicomnode.plugins.pipeline_loading import make_pipeline
from dicomnode.plugins.registry import Registration, Registry

_LONGEST_AE_TITLE = 16


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """When and how a pipeline's jobs run; see :class:`~dicomnode.AbstractPipeline`."""

    settle: float
    open_association_wait: float
    expires: float | None
    late_images: LateImages
    sorts_before_answer: bool
    timeout: float
    memory: int | None
    disk: int | None
    concurrency: int
    in_order: bool
    priority: int
    resources: Mapping[str, int]
    iod_check: IODCheck


@dataclass(frozen=True)
class ConfiguredPipeline:
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
    settings_digest : str
        Of its effective settings, where the class that makes them is in another environment.
    host : HostTable
        What holds for all pipelines of this host.
    """

    name: str
    pipeline: AbstractPipeline
    ae_title: str
    destinations: tuple[str, ...]
    table: PipelineTable
    registration: Registration = field(repr=False)
    environment: Path | None = None
    settings_digest: str = ""
    host: HostTable = field(default_factory=HostTable, repr=False)

    @property
    def kind(self) -> type[AbstractPipeline]:
        """The pipeline's class."""
        return type(self.pipeline)

    @cached_property
    def copied_tags(self) -> Mapping[str, frozenset[BaseTag]]:
        """Input name -> the tags that the blueprint copies from its images."""
        return self.kind.copied_tags()

    @property
    def gather_by(self) -> GatherBy | None:
        """What one job is, as the configuration says; ``None`` where it leaves that to the class."""
        return self.table.gather_by

    @cached_property
    def grouping(self) -> Grouping:
        """What one job is here: as configured, else as the class says, else by what its inputs take."""
        return self.kind.grouping(self.table.gather_by)

    @property
    def gathers_by(self) -> str:
        """The name of :attr:`grouping`; ``container_key`` where the class makes keys of its own."""
        return "container_key" if self.kind.has_own_key() else self.grouping.name

    @cached_property
    def proves(self) -> bool:
        """Whether an input can prove that it is whole, so that nothing more is waited for.

        Where an input chooses among the series of a container it cannot: a better one may still come.
        """
        inputs = self.kind.inputs.values()
        if self.gathers_by != "series" and any(each.chooses_series() for each in inputs):
            return False
        return any(each.expectation() is not None for each in inputs)

    @cached_property
    def asks_peers(self) -> bool:
        """Whether a peer is asked how many images a series has."""
        return any(asks_peer(each.expected_images) for each in self.kind.inputs.values())

    @cached_property
    def content(self) -> str:
        """A digest of what decides about its results besides the images: plugin, version, settings."""
        settings = self.settings_digest or settings_digest(self.pipeline.settings)
        return content_digest(self.registration, self.table.declaration(), settings)

    @cached_property
    def policy(self) -> JobPolicy:
        """What holds here: the configuration's word, else the class's."""
        return JobPolicy(**{each.name: self._rule(each.name) for each in fields(JobPolicy)})

    def _rule(self, name: str) -> Any:
        """Return what holds here: the table's word, else the class's, else what the host has for all."""
        for said in (getattr(self.table, name), getattr(self.pipeline, name)):
            if said is not None:
                return said
        return getattr(self.host, name, None)


@dataclass(frozen=True, slots=True)
class InstalledPipeline:
    """A pipeline's object, where it comes from, and in which environment (``None``: the host's own).

    ``settings_digest`` is as :class:`ConfiguredPipeline` has it.
    """

    pipeline: AbstractPipeline
    registration: Registration
    environment: Path | None = None
    settings_digest: str = ""


class EnvironmentResolver(Protocol):
    """Makes pipelines of other environments: :class:`~dicomnode.host.isolation.isolation.Isolation` does."""

    def pipeline(
        self,
        name: str,
        environment: Path | Sequence[str],
        *,
        plugin: str | None,
        settings: Mapping[str, Any],
        declared: Mapping[str, Any] | None,
    ) -> InstalledPipeline:
        """Return a pipeline of another environment."""
        ...


@dataclass(slots=True)
class PipelineCheck:
    """What is known of a configured pipeline, whether it can run or not.

    Attributes
    ----------
    name : str
        The table's name.
    ae_title : str or None
        What it is, or would be, called; ``None`` where its class is not known, and it is not configured.
    configured : ConfiguredPipeline or None
        The pipeline, where nothing is wrong with it alone.
    problems : list of str
        What is wrong, each with file, line and key.
    variables : tuple of str
        The environment variables that its settings lack.
    """

    name: str
    ae_title: str | None = None
    configured: ConfiguredPipeline | None = None
    problems: list[str] = field(default_factory=list)
    variables: tuple[str, ...] = ()

    @property
    def lacks_only_variables(self) -> bool:
        """Whether nothing is wrong with it but that the environment lacks variables."""
        return bool(self.variables) and len(self.problems) == len(self.variables)


def configure_pipelines(
    config: Config, registry: Registry, environments: EnvironmentResolver
) -> list[ConfiguredPipeline]:
    """Return the pipelines that the configuration asks for, or every installed one where it names none.

    Parameters
    ----------
    config : Config
        The configuration.
    registry : Registry
        The installed plugins.
    environments : EnvironmentResolver
        Makes pipelines of other environments. They need it for as long as they are in use.

    Raises
    ------
    ConfigurationError
        When pipelines are not installed or cannot be used, settings are wrong, resources are lacking, or two
        have one AE title: all that is wrong, in a line each.
    """
    checked = checked_pipelines(config, registry, environments)
    if config.pipelines is None:  # none is asked for by name: the registry shows why one is left out
        for each in checked:
            if each.configured is None:
                plugin = registry.plugin_of(registry.registration("pipelines", each.name))
                plugin.fail("\n".join(each.problems))
        checked = [each for each in checked if each.configured is not None]
    if problems := [problem for each in checked for problem in each.problems]:
        raise ConfigurationError("\n".join(problems))
    configured_pipelines = [each.configured for each in checked if each.configured is not None]
    if not configured_pipelines:
        raise ConfigurationError(no_pipeline_message(registry))
    return configured_pipelines


def checked_pipelines(
    config: Config,
    registry: Registry,
    environments: EnvironmentResolver,
    *,
    skipped: Collection[str] = (),
) -> list[PipelineCheck]:
    """Check every pipeline as :func:`configure_pipelines` does, and raise nothing.

    Parameters
    ----------
    config, registry, environments
        As there.
    skipped : collection of str
        Pipelines that are not checked.
    """
    tables = config.pipelines
    if tables is None:
        tables = {name: PipelineTable() for name in registry.names("pipelines")}
    checked = [
        _checked(name, table, config, registry, environments)
        for name, table in tables.items()
        if name not in skipped
    ]
    by_title: dict[str, PipelineCheck] = {}
    for each in checked:
        if each.ae_title is None or (config.pipelines is None and each.configured is None):
            continue
        other = by_title.setdefault(each.ae_title, each)
        if other is not each:
            each.problems.append(
                f"{config.label(('pipelines', each.name, 'ae_title'))}: pipelines {other.name!r} and"
                f" {each.name!r} are both called {each.ae_title!r}: set pipelines.{each.name}.ae_title to"
                " another AE title"
            )
    return checked


def no_pipeline_message(registry: Registry) -> str:
    """Return the message for a node on which no pipeline can run."""
    broken = [plugin for plugin in registry.plugins if plugin.reason]
    reasons = "".join(
        f"\n  {plugin.distribution} {plugin.version}: {plugin.status.value}: {plugin.reason}"
        for plugin in broken
    )
    if reasons:
        return f"no installed pipeline can run:{reasons}"
    return (
        "no pipeline is installed. A pipeline is a Python package: install one beside dicomnode-host, for"
        " instance the example with `pip install ./examples/smooth` in a copy of the repository, then look at"
        " `dicomnode-host --list-plugins`."
    )


def _checked(
    name: str, table: PipelineTable, config: Config, registry: Registry, environments: EnvironmentResolver
) -> PipelineCheck:
    """Find out all that is wrong with one pipeline, as far as its class can be loaded."""
    where = config.label(("pipelines", name))
    checked = PipelineCheck(name, table.ae_title)
    kind: type[AbstractPipeline] | None = None
    installed: InstalledPipeline | None = None
    try:
        if table.environment is None:
            resolved = resolve_pipeline(registry, name, table.plugin, table.declaration())
            kind = resolved.kind  # also where it cannot be made: its AE title and resources are checked, too
            installed = InstalledPipeline(make_pipeline(resolved, table.settings), resolved.registration)
        else:
            installed = environments.pipeline(
                name,
                table.environment,
                plugin=table.plugin,
                settings=table.settings,
                declared=table.declaration(),
            )
            kind = type(installed.pipeline)
    except SettingsError as error:
        whose = "".join(getattr(error, "__notes__", ()))
        checked.variables = error.variables
        for key, what in error.problems:
            checked.problems.append(f"{config.label(('pipelines', name, 'settings', *key))}: {what}{whose}")
    except (ConfigurationError, PluginError) as error:
        checked.problems.append(f"{where}: {error}" + "".join(getattr(error, "__notes__", ())))
    if kind is None:
        return checked
    checked.ae_title = table.ae_title or kind.ae_title or name.upper()[:_LONGEST_AE_TITLE]
    needed = kind.resources if table.resources is None else table.resources
    checked.problems += _lacking(needed, where, config)
    checked.problems += _wrong_gather_by(kind, name, table, config)
    if installed is not None and not checked.problems:
        checked.configured = ConfiguredPipeline(
            name=name,
            pipeline=installed.pipeline,
            ae_title=checked.ae_title,
            destinations=(
                table.destinations if table.destinations is not None else (default_destination(config),)
            ),
            table=table,
            registration=installed.registration,
            environment=installed.environment,
            settings_digest=installed.settings_digest,
            host=config.host,
        )
    return checked


def _lacking(resources: Mapping[str, int], where: str, config: Config) -> list[str]:
    """Say which of the host's resources a pipeline needs, and could never get."""
    lacking = [
        f"{each} = {count}" for each, count in resources.items() if config.host.resources.get(each, 0) < count
    ]
    if not lacking:
        return []
    what = f"it needs {', '.join(lacking)}, which host.resources does not have: set host.resources"
    return [f"{where}: {what}"]


def _wrong_gather_by(
    kind: type[AbstractPipeline], name: str, table: PipelineTable, config: Config
) -> list[str]:
    """Say what is wrong with what one job is, by the configuration's word or the class's."""
    where = config.label(("pipelines", name) if table.gather_by is None else ("pipelines", name, "gather_by"))
    try:
        kind.grouping(table.gather_by)
    except ConfigurationError as error:
        return [f"{where}: {error}"]
    if table.gather_by is not None and kind.has_own_key():
        return [f"{where}: it would change nothing: {kind.__name__}.container_key says what one job is"]
    return []


def installed_pipeline(name: str, table: PipelineTable, registry: Registry) -> InstalledPipeline:
    """Return a pipeline of the host's own environment."""
    resolved = resolve_pipeline(registry, name, table.plugin, table.declaration())
    return InstalledPipeline(make_pipeline(resolved, table.settings), resolved.registration)


def default_destination(config: Config) -> str:
    """Return where results go when the configuration names no destination: a folder in the data directory."""
    return f"{FILE_SCHEME}{Path(config.host.data) / 'results'}"
