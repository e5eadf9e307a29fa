"""``dicomnode-host --list-plugins``: which plugins are installed, and how each stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE
from dicomnode.errors import PluginError

if TYPE_CHECKING:
    from dicomnode.plugins.registry import Plugin, Registry

_STYLES = {"active": "green", "disabled": "dim", "failed": "bold red", "conflict": "bold yellow"}
_WIDE = 1000
"""The width where there is no terminal: a row is a line, for grep."""


def list_plugins(config: Path | None, *, as_json: bool = False, load: bool = False) -> int:
    """Print a row for each distribution that registers something.

    Parameters
    ----------
    config : pathlib.Path or None
        The configuration file, whose table ``[plugins]`` may leave some out.
    as_json : bool
        A list of objects instead of a table.
    load : bool
        Import everything that is registered, each plugin in a process of its own. Otherwise nothing is
        imported: metadata and source tell what they can.

    Returns
    -------
    int
        The exit code: 1 if any plugin failed or is in conflict.
    """
    from dicomnode.plugins.examination import examine

    registry, unknown = _configured(config)
    examine(registry)
    if load:
        from dicomnode.plugins.probe import load_each

        load_each(registry)
    for name in unknown:
        click.echo(f"the table [plugins] names {name}, which registers nothing here", err=True)
    if as_json:
        click.echo(json.dumps([plugin.to_json() for plugin in registry.plugins], indent=2))
    else:
        _print_table(registry.plugins)
    return NOT_DONE if registry.problems() else DONE


def require_sound(registry: Registry) -> None:
    """Refuse to go on where any installed plugin is broken: ``run --strict``.

    Raises
    ------
    PluginError
        With a line for each broken plugin.
    """
    from dicomnode.plugins.probe import find_problems

    if trouble := find_problems(registry):
        msg = "refused to start (--strict), because of:\n" + "\n".join(f"  {line}" for line in trouble)
        raise PluginError(msg)


def _configured(config: Path | None) -> tuple[Registry, list[str]]:
    """Return the plugins as the configuration lets them be used, and the names there that mean none."""
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.plugins.registry import Registry

    table = load_config(config).plugins
    registry = Registry(table.disabled, table.only)
    return registry, registry.unknown([*table.disabled, *(table.only or ())])


def _print_table(plugins: Sequence[Plugin]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("status", "distribution", "version", "registers", "hooks", "reason"):
        table.add_column(heading, overflow="fold")
    for plugin in plugins:
        status = plugin.status.value
        cells = (
            plugin.distribution,
            plugin.version,
            _registered(plugin),
            ", ".join(plugin.hooks),
            plugin.reason,
        )
        table.add_row(Text(status, style=_STYLES[status]), *(Text(cell) for cell in cells))
    terminal = sys.stdout.isatty()
    Console(file=sys.stdout, width=None if terminal else _WIDE).print(table)


def _registered(plugin: Plugin) -> str:
    """Return what a plugin registers, ``pipelines: a, b; outputs: c``."""
    kinds: dict[str, list[str]] = {}
    for each in plugin.registrations:
        kinds.setdefault(each.kind, []).append(each.name)
    return "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items())
