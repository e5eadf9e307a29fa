"""Options that several commands have: ``--config`` and ``--json``."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dicomnode.cli.options import config_option, json_option


@click.command()
@config_option
@json_option
def told(config: Path | None, *, as_json: bool) -> None:
    """Tell what was given."""
    click.echo(repr((config, as_json)))


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tester's own configuration out of the environment."""
    monkeypatch.delenv("DICOMNODE_CONFIG", raising=False)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], (None, False)),
        (["--json"], (None, True)),
        (["--config", "a.toml"], (Path("a.toml"), False)),
        (["--config", "a.toml", "--json"], (Path("a.toml"), True)),
    ],
)
def test_what_is_given_arrives(arguments: list[str], given: tuple[Path | None, bool]) -> None:
    """The file as a path, whether it exists or not; without the options nothing."""
    assert CliRunner().invoke(told, arguments).output == f"{given!r}\n"


def test_the_environment_names_the_file() -> None:
    """``DICOMNODE_CONFIG``, unless the option is given."""
    environment = {"DICOMNODE_CONFIG": "/etc/a.toml"}
    assert CliRunner().invoke(told, env=environment).output == f"{(Path('/etc/a.toml'), False)!r}\n"
    done = CliRunner().invoke(told, ["--config", "b.toml"], env=environment)
    assert done.output == f"{(Path('b.toml'), False)!r}\n"


@click.group()
@config_option
def root(config: Path | None) -> None:
    """Have a command."""


root.add_command(told)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["told"], "env.toml"),
        (["--config", "a.toml", "told"], "a.toml"),
        (["told", "--config", "b.toml"], "b.toml"),
        (["--config", "a.toml", "told", "--config", "b.toml"], "b.toml"),
    ],
)
def test_the_option_before_the_command_counts(arguments: list[str], given: str) -> None:
    """It is stronger than the environment, and weaker than the one behind the command's name."""
    done = CliRunner().invoke(root, arguments, env={"DICOMNODE_CONFIG": "env.toml"})
    assert done.output == f"{(Path(given), False)!r}\n"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """It is refused as wrong usage, with its name."""
    done = CliRunner().invoke(told, ["--config", str(tmp_path)])
    assert done.exit_code == 2
    assert "Invalid value for '--config'" in done.output
    assert "is a directory" in done.output


def test_both_are_in_the_help() -> None:
    """With the variable's meaning and what happens without a file."""
    shown = " ".join(CliRunner().invoke(told, ["--help"]).output.split())
    assert "--config FILE The configuration file (TOML). Without one" in shown
    assert "--json Print JSON, for scripts." in shown
