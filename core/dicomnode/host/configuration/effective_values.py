"""What is in force, and where each value comes from: file, environment, a pipeline's class, or a default."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.config_sources import ConfigSources, KeyPath
from dicomnode.host.configuration.config_values import Address
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.plugins.declared_tables import DeclaredPipeline

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Value:
    """One key of the configuration.

    Attributes
    ----------
    path : KeyPath
        Its tables, and itself.
    value : Any
        What holds, as plain data; ``None`` where nothing is set. Secrets are asterisks.
    origin : str
        Where it comes from: a line of the file, a variable, ``default``, or the class of a pipeline.
    of_class : bool
        Whether a file that says it declares another pipeline than the installed one.
    """

    path: KeyPath
    value: Any
    origin: str
    of_class: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"key": ".".join(self.path), "value": self.value, "origin": self.origin}


def effective_values(
    config: Config, names: list[str], configured_pipeline: Callable[[str], ConfiguredPipeline]
) -> Iterator[Value]:
    """Yield every key with what holds for it, table by table.

    Parameters
    ----------
    config : Config
        The configuration.
    names : list of str
        The pipelines that run.
    configured_pipeline : callable
        Name -> the pipeline as it is configured. What a pipeline's class says can be shown, and which of its
        settings are secrets is known, only if the class can be had: it may raise ConfigurationError.
    """
    for name in type(config).model_fields:
        if name != "pipelines":
            yield from _values((name,), getattr(config, name), config.sources)
    for name in names:
        yield from _pipeline(name, config, configured_pipeline)


def _values(path: KeyPath, value: Any, sources: ConfigSources) -> Iterator[Value]:
    """Yield the keys of a table, then those of the tables within it, as a file must have them."""
    inside = _inside(value)
    if not inside:
        yield Value(path, _plain(value), _origin(path, sources))
        return
    for tables in (False, True):
        for name, each in inside.items():
            if bool(_inside(each)) is tables:
                yield from _values((*path, name), each, sources)


def _inside(value: Any) -> dict[str, Any]:
    """Return what is in a table; nothing where the value is none, or has no key."""
    if isinstance(value, BaseModel) and not isinstance(value, Address):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return {str(name): each for name, each in value.items()} if isinstance(value, Mapping) else {}


def _origin(path: KeyPath, sources: ConfigSources) -> str:
    return sources.origin(path) or DEFAULT


def _pipeline(
    name: str, config: Config, configured_pipeline: Callable[[str], ConfiguredPipeline]
) -> Iterator[Value]:
    path, sources = ("pipelines", name), config.sources
    table = (config.pipelines or {}).get(name)
    try:
        configured = configured_pipeline(name)
    except ConfigurationError as error:
        hidden = "(hidden: which of them are secret is known to the plugin alone)"
        for each in _values(path, table, sources):
            if each.path[2:3] != ("settings",):
                yield each
        yield Value((*path, "settings"), hidden, str(error).replace("\n", "; "))
        return
    registration = configured.registration
    whose = f"{type(configured.pipeline).__name__} of {registration.distribution} {registration.version}"
    holds = {each: getattr(configured.policy, each) for each in configured.policy.__dataclass_fields__}
    holds |= {"ae_title": configured.ae_title, "destinations": list(configured.destinations)}
    holds["gather_by"] = _gather_by(configured)
    not_of_class = _not_of_class(configured, whose, sources)
    declared: list[Value] = []
    for each in _values(path, configured.table, sources):
        key = each.path[2]
        if key == "settings":
            continue
        if each.value is None and key in holds:
            yield Value(each.path, _plain(holds[key]), not_of_class.get(key, whose))
        elif key in DeclaredPipeline.model_fields and len(each.path) > len(path) + 1:
            declared.append(each)
        elif each.value is not None or key not in DeclaredPipeline.model_fields:
            yield each
    for input_name, kind in configured.kind.inputs.items():
        yield from _when_whole(
            (*path, "inputs", input_name),
            kind,
            whose,
            {each.path for each in declared if each.value is not None},
        )
    yield from (each for each in declared if each.value is not None)
    for key, value in _settings(configured).items():
        origin = _origin((*path, "settings", key), sources)
        yield Value((*path, "settings", key), value, whose if origin == DEFAULT else origin)


def _when_whole(
    path: KeyPath, kind: type[AbstractInput], whose: str, said: Collection[KeyPath]
) -> Iterator[Value]:
    """Yield what a pipeline's own input says of when it is whole, unless the configuration says it."""
    expected = kind.expectation()
    by_code = expected == "function"
    origin = DEFAULT if expected is None else f"{'a function of ' if by_code else ''}{whose}"
    choice = f"choose_series of {whose}" if kind.chooses_series() else DEFAULT
    found = {"expected_images": (None if by_code else expected, origin), "choose_series": (None, choice)}
    for key, (value, origin) in found.items():
        if (*path, key) not in said:
            yield Value((*path, key), value, origin, of_class=True)


def _gather_by(configured: ConfiguredPipeline) -> str | list[str] | None:
    """Return what one job is, as a file says it; ``None`` where no file can: the class makes its own keys."""
    if configured.kind.has_own_key():
        return None
    grouping = configured.grouping
    return grouping.name if grouping.is_level else grouping.name.split(", ")


def _not_of_class(configured: ConfiguredPipeline, whose: str, sources: ConfigSources) -> dict[str, str]:
    """Return key -> its origin, for what neither the pipeline's table nor its class says."""
    pipeline = configured.pipeline
    origins = {"destinations": DEFAULT}
    if pipeline.ae_title is None:
        origins["ae_title"] = DEFAULT
    if configured.kind.has_own_key():
        origins["gather_by"] = f"container_key of {whose}"
    elif pipeline.gather_by is None:
        origins["gather_by"] = f"inputs of {whose}"
    for key in ("settle", "open_association_wait"):
        if getattr(pipeline, key) is None:
            origins[key] = f"host.{key} ({_origin(('host', key), sources)})"
    return origins


def _settings(configured: ConfiguredPipeline) -> Mapping[str, Any]:
    """Return a pipeline's settings, its defaults included, its secrets hidden."""
    settings = configured.pipeline.settings
    plain = TypeAdapter(type(settings)).dump_python(settings, mode="json", fallback=str)
    return plain if isinstance(plain, Mapping) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Address):
        return str(value)
    return TypeAdapter(type(value)).dump_python(value, mode="json", fallback=str)
