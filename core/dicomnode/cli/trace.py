"""``dicomnode-host trace UID``: from a result back to where it comes from, and from an input forward.

No plugin is imported here, nor anything of DICOM: it works however broken a plugin is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from dicomnode.cli.options import config_option, json_option
from dicomnode.cli.tables import print_table, shown_time
from dicomnode.dicom.values.safe import safe_text
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.operation.operations import Operations
from dicomnode.host.operation.provenance import trace as traced

_LONGEST = 2000


def _checked_uid(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check that it is a UID as DICOM writes it: digits and dots (PS3.5 section 9.1)."""
    if not value.strip() or set(value.strip()) - set("0123456789."):
        msg = f"{value!r} is no UID: a UID is digits and dots"
        raise click.BadParameter(msg, ctx, param)
    return value.strip()


@click.command()
@config_option
@click.argument("uid", callback=_checked_uid)
@json_option
@click.pass_obj
def trace(root_config: Path | None, config: Path | None, *, uid: str, as_json: bool) -> int:
    """Tell where a result comes from, and what became of an input.

    UID is a SOP or Series Instance UID of a result, or a SOP, Series or Study Instance UID of an input. The
    record says which job, pipeline, plugin, version, settings and environment made which results of which
    images, and where they went. It stays when the files have gone, as long as retention.records says.
    """
    with Operations(load_config(config or root_config)).ledger() as ledger:
        report = traced(ledger, uid)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return 0
    for job in report["jobs"]:
        _print_job(uid, job)
    if report["unused"]:
        _print_unused(uid, report["unused"])
    return 0


def _print_unused(uid: str, images: Iterable[Mapping[str, Any]]) -> None:
    _say(f"{uid}: no job has used")
    columns = ("SOPInstanceUID", "pipeline", "state", "received", "reason")
    print_table(
        ("SOP Instance UID", *columns[1:]),
        ([{**row, "received": shown_time(row["received"])}[each] for each in columns] for row in images),
    )


def _print_job(uid: str, job: Mapping[str, Any]) -> None:
    _say(
        f"{uid} is {' and '.join(_articled(each) for each in job['uid_is'])} of job {job['job']}",
        f"  pipeline     {job['pipeline']}, {job['state']} ({job['reason']})",
        f"  created      {shown_time(job['created'])}",
        f"  because      {job['started_because']}",
        *_made_by(job),
    )
    print_table(
        ("input", "SOP Instance UID", "received", "from", "address", "sha256"),
        (
            (
                name,
                row["SOPInstanceUID"],
                shown_time(row["received"]),
                (row["association"] or {}).get("calling"),
                (row["association"] or {}).get("address"),
                row["sha256"][:16],
            )
            for name, rows in job["inputs"].items()
            for row in rows
        ),
    )
    if job["results"]:
        print_table(("result", "series", "destination", "state", "confirmed"), _result_rows(job["results"]))


def _made_by(job: Mapping[str, Any]) -> list[str]:
    plugin, environment = job["plugin"], job["environment"]
    if environment is None:
        return ["  (of how it ran, nothing is recorded: it has no result, or an older host made it)"]
    whose = f"{plugin['distribution']} {plugin['version']}" if plugin["distribution"] else "unknown version"
    lines = [
        f"  plugin       {plugin['plugin']} of {whose}",
        f"  run          attempt {job['run']['attempt']}, {shown_time(job['run']['started'])} to"
        f" {shown_time(job['run']['ended'])}",
        f"  settings     {json.dumps(job['settings'], ensure_ascii=False)}",
        f"  environment  Python {environment.get('python')}, dicomnode-host {environment.get('host')},"
        f" {len(environment.get('packages', ()))} packages (--json lists them)",
    ]
    return lines + [f"  warning      {each}" for each in job["warnings"]]


def _result_rows(results: Iterable[Mapping[str, Any]]) -> Iterable[tuple[object, ...]]:
    for result in results:
        for each in result["deliveries"]:
            yield (
                result["SOPInstanceUID"] or result["file_name"],
                result["SeriesInstanceUID"],
                each["destination"],
                each["state"],
                shown_time(each["confirmed"]),
            )


def _articled(what: str) -> str:
    return {"input": "an input", "result": "a result"}.get(what, f"the {what}")


def _say(*lines: str) -> None:
    click.echo("\n".join(safe_text(line, longest=_LONGEST) for line in lines))
