"""``dicomnode-host simulate PIPELINE FOLDER``: the node's state machine on a folder, no network."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE
from dicomnode.cli.options import config_option, json_option
from dicomnode.cli.tables import console, wrapped_line
from dicomnode.dicom.values.safe import safe_text

_LONGEST = 2000
_TIMELINE, _CONTINUED = 3, 16
"""How far lines of the timeline are indented at least, and where those go on that are too long."""
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@config_option
@click.argument("pipeline")
@click.argument("folder", type=_FOLDER)
@click.option(
    "--order",
    type=click.Choice(["name", "reverse", "shuffle"]),
    default="name",
    help="In which order the images are sent: by the files' names (the default), the other way, at random.",
)
@click.option("--seed", default=0, help="Of --order shuffle: the same number, the same order.")
@click.option(
    "--associations",
    type=click.Choice(["one", "series", "image"]),
    default="series",
    help="Which images go over one association: all, those of a series (the default), each alone.",
)
@click.option("--interleave", is_flag=True, help="Associations are open at once, and images sent in turn.")
@click.option("--duplicate", default=0, metavar="N", help="Every Nth image is sent twice.")
@click.option("--abort", default=0, metavar="N", help="The first association is aborted after N images.")
@click.option("--resend/--no-resend", default=True, help="Whether what was aborted is sent again, whole.")
@click.option("--gap", default=1.0, metavar="SECONDS", help="Between one association and the next.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Put the results there.")
@click.option("--in-process", is_flag=True, help="Run jobs in this process, for a debugger.")
@json_option
@click.pass_obj
def simulate(
    root_config: Path | None,
    /,
    config: Path | None,
    *,
    pipeline: str,
    folder: Path,
    out: Path | None,
    in_process: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Send the files of FOLDER to PIPELINE, as the node would receive them, without a network.

    Prints the status of each image, which input takes it and why another does not, when a job starts or why
    none does, what the job gives, and what the check of its results against their IODs finds. Time is
    virtual: the seconds to settle pass at once. Nothing is sent anywhere, and no host is touched. Exit code 1
    unless there was a job and every one succeeded.
    """
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.host.dimse.pynetdicom_private import silence_loggers
    from dicomnode.host.isolation.isolation import Isolation
    from dicomnode.host.simulation.sending import SendingOptions
    from dicomnode.host.simulation.simulation import Simulation

    silence_loggers()
    logging.getLogger("dicomnode").addHandler(logging.NullHandler())  # it is in the report
    settings = load_config(config or root_config)
    with tempfile.TemporaryDirectory(prefix="dicomnode-simulate-") as root:
        target = None if out is None else out.absolute()
        plugins = settings.plugins
        with Isolation(Path(root) / "environments", plugins.disabled, plugins.only) as environments:
            simulation = Simulation(
                settings, pipeline, Path(root), environments, out=target, in_process=in_process
            )
            simulated = simulation.run(folder, SendingOptions(**options))
    if as_json:
        click.echo(json.dumps(simulated.to_json(), indent=2))
    else:
        width = console().width
        for line in _lines(simulated.to_json(), folder):
            text = safe_text(line, longest=_LONGEST)
            indent = len(text) - len(text.lstrip())
            click.echo(wrapped_line(text, width, 2 if indent < _TIMELINE else _CONTINUED - indent))
    return DONE if simulated.succeeded else NOT_DONE


# -- for people -------------------------------------------------------------------------------------------


def _lines(report: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield f"{report['ae_title']} ({report['pipeline']} of {report['plugin']}), by a virtual clock"
    if report["skipped"]:
        yield f"  {len(report['skipped'])} files are not DICOM"
    yield ""
    for _, entries in groupby(report["timeline"], key=_alike):
        yield from _entry(list(entries), folder)
    for job in report["jobs"]:
        yield ""
        yield from _job(job)
    for patient in report["waiting"]:
        counts = ", ".join(f"{count} in {name}" for name, count in patient["inputs"].items())
        yield ""
        yield f"left waiting: patient container {patient['container_key']} ({counts})"
        state = "waits for" if patient["held"] is None else f"held: {patient['held']}"
        yield f"  {state}: {patient['waits_for']}"


def _alike(entry: Mapping[str, Any]) -> object:
    """Return what images have in common that are told in one line."""
    if "image" not in entry:
        return entry["at"], id(entry)
    return entry["association"], entry["status"], entry["reason"], tuple(entry["inputs"].items())


def _entry(entries: list[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    first = entries[0]
    at = f"{first['at']:10.2f} s"
    if "image" in first:
        yield f"{at}  association {first['association']}: {_images(entries, folder)}  {_answer(first)}"
        yield from (f"{'':14}{line}" for line in _verdicts(first))
    elif "ends" in first:
        yield f"{at}  association {first['association']}: {first['ends']}"
    else:
        job = f" (job {first['job']})" if first["job"] else ""
        yield f"{at}  {first['station']}: {first['event']}{job}"
        if first["detail"]:
            yield f"{'':14}{first['detail']}"


def _images(entries: list[Mapping[str, Any]], folder: Path) -> str:
    names = [str(Path(each["image"]).relative_to(folder)) for each in entries]
    return names[0] if len(names) == 1 else f"{len(names)} images, {names[0]} to {names[-1]}"


def _answer(entry: Mapping[str, Any]) -> str:
    status = "not sent" if entry["status"] is None else f"{entry['status']:#06x}"
    refused = not entry["inputs"] and entry["reason"]
    return f"{status}: {entry['reason']}" if refused else status


def _verdicts(entry: Mapping[str, Any]) -> Iterable[str]:
    for name, reason in entry["inputs"].items():
        yield f"{name}: takes it" if reason is None else f"{name}: no, {reason}"


def _job(job: Mapping[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count} in {name}" for name, count in job["inputs"].items())
    yield f"job {job['job']} of patient container {job['container_key']} ({counts}): {job['state']}"
    yield f"  started because {job['started_because']}"
    if job["state"] != "delivered":
        yield f"  {job['reason']}"
        yield from (f"    {line}" for line in job["log"].splitlines())
    kinds: dict[tuple[str, str], int] = {}
    for result in job["results"]:
        key = result["SOPClassUID"] or result["file_name"], ", ".join(result["destinations"])
        kinds[key] = kinds.get(key, 0) + 1
    for (kind, destinations), count in kinds.items():
        yield f"  {count} x {_class_name(kind)}, to {destinations}"
    if job["results"]:
        yield from (f"  check: {warning}" for warning in job["warnings"])
        if not job["warnings"]:
            yield "  check: nothing is missing"


def _class_name(kind: str) -> str:
    from pydicom.uid import UID

    return str(UID(kind).name)
