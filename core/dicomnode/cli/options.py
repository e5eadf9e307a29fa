"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """Add ``--config FILE``. What is given before the command's name counts for the command, too."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="DICOMNODE_CONFIG",
        metavar="FILE",
        callback=_given_before,
        help="The configuration file (TOML). Without one every installed pipeline runs, on loopback.",
    )(function)


def _given_before(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Return the file that was given before the command's name, unless one is given behind it."""
    root, name = ctx.find_root(), str(param.name)
    if root is ctx or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return value
    before = root.params.get(name)
    return value if before is None else Path(before)


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)
