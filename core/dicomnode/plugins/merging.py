"""What several plugins add to one thing: merged in whatever order, or reported as a conflict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dicomnode.errors import PluginError
from dicomnode.plugins.hook_calls import HookResult, call_implementation

if TYPE_CHECKING:
    import click
    import pluggy

    from dicomnode.dicom.blueprint.blueprint import Blueprint


def merged_blueprint(blueprint: Blueprint, added: Iterable[HookResult]) -> Blueprint:
    """Return a blueprint with what plugins add to it.

    Raises
    ------
    PluginError
        When two plugins want different things of one attribute, or one returned something else than a
        blueprint.
    Exception
        What a plugin raised.
    """
    from dicomnode.dicom.blueprint.blueprint import Blueprint

    chosen: dict[Any, tuple[str, Any]] = {}
    classes: dict[str, str] = {}
    for result in added:
        if result.error is not None:
            raise result.error
        addition = result.value
        if addition is None:
            continue
        if not isinstance(addition, Blueprint):
            what = type(addition).__name__
            msg = f"dicomnode_blueprint of the plugin {result.plugin} returned {what}, not a Blueprint"
            raise PluginError(msg)
        for element in addition:
            other, theirs = chosen.setdefault(element.key, (result.plugin, element))
            if theirs != element:
                _raise_conflict(other, result.plugin, element.keyword)
        if addition.SOPClassUID is not None:
            for uid, other in classes.items():
                if uid != addition.SOPClassUID:
                    _raise_conflict(other, result.plugin, "SOPClassUID")
            classes[str(addition.SOPClassUID)] = result.plugin
    if not chosen and not classes:
        return blueprint
    addition = Blueprint((element for _, element in chosen.values()), SOPClassUID=next(iter(classes), None))
    return blueprint + addition


def _raise_conflict(one: str, other: str, what: str) -> None:
    one, other = sorted((one, other))
    msg = f"the plugins {one} and {other} add {what} to the blueprint, each with another value; disable one"
    raise PluginError(msg)


def merged_commands(cli: click.Group, hook: pluggy.HookCaller) -> Iterator[str]:
    """Add the commands of every plugin to a group, and yield what is wrong with those that are left out.

    Parameters
    ----------
    cli : click.Group
        Where they are added. Each plugin is handed a group of its own, so that it can take nothing away.
    hook : pluggy.HookCaller
        ``dicomnode_commands``.

    Yields
    ------
    str
        A line for each plugin that failed, and for each name that is taken.
    """
    import click

    groups: dict[str, click.Group] = defaultdict(click.Group)
    offered: dict[str, list[tuple[str, click.Command]]] = defaultdict(list)
    for implementation in hook.get_hookimpls():
        plugin = implementation.plugin_name
        error = call_implementation(hook, implementation, {"cli": groups[plugin]}).error
        if error is not None:
            yield f"dicomnode_commands of the plugin {plugin} failed: {type(error).__name__}: {error}"
    for plugin, group in groups.items():
        for name, command in group.commands.items():
            offered[name].append((plugin, command))
    for name, commands in sorted(offered.items()):
        owners = ", ".join(sorted(plugin for plugin, _ in commands))
        if name in cli.commands:
            yield f"the command {name!r} of the plugin {owners} is left out: the host has one of that name"
        elif len(commands) > 1:
            yield f"the command {name!r} is left out: the plugins {owners} each have one of that name"
        else:
            cli.add_command(commands[0][1], name)
