"""Which commands there are, found when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dicomnode.plugins.registry import Registry

COMMANDS = {
    "run": "run:run",
    "demo": "demo:demo",
    "config": "config:config",
    "check": "check:check",
    "status": "operate:status",
    "jobs": "operate:jobs",
    "show": "operate:show",
    "replay": "operate:replay",
    "discard": "operate:discard",
    "process": "operate:process",
    "give-up": "operate:give_up",
    "quarantine": "quarantine:quarantine",
    "explain": "explain:explain",
    "trace": "trace:trace",
    "new": "new:new",
    "simulate": "simulate:simulate",
}
"""Command -> ``module:object`` in this package. Nothing of it is imported before it is used."""


class HostGroup(click.Group):
    """The core's commands, and those that plugins contribute through ``dicomnode_commands``.

    Plugins are imported only for a command that the core does not have, and for the list of commands: what is
    needed to get a node going again works however broken a plugin is.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self._load_plugins(ctx)
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(import_module(f".{module}", __package__), name)
            return command
        self._load_plugins(ctx)
        return super().get_command(ctx, cmd_name)

    def _load_plugins(self, ctx: click.Context) -> None:
        if ctx.meta.setdefault("dicomnode.commands", False):
            return
        ctx.meta["dicomnode.commands"] = True
        from dicomnode.plugins.hooks import Hooks

        Hooks(registry_of(ctx), implementing="dicomnode_commands").commands(self)


def registry_of(ctx: click.Context) -> Registry:
    """Return the installed plugins, as the configuration lets them be used."""
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.plugins.registry import Registry

    table = load_config(ctx.find_root().params.get("config")).plugins
    return Registry(table.disabled, table.only)
