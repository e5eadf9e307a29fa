"""What only the running host knows of itself, as plain data for the control socket."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.plugins.registry import host_version


def live_status(
    *,
    ae_title: str,
    address: tuple[str, int],
    started: float,
    reserve: int,
    trees: Iterable[PipelineTree],
    discarded: Mapping[str, int],
    backoffs: Mapping[str, tuple[float, str]],
    unstoppable: Iterable[JobRecord],
    patients: bool = False,
) -> dict[str, Any]:
    """Return what only the running host knows, as plain data.

    Parameters
    ----------
    ae_title : str
        The host's own AE title.
    address : tuple of str and int
        Where it listens.
    started : float
        When it was started (seconds since the epoch).
    reserve : int
        Bytes of the disk below which images are refused.
    trees : iterable of PipelineTree
        One for each configured pipeline.
    discarded : mapping of str to int
        How many images each pipeline answered with Success and dropped.
    backoffs : mapping of str to (float, str)
        Destination -> for how many more seconds nothing is sent to it, and why.
    unstoppable : iterable of JobRecord
        Jobs that were discarded or superseded, and that the executor cannot end.
    patients : bool
        Whether to name the patients that wait, and what each is missing.
    """
    return {
        "version": host_version(),
        "process": os.getpid(),
        "ae_title": ae_title,
        "address": f"{address[0]}:{address[1]}",
        "started": iso_timestamp(started),
        "reserve": reserve,
        "pipelines": {
            tree.configured.name: _pipeline(tree, discarded.get(tree.configured.name, 0), patients=patients)
            for tree in trees
        },
        "backoffs": {
            name: {"until": iso_timestamp(time.time() + seconds), "reason": reason}
            for name, (seconds, reason) in backoffs.items()
        },
        "unstoppable_jobs": [{"job": job.id, "pipeline": job.pipeline} for job in unstoppable],
    }


def _pipeline(tree: PipelineTree, discarded: int, *, patients: bool) -> dict[str, Any]:
    configured, counts = tree.configured, tree.counts()
    report: dict[str, Any] = {
        "ae_title": configured.ae_title,
        "destinations": list(configured.destinations),
        "distribution": configured.registration.distribution,
        "version": configured.registration.version,
        "discarded": discarded,
        "waiting": {
            "patients": len(counts),
            "images": sum(sum(each.values()) for each in counts.values()),
        },
    }
    if patients:
        report["patients"] = [
            {
                "container_key": container_key,
                "inputs": inputs,
                "quiet": tree.quiet_for(container_key),
                **_waits_for(tree, container_key),
            }
            for container_key, inputs in counts.items()
        ]
    return report


def _waits_for(tree: PipelineTree, container_key: str) -> dict[str, str | None]:
    """Return what a patient is missing, and what is waited for: that, or else that nothing more comes."""
    try:
        missing = tree.missing(container_key)
    except Exception as error:
        missing = f"{error}"
    return {"missing": missing, "waits_for": missing or _waits_for_what(tree, container_key)}


def _waits_for_what(tree: PipelineTree, container_key: str) -> str:
    policy, so_far = tree.configured.policy, tree.quiet_for(container_key)
    ways = []
    if policy.on_release:
        ways.append("the release of an association that brings an image of it")
    if policy.when_quiet:
        ways.append(f"{max(0.0, policy.quiet - (so_far or 0.0)):.0f} s more without an image")
    return f"complete; waits for {', or for '.join(ways)}"
