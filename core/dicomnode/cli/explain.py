"""``dicomnode-host explain FILE``: which pipeline and input take a file, and which rule refuses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE
from dicomnode.cli.options import config_option, json_option
from dicomnode.cli.tables import console, wrapped_line
from dicomnode.cli.waiting import shown_rules
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.host.configuration.config import Config

_LONGEST = 2000
_KEY = 6
"""How far the key of a container is indented, and nothing else: that line is not broken."""


@click.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--pipeline", help="Only what this pipeline makes of it: its name or AE title.")
@json_option
@click.pass_obj
def explain(
    root_config: Path | None, config: Path | None, *, file: Path, pipeline: str | None, as_json: bool
) -> int:
    """Tell what becomes of a FILE that is sent: which pipeline and input take it, or which rule refuses it.

    The rules look at the file alone, whatever waits. What would still be missing counts the images that wait
    in the running host, where one runs. Exit code 1 when nobody takes it.
    """
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.host.operation.control import NotRunningError
    from dicomnode.host.operation.operations import Operations

    settings = load_config(config or root_config)
    live = True
    try:
        report = Operations(settings).ask("explain", file=str(file.absolute()))
    except NotRunningError:
        live = False
    if not live or not report["opened"]:  # the host may not read where the operator may
        live, report = False, _by_rules(settings, file.absolute())
    if pipeline is not None:
        report["pipelines"] = _called(pipeline, report["pipelines"])
        report["taken"] = any(each["taken"] for each in report["pipelines"])
    report["live"] = live
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    return DONE if report["taken"] else NOT_DONE


def _by_rules(config: Config, file: Path) -> dict[str, Any]:
    """Explain without a host: with trees in which nothing waits."""
    from dicomnode.host.configuration.configured_pipeline import configure_pipelines
    from dicomnode.host.gathering.reception import wanted_tags
    from dicomnode.host.gathering.waiting_images import WaitingImages
    from dicomnode.host.isolation.isolation import Isolation
    from dicomnode.host.operation.explanation import explain as explained
    from dicomnode.plugins.hooks import Hooks
    from dicomnode.plugins.registry import Registry

    registry = Registry(config.plugins.disabled, config.plugins.only)
    hooks = Hooks(registry)
    with Isolation.of(config) as environments:
        configured_pipelines = configure_pipelines(config, registry, environments)
        trees = [WaitingImages(configured, hooks) for configured in configured_pipelines]
        return explained(file, trees, config, wanted_tags(trees))


def _called(name: str, pipelines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pipeline of a name, which may be its AE title: both stand in what is printed."""
    for key in ("pipeline", "ae_title"):
        if found := [each for each in pipelines if each[key] == name]:
            return found
    if pipelines:
        names = ", ".join(f"{each['pipeline']} ({each['ae_title']})" for each in pipelines)
        msg = f"no pipeline is called {name!r}; there are: {names}"
        raise ConfigurationError(msg)
    return []


def _print(report: Mapping[str, Any]) -> None:
    lines = [report["file"]]
    if report["refused"] is not None:
        status = report["refused"]["status"]
        code = "" if status is None else f" with {status:#06x}"
        lines.append(f"  is refused by the receiver{code}: {report['refused']['reason']}")
    for each in report["pipelines"]:
        lines += _lines(each)
    if not report["live"] and report["pipelines"]:
        lines.append("(No host was asked: what is missing does not count the images that wait there.)")
    width = console().width
    for line in lines:
        text = safe_text(line, longest=_LONGEST)
        click.echo(
            text if line.startswith(" " * _KEY) or line == report["file"] else wrapped_line(text, width)
        )


def _lines(report: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of one pipeline."""
    verdict = "takes it" if report["taken"] else f"does not take it: answered with {report['status']:#06x}"
    if not report["taken"] and not report["status"]:
        verdict += ", and not kept for a job"
    lines = [f"  {report['ae_title']} ({report['pipeline']}) {verdict}"]
    if report["taken"]:
        lines.append(f"    one job is {_group(report['gather_by'])}; the container of this one is")
        lines.append(f"{' ' * _KEY}{report['container_key']}")
        lines.append(f"    it starts by: {shown_rules(report['rules'])}")
    for name, reason in report["inputs"].items():
        lines.append(f"    {name}: wants it" if reason is None else f"    {name}: no, {reason}")
    if not report["inputs"] and report["reason"]:
        lines.append(f"    {report['reason']}")
    if report["here"]:
        lines.append(f"    the instance is here already: {report['here']}")
    if report["taken"]:
        lines.append(
            "    then complete" if report["missing"] is None else f"    then missing: {report['missing']}"
        )
    return lines


def _group(gather_by: str) -> str:
    """Return what one job is, in words."""
    if gather_by in {"series", "study", "patient"}:
        return f"one {gather_by}"
    return f"what has the same {gather_by}"
