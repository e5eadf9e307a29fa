"""The root of the command line: what ``dicomnode-host`` does without a command."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.group import HostGroup
from dicomnode.cli.options import config_option, json_option


@click.group(
    cls=HostGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@config_option
@click.option("--list-plugins", is_flag=True, help="Show the installed plugins, and whether each is fine.")
@json_option
@click.option("--load", is_flag=True, help="With --list-plugins: import every plugin, to be certain.")
@click.option("--version", is_flag=True, help="Show the version.")
@click.pass_context
def group(
    ctx: click.Context, config: Path | None, *, list_plugins: bool, as_json: bool, load: bool, version: bool
) -> int | None:
    """Receive DICOM images, run pipeline plugins on them, deliver the results."""
    ctx.obj = config
    if ctx.invoked_subcommand is not None:
        return None
    if version:
        from dicomnode.plugins.registry import host_version

        click.echo(f"dicomnode-host {host_version()}")
        return 0
    if list_plugins:
        from dicomnode.cli.plugins_list import list_plugins as show

        return show(config, as_json=as_json, load=load)
    click.echo(ctx.get_help())
    return 0
