"""``dicomnode-host check``: whether everything is as the configuration says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE, WRONG_USE
from dicomnode.cli.options import config_option, json_option
from dicomnode.errors import ConfigurationError


@click.command()
@config_option
@json_option
@click.pass_obj
def check(root_config: Path | None, config: Path | None, *, as_json: bool) -> int:
    """Check configuration, plugins, address, disk, ledger and peers (C-ECHO), whether the node runs or not.

    Exit code 1 when anything failed; 2 when the configuration cannot be read.
    """
    from dicomnode.cli.tables import print_table
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.host.isolation.isolation import Isolation
    from dicomnode.host.operation.checking import check_node
    from dicomnode.host.operation.finding import Finding, Verdict

    file = config or root_config
    name = "defaults and environment" if file is None else str(file)
    code = DONE
    try:
        settings = load_config(file)
    except ConfigurationError as error:
        lines = str(error).split("\n")
        findings = [Finding("configuration", name, Verdict.FAILED, line) for line in lines]
        code = WRONG_USE
    else:
        findings = [Finding("configuration", name, Verdict.OK, "it can be read")]
        with Isolation.of(settings) as environments:
            findings += check_node(settings, environments)
        if any(each.verdict is Verdict.FAILED for each in findings):
            code = NOT_DONE
    if as_json:
        click.echo(json.dumps([each.to_json() for each in findings], indent=2))
    else:
        rows = ((each.verdict, each.check, each.what, each.message) for each in findings)
        print_table(("", "check", "of", "found"), rows)
    return code
