"""The root of the command line: what ``dicomnode-host`` does without a command."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dicomnode.cli.root import group
from dicomnode.plugins.registry import host_version


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tester's own configuration out of the environment."""
    monkeypatch.delenv("DICOMNODE_CONFIG", raising=False)


def test_the_version_is_that_of_the_distribution() -> None:
    """``--version`` prints the program's name and its version."""
    done = CliRunner().invoke(group, ["--version"], standalone_mode=False)
    assert (done.return_value, done.output) == (0, f"dicomnode-host {host_version()}\n")


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_without_a_command_the_help_is_shown(arguments: list[str]) -> None:
    """With every command that the host has."""
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0
    assert "Receive DICOM images, run pipeline plugins on them, deliver the results." in done.output
    for name in ("run", "give-up", "quarantine", "trace"):
        assert f"\n  {name} " in done.output


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], (None, False, False)),
        (["--json"], (None, True, False)),
        (["--load", "--config", "a.toml"], (Path("a.toml"), False, True)),
    ],
)
def test_plugins_are_listed_as_the_options_say(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: tuple[Path | None, bool, bool]
) -> None:
    """``--list-plugins`` hands on its options, and its code is that of the list."""
    asked = []

    def listed(config: Path | None, *, as_json: bool, load: bool) -> int:
        asked.append((config, as_json, load))
        return 1

    monkeypatch.setattr("dicomnode.cli.plugins_list.list_plugins", listed)
    done = CliRunner().invoke(group, ["--list-plugins", *arguments], standalone_mode=False)
    assert (done.return_value, asked) == (1, [given])


@pytest.mark.parametrize(("arguments", "given"), [([], None), (["--config", "root.toml"], Path("root.toml"))])
def test_a_command_gets_the_configuration_of_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], given: Path | None
) -> None:
    """``dicomnode-host --config FILE COMMAND`` is known to the command, whose own result counts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.toml").touch()

    @click.command()
    @click.pass_obj
    def probe(config: Path | None) -> int:
        click.echo(repr(config))
        return 7

    monkeypatch.setitem(group.commands, "probe", probe)
    done = CliRunner().invoke(group, [*arguments, "probe"], standalone_mode=False)
    assert (done.return_value, done.output) == (7, f"{given!r}\n")
