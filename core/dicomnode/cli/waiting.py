"""What waits, as ``status --patients`` prints it: short lines, for narrow terminals, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from dicomnode.cli.tables import console, shown_seconds, shown_time, wrapped
from dicomnode.dicom.values.safe import safe_text

_LONGEST = 2000
_INDENT = " " * 4
_LABEL = 9
"""The width of what stands before a text: continued lines begin below the text."""


def print_waiting(pipelines: Mapping[str, Any]) -> None:
    """Print the containers that wait, pipeline by pipeline.

    The key of a container stands on a line of its own, however long it is: `process` and `give-up` are given
    it as it is.

    Parameters
    ----------
    pipelines : mapping
        Pipeline -> its table, as :func:`~dicomnode.host.operation.live_status.live_status` or
        :func:`~dicomnode.host.operation.status.recorded_status` returned it with ``patients``.
    """
    width = console().width
    for name, table in pipelines.items():
        containers = table.get("patients", ())
        if not containers:
            continue
        # Where no host runs, nobody knows what one job is.
        gathered = f" (by {table['gather_by']})" if "gather_by" in table else ""
        click.echo(safe_text(f"{name}{gathered}: {len(containers)} wait{'s' * (len(containers) == 1)}"))
        if rules := table.get("rules"):
            click.echo(wrapped(safe_text(shown_rules(rules), longest=_LONGEST), width, "  "))
        for container in containers:
            click.echo(f"  {safe_text(container['container_key'], longest=_LONGEST)}")
            for label, text in _lines(container):
                first = f"{_INDENT}{label:{_LABEL}}"
                click.echo(wrapped(safe_text(text, longest=_LONGEST), width, " " * len(first), first))


def print_unprocessed(pipelines: Mapping[str, Any], *, held: bool) -> None:
    """Print the series of which no job gets images, pipeline by pipeline, the newest first.

    Parameters
    ----------
    pipelines : mapping
        Pipeline -> its table, as :func:`~dicomnode.host.operation.status.recorded_status` returned it with
        ``patients``.
    held : bool
        Whether to name those that are held, too: where :func:`print_waiting` could not say why.
    """
    width = console().width
    for name, table in pipelines.items():
        series = [each for each in table.get("unprocessed_series", ()) if held or each["outcome"] != "held"]
        if not series:
            continue
        click.echo(safe_text(f"{name}: images that no job gets, by series"))
        for each in series:
            click.echo(f"  {safe_text(each['SeriesInstanceUID'])}")
            first = f"{_INDENT}{each['outcome']:{_LABEL}}  "
            text = f"{images(each['images'])}, the last one {shown_time(each['last'])}: {each['reason']}"
            click.echo(wrapped(safe_text(text, longest=_LONGEST), width, " " * len(first), first))


def held_kinds(table: Mapping[str, Any]) -> str:
    """Return how many containers of a pipeline are held, and why; an empty text where none is."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in table["held"].items())
    count = sum(table["held"].values())
    return f"{count} container{'s' * (count != 1)} held ({kinds})" if kinds else ""


def shown_rules(rules: Mapping[str, Any]) -> str:
    """Return what says when a job starts, by the names of the keys that set it.

    Parameters
    ----------
    rules : mapping
        As :func:`~dicomnode.host.configuration.gathering_rules.gathering_rules` returned it.
    """
    seconds = ("settle", "open_association_wait", "expires")
    told = [f"{key} {rules[key]:g} s" for key in seconds if rules[key] is not None]
    told.append(f"late_images {rules['late_images']}")
    told += [f"expected_images of {name} {each}" for name, each in rules["expected_images"].items()]
    told += [f"choose_series of {name}" for name in rules["choose_series"]]
    return ", ".join(told)


def images(count: int) -> str:
    """Return a number of images in words."""
    return f"{count} image{'s' * (count != 1)}"


def _lines(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of a container, each with its label."""
    counts = ", ".join(f"{name} {count}" for name, count in container["inputs"].items())
    counts = counts or "none that are not in a failed job"
    quiet = container["quiet"]
    last = "" if quiet is None else f"; the last one came {shown_seconds(quiet)} ago"
    yield "images", f"{counts}{last}"
    held, waits_for, missing = (container.get(key) for key in ("held", "waits_for", "missing"))
    if held is not None:
        yield "held", f"{held}: {container['held_because']}"
    elif waits_for not in {None, missing}:
        yield "waits", f"for {waits_for}"
    if missing is not None and missing != container.get("held_because"):
        yield "missing", missing
