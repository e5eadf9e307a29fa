"""What only the running host knows of itself, as plain data for the control socket."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dicomnode.host.configuration.gathering_rules import gathering_rules
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.state_machine import View
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.plugins.registry import host_version


def live_status(
    *,
    ae_title: str,
    address: tuple[str, int],
    started: float,
    reserve: int,
    trees: Iterable[WaitingImages],
    gatherer: Gatherer,
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
    trees : iterable of WaitingImages
        One for each configured pipeline.
    gatherer : Gatherer
        Who knows what containers wait for.
    backoffs : mapping of str to (float, str)
        Destination -> for how many more seconds nothing is sent to it, and why.
    unstoppable : iterable of JobRecord
        Jobs that were discarded or superseded, and that the executor cannot end.
    patients : bool
        Whether to name the containers that wait, with what each has, is missing and waits for, and why it is
        held; and to say what decides about that.
    """
    return {
        "version": host_version(),
        "process": os.getpid(),
        "ae_title": ae_title,
        "address": f"{address[0]}:{address[1]}",
        "started": iso_timestamp(started),
        "reserve": reserve,
        "pipelines": {tree.configured.name: _pipeline(tree, gatherer, patients=patients) for tree in trees},
        "backoffs": {
            name: {"until": iso_timestamp(time.time() + seconds), "reason": reason}
            for name, (seconds, reason) in backoffs.items()
        },
        "unstoppable_jobs": [{"job": job.id, "pipeline": job.pipeline} for job in unstoppable],
    }


def _pipeline(tree: WaitingImages, gatherer: Gatherer, *, patients: bool) -> dict[str, Any]:
    configured, counts, views = tree.configured, tree.counts(), gatherer.views(tree)
    held = [view.hold for view in views.values() if view.hold is not None]
    report: dict[str, Any] = {
        "ae_title": configured.ae_title,
        "destinations": list(configured.destinations),
        "distribution": configured.registration.distribution,
        "version": configured.registration.version,
        "gather_by": configured.gathers_by,
        "held": dict(Counter(hold.kind.value for hold in held)),
        "waiting": {
            "patients": len(counts),
            "images": sum(sum(each.values()) for each in counts.values()),
        },
    }
    if patients:
        report["rules"] = gathering_rules(configured)
        # Of images that came again a failed job may have all the files: then the tree has none of them.
        report["patients"] = [
            {
                "container_key": container_key,
                "inputs": counts.get(container_key, {}),
                **_waits_for(tree, container_key, views.get(container_key)),
            }
            for container_key in dict.fromkeys([*counts, *views])
        ]
    return report


def _waits_for(tree: WaitingImages, container_key: str, view: View | None) -> dict[str, Any]:
    """Return what a container is missing, why it is held, and what is waited for.

    It is held where it was looked at and no job was started; then only another image, the end of another
    association or the operator changes that.
    """
    quiet = tree.quiet_for(container_key)
    if quiet is None and view is not None:
        quiet = view.quiet
    missing = tree.missing(container_key) if container_key in tree.keys() else None  # noqa: SIM118 - no mapping
    hold = None if view is None else view.hold
    return {
        "quiet": quiet,
        "missing": missing,
        "held": None if hold is None else hold.kind.value,
        "held_because": None if hold is None else hold.why,
        "waits_for": _reason(view) or missing,
        "open_associations": 0 if view is None else view.open_associations,
        "settled_in": None if view is None else view.settled_in,
    }


def _reason(view: View | None) -> str | None:
    if view is None:
        return None
    if view.hold is not None:
        return view.hold.why
    seconds = f"{view.settled_in or 0.0:.0f} s more"
    if view.open_associations:
        count = view.open_associations
        which = f"{count} association{'s' * (count != 1)} that brought images of it"
        return f"the end of {which}, for at most {seconds}"
    if view.settled_in is not None:
        return f"{seconds} in which no association brings an image of it"
    return None
