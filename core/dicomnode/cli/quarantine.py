"""``quarantine``: what is quarantined, listed and removed, whether the node runs or not."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from dicomnode.cli.exit_codes import DONE
from dicomnode.cli.options import config_option, json_option
from dicomnode.cli.tables import print_table, shown_bytes, shown_time
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.configuration.config_values import Seconds
from dicomnode.host.operation.operations import Operations
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.host.upkeep.quarantine import quarantined_files
from dicomnode.pipeline.validation_messages import plain_message


@click.command()
@config_option
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--remove", is_flag=True, help="Remove the files of these NAMEs, or those that --older says.")
@click.option(
    "--older", metavar="DURATION", help="With --remove: all quarantined longer ago, such as '30 d'."
)
@click.option("--reason", help="With --remove: why; it is kept in the ledger.")
@json_option
@click.pass_obj
def quarantine(
    root_config: Path | None,
    config: Path | None,
    *,
    names: tuple[str, ...],
    remove: bool,
    older: str | None,
    reason: str | None,
    as_json: bool,
) -> int:
    """List the quarantined images: for which pipeline, when, why; or remove some of them for good."""
    _check_usage(names, older, reason, remove=remove)
    operations = Operations(load_config(config or root_config))
    if remove:
        done = operations.remove_quarantined(
            names, str(reason), older=None if older is None else _seconds(older)
        )
        click.echo(json.dumps(done, indent=2) if as_json else f"{done['removed']} removed")
        return DONE
    spool = SpoolFiles(operations.data.spool)
    with operations.ledger() as ledger:
        found = list(quarantined_files(ledger, spool))
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=2))
        return DONE
    print_table(
        ("pipeline", "since", "reason", ">size", "name"),
        ((each.pipeline, shown_time(each.to_json()["since"]), each.reason, shown_bytes(each.bytes), each.name)
         for each in found),
    )  # fmt: skip
    total = shown_bytes(sum(each.bytes for each in found))
    click.echo(f"{len(found)} files ({total}) lie in {spool.quarantine_folder}")
    return DONE


def _check_usage(names: tuple[str, ...], older: str | None, reason: str | None, *, remove: bool) -> None:
    if not remove:
        if names or older or reason:
            raise click.UsageError("names, --older and --reason go with --remove")
    elif not reason:
        raise click.UsageError("--remove needs a --reason, which is kept")
    elif bool(names) == bool(older):
        raise click.UsageError("--remove needs either names or --older DURATION")


def _seconds(text: str) -> float:
    try:
        seconds: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError as error:
        raise click.UsageError(f"--older: {plain_message(error.errors()[0])}") from error
    return seconds
