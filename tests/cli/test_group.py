"""Which commands there are: the host's own, found without plugins, and those that plugins contribute."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dicomnode.cli.group import COMMANDS, HostGroup, registry_of
from dicomnode.errors import ConfigurationError
from plugin_packages import PluginFolder

HELLO = """
    import click
    from dicomnode import hookimpl

    @hookimpl
    def dicomnode_commands(cli):
        @cli.command("acme-hello")
        def hello():
            click.echo("hello from a plugin")

        @cli.command("jobs")
        def jobs():
            click.echo("not the host's")
"""


@pytest.fixture
def ctx(monkeypatch: pytest.MonkeyPatch) -> click.Context:
    """Return the context of a command line without arguments."""
    monkeypatch.delenv("DICOMNODE_CONFIG", raising=False)
    return click.Context(HostGroup("dicomnode-host"), info_name="dicomnode-host")


def group_of(ctx: click.Context) -> HostGroup:
    """Return the group that a context is of."""
    assert isinstance(ctx.command, HostGroup)
    return ctx.command


def install_hello(plugins: PluginFolder) -> None:
    """Install a plugin with a command of its own, and one that has the name of a command of the host."""
    plugins.install("acme-hello", {"hooks": {"hello": "acme_hello"}}, modules={"acme_hello.py": HELLO})


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_of_the_host_is_there(
    ctx: click.Context, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is found by its name and has it, with a help text; no plugin is asked for."""
    monkeypatch.setattr("dicomnode.cli.group.registry_of", lambda ctx: pytest.fail("plugins are looked for"))
    command = group_of(ctx).get_command(ctx, name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str()


def test_a_name_that_nobody_has_is_no_command(ctx: click.Context, plugins: PluginFolder) -> None:
    """Neither the host nor a plugin has it."""
    install_hello(plugins)
    assert group_of(ctx).get_command(ctx, "acme-gone") is None


def test_a_plugins_command_is_found(ctx: click.Context, plugins: PluginFolder) -> None:
    """By its name, from the hook ``dicomnode_commands``."""
    install_hello(plugins)
    command = group_of(ctx).get_command(ctx, "acme-hello")
    assert command is not None
    assert command.name == "acme-hello"


def test_a_plugin_cannot_take_a_command_of_the_host(ctx: click.Context, plugins: PluginFolder) -> None:
    """Also after the plugins are loaded, the host's own stays."""
    from dicomnode.cli.operate import jobs

    install_hello(plugins)
    group_of(ctx).list_commands(ctx)
    assert group_of(ctx).get_command(ctx, "jobs") is jobs


def test_all_names_are_listed_once_in_order(ctx: click.Context, plugins: PluginFolder) -> None:
    """The host's and the plugins', sorted, none twice."""
    install_hello(plugins)
    names = group_of(ctx).list_commands(ctx)
    assert names == sorted(set(names))
    assert {*COMMANDS, "acme-hello"} <= set(names)


def test_plugins_are_loaded_once_for_a_command_line(
    ctx: click.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Help asks for many names; the plugins are looked for at the first one only."""
    asked: list[click.Context] = []

    def asking(of: click.Context) -> object:
        asked.append(of)
        return registry_of(of)

    monkeypatch.setattr("dicomnode.cli.group.registry_of", asking)
    for name in ("acme-a", "acme-b"):
        assert group_of(ctx).get_command(ctx, name) is None
    group_of(ctx).list_commands(ctx)
    assert asked == [ctx]


def test_the_configuration_leaves_plugins_out(
    ctx: click.Context, plugins: PluginFolder, tmp_path: Path
) -> None:
    """The table ``[plugins]`` of the root's ``--config`` holds for commands, too."""
    install_hello(plugins)
    file = tmp_path / "config.toml"
    file.write_text('[plugins]\ndisabled = ["acme-hello"]\n')
    ctx.params["config"] = file
    below = click.Context(click.Command("below"), parent=ctx)
    for each in (ctx, below):
        states = {plugin.distribution: plugin.status.value for plugin in registry_of(each).plugins}
        assert states["acme-hello"] == "disabled"
    assert group_of(ctx).get_command(ctx, "acme-hello") is None


def test_without_a_file_every_plugin_is_used(ctx: click.Context, plugins: PluginFolder) -> None:
    """The registry has what is installed, all of it active."""
    install_hello(plugins)
    states = {plugin.distribution: plugin.status.value for plugin in registry_of(ctx).plugins}
    assert states["acme-hello"] == "active"


def test_a_wrong_configuration_is_told(ctx: click.Context, tmp_path: Path) -> None:
    """With the file's name, when plugins are looked for."""
    ctx.params["config"] = tmp_path / "config.toml"
    ctx.params["config"].write_text("[plugins\n")
    with pytest.raises(ConfigurationError, match=r"config\.toml: not TOML"):
        registry_of(ctx)
