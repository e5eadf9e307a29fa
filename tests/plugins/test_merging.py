"""What several plugins add to one thing: merged in any order, or reported as a conflict."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import click
import pluggy
import pytest
from pydicom.uid import UID

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints import ct_blueprint
from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement
from dicomnode.errors import PluginError
from dicomnode.plugins.hook_calls import HookResult
from dicomnode.plugins.merging import merged_blueprint, merged_commands

OWN = Blueprint([CopyElement("PatientID"), StaticElement("InstitutionName", "ours")])


def added(**values: str) -> Blueprint:
    """Return a blueprint that a plugin adds."""
    return Blueprint([StaticElement(keyword, value) for keyword, value in values.items()])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_additions_merge_in_any_order(order: tuple[int, ...]) -> None:
    """Each attribute that a plugin adds is there, over the pipeline's own; two may add the same."""
    results = [
        HookResult("a", added(InstitutionName="theirs")),
        HookResult("b", added(StationName="x", InstitutionName="theirs")),
        HookResult("c", None),
    ]
    merged = merged_blueprint(OWN, [results[each] for each in order])
    assert merged == OWN + added(InstitutionName="theirs", StationName="x")


def test_nothing_is_added() -> None:
    """The very blueprint comes back."""
    assert merged_blueprint(OWN, [HookResult("a"), HookResult("b", Blueprint([]))]) is OWN


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_values_of_one_attribute_are_a_conflict(order: tuple[int, ...]) -> None:
    """Both plugins are named, in one order, with the attribute."""
    results = [HookResult("b", added(StationName="x")), HookResult("a", added(StationName="y"))]
    with pytest.raises(PluginError, match="the plugins a and b add StationName to the blueprint"):
        merged_blueprint(OWN, [results[each] for each in order])


def test_two_sop_classes_are_a_conflict() -> None:
    """One is taken over, as often as it is said; another one is a conflict."""
    merged = merged_blueprint(OWN, [HookResult("a", ct_blueprint), HookResult("b", ct_blueprint)])
    assert merged.SOPClassUID == ct_blueprint.SOPClassUID

    class Other(Blueprint):
        SOPClassUID = UID("1.2.3")  # type: ignore[assignment]  # a class that the standard does not have

    with pytest.raises(PluginError, match="the plugins a and b add SOPClassUID"):
        merged_blueprint(OWN, [HookResult("a", ct_blueprint), HookResult("b", Other([]))])


def test_what_is_no_blueprint() -> None:
    """A plugin that returns something else, or raised, fails the job."""
    with pytest.raises(PluginError, match="of the plugin a returned dict, not a Blueprint"):
        merged_blueprint(OWN, [HookResult("a", {})])
    with pytest.raises(OSError, match="broken"):
        merged_blueprint(OWN, [HookResult("a", error=OSError("broken"))])


# -- commands -----------------------------------------------------------------------------------------------

spec, impl = pluggy.HookspecMarker("test"), pluggy.HookimplMarker("test")


class Specs:
    """One hook."""

    @spec
    def commands(self, cli: click.Group) -> None:
        """Add commands."""


def merged(cli: click.Group, **plugins: Any) -> list[str]:
    """Add the commands of plugins, by what each does with its group, and return what is wrong."""
    manager = pluggy.PluginManager("test")
    manager.add_hookspecs(Specs)
    for name, function in plugins.items():
        manager.register(SimpleNamespace(commands=impl(function)), name=name)
    return list(merged_commands(cli, manager.hook.commands))


def adding(*names: str) -> Any:
    """Return a hook that adds commands."""

    def commands(cli: click.Group) -> None:
        for name in names:
            cli.add_command(click.Command(name))

    return commands


def test_commands_join_the_hosts() -> None:
    """A plugin has a group of its own, so that it can take no command of the host's away."""

    def take(cli: click.Group) -> None:
        assert not cli.commands
        cli.add_command(click.Command("taken"))

    host = click.Group(commands={"run": click.Command("run")})
    assert merged(host, a=adding("one", "two"), b=take) == []
    assert set(host.commands) == {"run", "one", "two", "taken"}


def test_names_that_are_taken() -> None:
    """A name of the host's, or of two plugins, is left out and reported; what failed is reported, too."""

    def fail(cli: click.Group) -> None:
        raise ValueError("broken")

    run = click.Command("run")
    host = click.Group(commands={"run": run})
    problems = merged(host, a=adding("run", "fine"), b=adding("same"), c=adding("same"), d=fail)
    assert sorted(problems) == [
        "dicomnode_commands of the plugin d failed: ValueError: broken",
        "the command 'run' of the plugin a is left out: the host has one of that name",
        "the command 'same' is left out: the plugins b, c each have one of that name",
    ]
    assert set(host.commands) == {"run", "fine"}
    assert host.commands["run"] is run
