"""Commands that plugins contribute: found when asked for, never in the way of the host's own."""

import os
import subprocess
import sys

import pytest

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
MARKED = """
    import pathlib
    from dicomnode import hookimpl

    pathlib.Path(__file__).with_name("imported").touch()

    @hookimpl
    def dicomnode_host_started(): ...
"""
EXITS = """
    import sys
    from dicomnode import hookimpl

    @hookimpl
    def dicomnode_commands(cli): ...

    leave = sys.exit
    leave(5)
"""


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    return PluginFolder(folder)


def command_line(site, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "dicomnode.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(site.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_plugins_command_runs(site):
    """By its name, and it is in the list of commands with its help."""
    site.install("acme-hello", {"hooks": {"hello": "acme_hello"}}, modules={"acme_hello.py": HELLO})
    done = command_line(site, "acme-hello")
    assert (done.returncode, done.stdout) == (0, "hello from a plugin\n"), done.stderr


def test_a_command_of_the_host_cannot_be_taken(site, tmp_path):
    """The host's stays; for it no plugin is imported."""
    site.install("acme-hello", {"hooks": {"hello": "acme_hello"}}, modules={"acme_hello.py": HELLO})
    assert "not the host's" not in command_line(site, "jobs", "--help").stdout


def test_only_plugins_that_have_commands_are_imported(site):
    """A hook module that has other hooks is not imported, for it may take long."""
    site.install("acme-other", {"hooks": {"other": "acme_other"}}, modules={"acme_other.py": MARKED})
    site.install("acme-hello", {"hooks": {"hello": "acme_hello"}}, modules={"acme_hello.py": HELLO})
    assert command_line(site, "acme-hello").stdout == "hello from a plugin\n"
    assert not (site.folder / "imported").exists()


@pytest.mark.parametrize("module", [EXITS, "import a_package_that_is_not_there", "def broken(:"])
def test_a_broken_plugin_is_in_nobodys_way(site, module):
    """The commands of others work, those of the host anyway, and a name that nobody has is told."""
    site.install("acme-broken", {"hooks": {"broken": "acme_broken"}}, modules={"acme_broken.py": module})
    site.install("acme-hello", {"hooks": {"hello": "acme_hello"}}, modules={"acme_hello.py": HELLO})
    assert command_line(site, "acme-hello").stdout == "hello from a plugin\n"
    assert command_line(site, "--version").returncode == 0
    assert "No such command 'acme-gone'" in command_line(site, "acme-gone").stderr
