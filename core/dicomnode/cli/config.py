"""``dicomnode-host config``: what is in force, and where it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import config_option, json_option
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ConfigurationError

if TYPE_CHECKING:
    from dicomnode.host.configuration.config import Config
    from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, EnvironmentResolver
    from dicomnode.host.configuration.effective_values import Value
    from dicomnode.plugins.registry import Registry

_COMMENTS_FROM = 44


@click.command()
@config_option
@json_option
@click.pass_obj
def config(root_config: Path | None, config: Path | None, *, as_json: bool) -> int:
    """Print what is in force, as a configuration file would say it, and where each value comes from.

    Secrets are shown as asterisks. What is not set is a comment, and so is what the inputs of an installed
    pipeline say of themselves.
    """
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.host.configuration.effective_values import effective_values
    from dicomnode.host.isolation.isolation import Isolation
    from dicomnode.plugins.registry import Registry

    settings = load_config(config or root_config)
    registry = Registry(settings.plugins.disabled, settings.plugins.only)
    names = registry.names("pipelines") if settings.pipelines is None else list(settings.pipelines)
    with Isolation.of(settings) as environments:
        configured_pipeline = _pipeline_by_name(settings, registry, environments)
        values = list(effective_values(settings, names, configured_pipeline))
    if as_json:
        click.echo(json.dumps([value.to_json() for value in values], indent=2))
    else:
        click.echo("\n".join(_toml(values)))
    return 0


def _pipeline_by_name(
    settings: Config, registry: Registry, environments: EnvironmentResolver
) -> Callable[[str], ConfiguredPipeline]:
    """Return what makes a pipeline by its name, each on its own: one that is wrong hides no other."""
    from dicomnode.host.configuration.config import PipelineTable
    from dicomnode.host.configuration.configured_pipeline import configure_pipelines

    def configured_pipeline(name: str) -> ConfiguredPipeline:
        table = (settings.pipelines or {}).get(name, PipelineTable())
        alone = settings.model_copy(update={"pipelines": {name: table}})
        try:
            return configure_pipelines(alone, registry, environments)[0]
        except ConfigurationError:
            raise
        except Exception as error:
            msg = f"pipelines.{name}: {type(error).__name__}: {error}"
            raise ConfigurationError(msg) from error

    return configured_pipeline


# -- as TOML ----------------------------------------------------------------------------------------------


def _toml(values: Iterable[Value]) -> Iterable[str]:
    """Yield the lines of a configuration file that says the same."""
    table: tuple[str, ...] = ()
    for value in values:
        if value.path[:-1] != table and not value.of_class:
            table = value.path[:-1]
            yield f"\n[{'.'.join(map(_key, table))}]" if table else ""
        unset = value.value is None or value.value == {}
        line = f"{'.'.join(map(_key, value.path[len(table) :]))} ="
        if not unset:
            line += f" {toml_value(value.value)}"
        if unset or value.of_class:
            line = f"# {line}"
        yield f"{line:{_COMMENTS_FROM}}  # {safe_text(value.origin)}"


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "_").replace("_", "a").isalnum()
    return name if plain else json.dumps(name)


def toml_value(value: Any) -> str:
    """Return plain data as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return str(value)
        case int() | float():
            return repr(value)
        case Mapping():
            inside = ", ".join(f"{_key(str(key))} = {toml_value(each)}" for key, each in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
    # JSON's strings are TOML's, but for DEL, which TOML wants escaped
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


__all__ = ["config", "toml_value"]
