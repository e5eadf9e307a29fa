"""``status``, ``jobs``, ``show``, ``replay``, ``discard``, ``give-up``: looking after a node, running or not.

No plugin is imported here, nor anything of DICOM: these commands work however broken a plugin is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE
from dicomnode.cli.options import config_option, json_option
from dicomnode.cli.tables import print_table, shown_bytes, shown_time
from dicomnode.cli.waiting import held_kinds, images, print_unprocessed, print_waiting
from dicomnode.dicom.values.safe import safe_text
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.ledger.states import DEAD_LETTERS, JobState
from dicomnode.host.ledger.unprocessed_ledger import Outcome
from dicomnode.host.operation.operations import Operations
from dicomnode.host.operation.status import (
    add_backoffs,
    attention,
    disk_status,
    job_report,
    jobs_report,
    recorded_status,
)

_SHOWN_JOBS = 50
_NOTHING_RECORDED: Mapping[str, Any] = {
    "jobs": {},
    "instances": {},
    "waiting": {"patients": 0, "images": 0},
    "unprocessed": {},
}


def _operations(root_config: Path | None, config: Path | None) -> Operations:
    return Operations(load_config(config or root_config))


@click.command()
@config_option
@click.option("--patients", is_flag=True, help="Name what waits, for what, and why it is held.")
@click.option("--running", is_flag=True, help="Exit code 1 when no host runs: for health checks.")
@json_option
@click.pass_obj
def status(
    root_config: Path | None, config: Path | None, *, patients: bool, running: bool, as_json: bool
) -> int:
    """Show whether the node runs, what waits, runs and is to be delivered, and what needs attention."""
    operations = _operations(root_config, config)
    live = operations.live_status(patients=patients)
    with operations.ledger() as ledger:
        recorded = recorded_status(ledger, patients=patients)
    host = operations.config.host
    reserve = host.reserve if live is None else live["reserve"]  # it may have been started with another one
    disk = disk_status(operations.data.root, reserve)
    add_backoffs(recorded["deliveries"].values(), live)
    notices = attention(recorded, disk, live)
    if as_json:
        plain = {"running": live is not None, "host": live, "ledger": recorded, "disk": disk}
        _print_json({**plain, "attention": notices})
    else:
        titles = {} if live else _configured_titles(operations.config)
        _print_status(live, recorded, disk, titles, patients=patients)
        click.echo("".join(f"attention: {each}\n" for each in notices), nl=False)
    return NOT_DONE if running and live is None else DONE


@click.command()
@config_option
@click.option("--failed", is_flag=True, help="Only dead letters: jobs that failed or could not be delivered.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only jobs in this state; may be given several times.",
)
@click.option("--pipeline", help="Only jobs of this pipeline.")
@click.option("--all", "every", is_flag=True, help=f"All of them, not only the {_SHOWN_JOBS} newest.")
@json_option
@click.pass_obj
def jobs(
    root_config: Path | None,
    config: Path | None,
    *,
    failed: bool,
    states: tuple[str, ...],
    pipeline: str | None,
    every: bool,
    as_json: bool,
) -> int:
    """List jobs, the newest last. Patients are named by ``show``, which has the whole reason, too."""
    wanted = [JobState(state) for state in states] + (sorted(DEAD_LETTERS) if failed else [])
    with _operations(root_config, config).ledger() as ledger:
        found = [job for job in ledger.jobs(*wanted) if pipeline in {None, job.pipeline}]
        shown = found if every else found[-_SHOWN_JOBS:]
        rows = jobs_report(ledger, shown)
    if as_json:
        _print_json(rows)
        return 0
    headings = (">job", "pipeline", "state", ">inputs", ">runs", "changed", "reason")
    print_table(
        headings,
        (
            (
                row["job"],
                row["pipeline"],
                row["state"],
                row["inputs"],
                row["attempts"],
                shown_time(row["changed"]),
                row["reason"],
            )
            for row in rows
        ),
    )
    if len(shown) < len(found):
        click.echo(f"{len(found) - len(shown)} older ones are not shown: --all")
    return 0


@click.command()
@config_option
@click.argument("job", type=int)
@json_option
@click.pass_obj
def show(root_config: Path | None, config: Path | None, *, job: int, as_json: bool) -> int:
    """Show all that is known of a JOB: its patient, inputs, deliveries, history, and the end of its log."""
    operations = _operations(root_config, config)
    with operations.ledger() as ledger:
        report = job_report(ledger, job, operations.data.outbox)
    add_backoffs(report["deliveries"], operations.live_status())
    if as_json:
        _print_json(report)
    else:
        _print_job(report)
    return 0


@click.command()
@config_option
@click.argument("job", type=int)
@click.option(
    "--rerun", is_flag=True, help="Run it again even if it has a result that was not delivered to everybody."
)
@click.option(
    "--with",
    "other",
    metavar="VERSION_OR_PATH",
    help="With another version of its plugin (or a wheel, or a source tree): nothing is sent or entered, the"
    " result is compared with the one that there was. Exit code 1 when they differ.",
)
@click.option("--diff", is_flag=True, help="With --with: print every difference, tag by tag, voxel by voxel.")
@json_option
@click.pass_obj
def replay(
    root_config: Path | None,
    config: Path | None,
    *,
    job: int,
    rerun: bool,
    other: str | None,
    diff: bool,
    as_json: bool,
) -> int:
    """Do a JOB again: run what failed, deliver what was not delivered.

    A delivered job runs again as long as its inputs were kept (retention.inputs). The UIDs of its result stay
    the same, whatever happens.
    """
    if other is not None:
        from dicomnode.cli.replay_with import replay_with

        if rerun:
            raise click.UsageError(
                "--rerun and --with cannot be used together: nothing is entered with --with"
            )
        return replay_with(_operations(root_config, config), job, other, diff=diff, as_json=as_json)
    if diff:
        raise click.UsageError("--diff compares with another version: name it by --with VERSION_OR_PATH")
    done = _operations(root_config, config).replay(job, rerun=rerun)
    _print_done(done, as_json=as_json)
    return 0


@click.command()
@config_option
@click.argument("job", type=int)
@click.option("--reason", required=True, help="Why; it is kept with the job.")
@json_option
@click.pass_obj
def discard(root_config: Path | None, config: Path | None, *, job: int, reason: str, as_json: bool) -> int:
    """Discard a JOB: nothing more is run or delivered, and its inputs are released."""
    done = _operations(root_config, config).discard(job, reason)
    _print_done(done, as_json=as_json)
    return 0


@click.command()
@config_option
@click.argument("pipeline")
@click.argument("patient")
@click.option("--reason", required=True, help="Why; it is kept with the job in the ledger.")
@click.option("--series", metavar="UID", help="Which series, where several fit and an input takes one.")
@json_option
@click.pass_obj
def process(
    root_config: Path | None,
    config: Path | None,
    *,
    pipeline: str,
    patient: str,
    reason: str,
    series: str | None,
    as_json: bool,
) -> int:
    """Start a job of what waits for a PATIENT at a PIPELINE, as it is, although something is missing.

    Both are named as ``status --patients`` shows them; the Patient ID alone is enough where one container of
    that patient waits. The host must run.
    """
    done = _operations(root_config, config).process(pipeline, patient, reason, series=series)
    if as_json:
        _print_json(done)
    else:
        click.echo(safe_text(f"{pipeline}: started {done['container_key']} as it is"))
    return DONE


@click.command("give-up")
@config_option
@click.argument("pipeline")
@click.argument("patient")
@click.option("--reason", required=True, help="Why; it is kept with the images in the ledger.")
@json_option
@click.pass_obj
def give_up(
    root_config: Path | None, config: Path | None, *, pipeline: str, patient: str, reason: str, as_json: bool
) -> int:
    """Drop what waits for a PATIENT at a PIPELINE and will never be complete, as if it had expired.

    Both are named as ``status --patients`` shows them. The images are removed; they may be sent again. A
    job that was made of them is for ``discard``.
    """
    done = _operations(root_config, config).release_container(pipeline, patient, reason)
    if as_json:
        _print_json(done)
    else:
        click.echo(safe_text(f"{pipeline}: gave up {patient}, {images(done['images'])} released"))
    return DONE


# -- printing -------------------------------------------------------------------------------------------


def _print_json(plain: object) -> None:
    click.echo(json.dumps(plain, indent=2))


def _print_done(done: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(done)
        return
    later = (
        ""
        if done["running"] or done["state"] == JobState.DISCARDED
        else "; no host runs: it goes on when one does"
    )
    if done["running"] and done["state"] == JobState.BUILT:
        later = ": its delivery is tried now"
    click.echo(f"job {done['job']} is {done['state']}{later}")


def _configured_titles(config: Config) -> dict[str, str | None]:
    """Return pipeline -> its AE title, as far as that is known without importing plugins."""
    return {name: table.ae_title for name, table in (config.pipelines or {}).items()}


def _print_status(
    live: Mapping[str, Any] | None,
    recorded: Mapping[str, Any],
    disk: Mapping[str, Any],
    titles: Mapping[str, str | None],
    *,
    patients: bool,
) -> None:
    if live is None:
        click.echo("no host runs")
    else:
        click.echo(
            f"{live['ae_title']} (dicomnode-host {live['version']}, process {live['process']}) listens on"
            f" {live['address']} since {shown_time(live['started'])}"
        )
    click.echo(
        f"data in {disk['data']}: {shown_bytes(disk['free'])} of {shown_bytes(disk['total'])} free,"
        f" {shown_bytes(disk['reserve'])} in reserve"
    )
    _print_pipelines((live or {}).get("pipelines", {}), recorded["pipelines"], titles)
    if patients:
        print_waiting((live or recorded)["pipelines"])
        print_unprocessed(recorded["pipelines"], held=live is None)
    else:
        for name, table in (live or {}).get("pipelines", {}).items():
            if kinds := held_kinds(table):
                click.echo(safe_text(f"{name}: {kinds}; `status --patients` says why"))
    if recorded["deliveries"]:
        print_table(
            ("destination", ">to deliver", ">uncommitted", ">dead", "next attempt", "reason"),
            (
                (
                    name,
                    each.get("pending", 0),
                    each.get("stored", 0),
                    each.get("dead", 0),
                    shown_time(each["next"]),
                    each["reason"],
                )
                for name, each in recorded["deliveries"].items()
            ),
        )


def _print_pipelines(
    live: Mapping[str, Any], recorded: Mapping[str, Any], titles: Mapping[str, str | None]
) -> None:
    names = dict.fromkeys([*live, *titles, *recorded])
    rows = []
    for name in names:
        known = recorded.get(name, _NOTHING_RECORDED)
        waiting, count = live.get(name, known)["waiting"], known["jobs"]
        rows.append(
            (
                name,
                live.get(name, {}).get("ae_title") or titles.get(name),
                waiting["patients"],
                waiting["images"],
                count.get("queued", 0),
                count.get("running", 0),
                count.get("built", 0),
                count.get("delivered", 0),
                count.get("failed", 0) + count.get("undeliverable", 0),
                known["instances"].get("quarantined", 0),
                *(known["unprocessed"].get(outcome, 0) for outcome in Outcome),
            )
        )
    if rows:
        headings = (
            *("pipeline", "AE title", ">patients wait", ">images wait", ">queued", ">running", ">delivering"),
            *(">delivered", ">dead letters", ">quarantined"),
            *(f">{outcome}" for outcome in Outcome),
        )
        print_table(headings, rows)


def _print_job(report: Mapping[str, Any]) -> None:
    again = f", next attempt {shown_time(report['next'])}" if report["next"] else ""
    lines = [
        f"job {report['job']} of {report['pipeline']}: {report['state']} ({report['reason']})",
        f"patient container {report['container_key']}",
        f"created {shown_time(report['created'])}, changed {shown_time(report['changed'])},"
        f" {report['attempts']} runs{again}",
    ]
    if report["result"]:
        lines.append(f"result in {report['result']}")
    click.echo("\n".join(safe_text(line, longest=10_000) for line in lines))
    print_table(
        ("input", "SOP Instance UID", "state", "received", "file"),
        (
            (name, row["SOPInstanceUID"], row["state"], shown_time(row["received"]), row["file"])
            for name, rows in report["inputs"].items()
            for row in rows
        ),
    )
    if report["warnings"]:
        click.echo("the output check warns:")
        click.echo("\n".join(f"    {safe_text(each, longest=2000)}" for each in report["warnings"]))
    if report["deliveries"]:
        _print_deliveries(report["deliveries"])
    print_table(
        ("at", "from", "to", "reason"),
        ((shown_time(row["at"]), row["from"], row["to"], row["reason"]) for row in report["history"]),
    )
    if report["log"]:
        click.echo("the end of its log:")
        click.echo("\n".join(f"    {safe_text(line, longest=2000)}" for line in report["log"].splitlines()))


def _print_deliveries(deliveries: Iterable[Mapping[str, Any]]) -> None:
    print_table(
        ("destination", "what", "state", "status", ">tries", "next attempt", "reason"),
        (
            (
                row["destination"],
                row["SOPInstanceUID"] or row["file_name"],
                row["state"],
                None if row["status"] is None else f"{row['status']:#06x}",
                row["attempts"],
                shown_time(row["next"]),
                row["reason"],
            )
            for row in deliveries
        ),
    )
