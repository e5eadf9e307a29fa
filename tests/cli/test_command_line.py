"""Running the command line: what a command returns or raises becomes an exit code and one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

import dicomnode.cli
from dicomnode.cli.command_line import run_command_line
from dicomnode.errors import ConfigurationError, DataDirectoryError, PluginError

MakeCommand = Callable[[Callable[[], Any]], None]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> MakeCommand:
    """Return what puts a command in the place of all those of ``dicomnode-host``."""

    def put(function: Callable[[], Any]) -> None:
        command = click.Command("dicomnode-host", callback=function)
        monkeypatch.setattr("dicomnode.cli.command_line.group", command)

    return put


def raising(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises an error."""

    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(("returned", "code"), [(0, 0), (1, 1), (3, 3), (None, 0), ("text", 0)])
def test_what_a_command_returns_is_the_exit_code(runs: MakeCommand, returned: object, code: int) -> None:
    """A number is the code; a command that returns anything else is done."""
    runs(lambda: returned)
    assert run_command_line([]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("dicomnode.toml: host.bind: wrong"), 2),
        (DataDirectoryError("/data is in use"), 3),
        (PluginError("acme is broken"), 1),
    ],
)
def test_an_error_is_one_message_on_stderr(
    runs: MakeCommand, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    """With the program's name before it, no traceback, and the code of its kind."""
    runs(raising(error))
    assert run_command_line([]) == code
    assert capsys.readouterr() == ("", f"dicomnode-host: {error}\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EOFError(), click.Abort()])
def test_an_interrupt_is_told_and_is_130(
    runs: MakeCommand, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    """Ctrl-C, an input that ends, and click's own abort."""
    runs(raising(error))
    assert run_command_line([]) == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "dicomnode-host: interrupted")


def test_wrong_usage_is_told_by_click(runs: MakeCommand, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, the usage, and what is wrong."""
    runs(raising(click.UsageError("--older goes with --remove")))
    assert run_command_line([]) == 2
    assert "Error: --older goes with --remove" in capsys.readouterr().err


def test_an_option_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option and the program."""
    assert run_command_line(["--no-such-option"]) == 2
    err = capsys.readouterr().err
    assert "Usage: dicomnode-host" in err
    assert "No such option" in err
    assert "--no-such-option" in err


def test_a_mistake_in_the_program_is_not_hidden(runs: MakeCommand) -> None:
    """An exception that is not the host's own passes, with its traceback."""
    runs(raising(ZeroDivisionError("a mistake")))
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        run_command_line([])


@pytest.mark.parametrize("code", [0, 1, 3])
def test_main_ends_the_process_with_the_code(runs: MakeCommand, code: int) -> None:
    """The console script hands the code on to the shell."""
    runs(lambda: code)
    with pytest.raises(SystemExit) as ended:
        dicomnode.cli.main([])
    assert ended.value.code == code
