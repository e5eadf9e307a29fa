"""``dicomnode-host replay JOB --with VERSION_OR_PATH --diff``: what another version would have made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.exit_codes import DONE, NOT_DONE
from dicomnode.cli.tables import print_table
from dicomnode.dicom.values.safe import safe_text

if TYPE_CHECKING:
    from dicomnode.host.operation.operations import Operations
    from dicomnode.host.operation.other_version import Trial

_LONGEST = 2000


def replay_with(operations: Operations, job: int, other: str, *, diff: bool, as_json: bool) -> int:
    """Do a job with another version, print what is different, and return the exit code.

    Parameters
    ----------
    operations : Operations
        The node.
    job : int
        The job's number.
    other : str
        A version, a wheel or a source tree.
    diff : bool
        Whether every difference is printed, or only that there are some.
    as_json : bool
        Whether everything is printed as JSON.
    """
    from dicomnode.host.operation.other_version import try_version  # pydicom, and what workers need

    with operations.ledger() as ledger:
        trial = try_version(operations.config, operations.data, ledger, job, other)
    if as_json:
        click.echo(json.dumps(trial.to_json(), indent=2))
    else:
        click.echo("\n".join(safe_text(line, longest=_LONGEST) for line in _told(trial)))
        if diff and trial.comparison is not None:
            _print_differences(trial.comparison.to_json())
    return DONE if trial.equal else NOT_DONE


def _told(trial: Trial) -> Iterator[str]:
    yield f"job {trial.job} with {trial.distribution} {trial.new}; nothing was sent or entered"
    if trial.old_failure is not None:
        yield f"  it has a result now; there is none to compare it with: {trial.old_failure}"
        return
    if trial.recomputed:
        made = f", which had made it with {trial.recorded}" if trial.recorded not in {None, trial.old} else ""
        yield f"  compared with {trial.old}: its result is not kept any more, so it was made again{made}"
    else:
        yield f"  compared with the result that it had, of {trial.old}"
    if trial.settings is not None:
        old, new = (json.dumps(each, ensure_ascii=False) for each in trial.settings)
        yield f"  with other settings (configuration or defaults): {old}, now {new}"
    yield f"  {_summary(trial)}"


def _summary(trial: Trial) -> str:
    if trial.comparison is None or trial.comparison.equal:
        return "equal"
    found = trial.comparison.to_json()
    voxels = found["voxels"]
    counts = (
        (len(found["only_old"]), "only in the old result"),
        (len(found["only_new"]), "only in the new result"),
        (len(found["tags"]), "tags"),
        (voxels["different"], f"of {voxels['compared']} voxels"),
        (sum("shapes" in each for each in voxels["instances"]), "instances of another shape"),
        (len(found["files"]), "files"),
    )
    return "different: " + ", ".join(f"{count} {what}" for count, what in counts if count)


def _print_differences(found: dict[str, Any]) -> None:
    only = [("old", each) for each in found["only_old"]] + [("new", each) for each in found["only_new"]]
    if only:
        print_table(("only in the", "instance or file"), only)
    if found["tags"]:
        print_table(
            ("tag", ">instances", "old", "new"),
            ((each["tag"], each["instances"], each["old"], each["new"]) for each in found["tags"]),
        )
    if found["voxels"]["instances"]:
        headings = (
            "SOP Instance UID",
            ">voxels differ",
            ">of",
            ">largest by",
            "frame, row, column",
            ">old",
            ">new",
        )
        print_table(headings, (_voxel_row(each) for each in found["voxels"]["instances"]))
    if found["files"]:
        print_table(("file that differs",), ((each,) for each in found["files"]))


def _voxel_row(found: dict[str, Any]) -> tuple[object, ...]:
    if "shapes" in found:
        old, new = found["shapes"]
        return found["SOPInstanceUID"], "all", None, None, "another shape", old, new
    where = f"{found['frame']}, {found['row']}, {found['column']}"
    numbers = (f"{found[each]:g}" for each in ("old", "new"))
    return (
        *(found["SOPInstanceUID"], found["different"], found["compared"], f"{found['largest']:g}", where),
        *numbers,
    )
