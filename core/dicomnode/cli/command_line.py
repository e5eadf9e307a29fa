"""Running the command line: errors become messages and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from dicomnode.cli.exit_codes import DONE, INTERRUPTED, exit_code_of
from dicomnode.cli.root import group
from dicomnode.errors import DicomnodeError


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors that a user can mend are told in one message."""
    try:
        code: Any = group.main(args=arguments, prog_name="dicomnode-host", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("dicomnode-host: interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except DicomnodeError as error:
        click.echo(f"dicomnode-host: {error}", err=True)
        return exit_code_of(error)
    return code if isinstance(code, int) else DONE
