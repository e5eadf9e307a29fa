"""What the host says of itself: from the ledger, whether it runs or not, and of its trees while it runs.

Patients are named only where somebody asks for them: a job's, or those that wait.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.free_space import free_bytes, jobs_reserve
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.states import DEAD_LETTERS

if TYPE_CHECKING:
    from dicomnode.host.gathering.pipeline_tree import PipelineTree
    from dicomnode.host.host import Host


def live_status(host: Host, *, patients: bool = False) -> dict[str, Any]:
    """Return what only the running host knows, as plain data.

    Parameters
    ----------
    host : Host
        The host.
    patients : bool
        Whether to name the patients that wait, and what each is missing.
    """
    from dicomnode.plugins.registry import host_version

    pipelines: dict[str, Any] = {}
    for name, tree in host.trees.items():
        counts = tree.counts()
        pipelines[name] = {
            "ae_title": tree.configured.ae_title,
            "destinations": list(tree.configured.destinations),
            "distribution": tree.configured.registration.distribution,
            "version": tree.configured.registration.version,
            "discarded": host.reception.discarded[name],
            "waiting": {
                "patients": len(counts),
                "images": sum(sum(each.values()) for each in counts.values()),
            },
        }
        if patients:
            pipelines[name]["patients"] = [
                {
                    "container": key,
                    "inputs": inputs,
                    "quiet": tree.quiet_for(key),
                    **_waits_for(tree, key),
                }
                for key, inputs in counts.items()
            ]
    return {
        "version": host_version(),
        "process": os.getpid(),
        "ae_title": host.config.host.ae_title,
        "address": f"{host.address[0]}:{host.address[1]}",
        "started": moment(host.started),
        "reserve": host.config.host.reserve,
        "pipelines": pipelines,
        "left_alone": {
            name: {"until": moment(time.time() + seconds), "reason": reason}
            for name, (seconds, reason) in host.outbox.backoffs().items()
        },
    }


def recorded_status(ledger: LedgerReader, *, patients: bool = False) -> dict[str, Any]:
    """Return what the ledger says, as plain data: counts of instances, jobs and deliveries.

    Parameters
    ----------
    ledger : LedgerReader
        The ledger.
    patients : bool
        Whether to name the patients that wait.
    """
    pipelines: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        return pipelines.setdefault(
            name, {"instances": {}, "jobs": {}, "waiting": {"patients": 0, "images": 0}}
        )

    for (name, instance_state), count in ledger.instance_counts().items():
        of(name)["instances"][instance_state] = count
    for (name, job_state), count in ledger.job_counts().items():
        of(name)["jobs"][job_state] = count
    for waiting in ledger.waiting():
        table = of(waiting.pipeline)
        table["waiting"]["patients"] += 1
        table["waiting"]["images"] += waiting.images
        if patients:
            plain = {
                "container": waiting.container,
                "inputs": dict(waiting.inputs),
                "quiet": max(0.0, time.time() - waiting.last),
            }
            table.setdefault("patients", []).append(plain)
    return {
        "pipelines": pipelines,
        "dead_letters": sum(len(ledger.jobs(state)) for state in DEAD_LETTERS),
        "deliveries": {
            name: {"destination": name, **counts, "reason": reason, "next": moment(not_before)}
            for name, (counts, reason, not_before) in ledger.open_deliveries().items()
        },
    }


def disk_status(data: Path, reserve: int) -> dict[str, Any]:
    """Return how full the disk of the data directory is, in bytes."""
    usage = shutil.disk_usage(data)
    free = free_bytes(data)
    return {
        "data": str(data),
        "free": free,
        "total": usage.total,
        "reserve": reserve,
        "refuses_images": free < reserve,
        "jobs_wait": free < jobs_reserve(reserve),
    }


def attention(recorded: Mapping[str, Any], disk: Mapping[str, Any]) -> list[str]:
    """Return what the operator should look after, each in a sentence."""
    found = []
    if disk["refuses_images"]:
        found.append(
            "every image is refused (0xA700): less of the disk is free than the reserve (host.reserve)"
        )
    if disk["jobs_wait"]:
        found.append("no job is started: less of the disk is free than half of the reserve")
    if recorded["dead_letters"]:
        found.append(f"{recorded['dead_letters']} jobs need attention: dicomnode-host jobs --failed")
    return found


def left_alone(deliveries: Iterable[dict[str, Any]], live: Mapping[str, Any] | None) -> None:
    """Enter, with what is to be delivered, that its destination as a whole is left alone for now.

    Parameters
    ----------
    deliveries : iterable of dict
        Each with its ``destination`` and the time of its ``next`` attempt; what is pending is changed.
    live : mapping or None
        What :func:`live_status` returned.
    """
    backoffs = (live or {}).get("left_alone", {})
    for each in deliveries:
        rest = backoffs.get(each["destination"])
        if rest is not None and (each.get("state") == "pending" or each.get("pending")):
            each["next"] = max(filter(None, (each["next"], rest["until"])), key=datetime.fromisoformat)
            each["left_alone"] = rest["reason"]


def jobs_report(ledger: LedgerReader, jobs: Iterable[JobRecord]) -> list[dict[str, Any]]:
    """Return jobs as plain data, without naming their patients: reasons are in the host's own words."""
    return [
        {
            "job": job.id,
            "pipeline": job.pipeline,
            "state": job.state,
            "reason": job.summary,
            "attempts": job.attempts,
            "inputs": ledger.input_count(job.id),
            "created": moment(job.created),
            "changed": moment(job.changed),
            "next": moment(job.not_before),
        }
        for job in jobs
    ]


def job_report(ledger: LedgerReader, number: int, outbox: Path) -> dict[str, Any]:
    """Return all that the ledger holds of a job, as plain data; its patient is named.

    Raises
    ------
    JobStateError
        When there is no such job.
    """
    job = ledger.job(number)
    if job is None:
        msg = f"there is no job {number}; `dicomnode-host jobs` lists those that there are"
        raise JobStateError(msg)
    inputs: dict[str, list[dict[str, Any]]] = {}
    for row in ledger.instances(job=number):
        for name in row.inputs:
            inputs.setdefault(name, []).append(_instance(row))
    folder = outbox / job.folder if job.folder else None
    return {
        "job": job.id,
        "pipeline": job.pipeline,
        "container": job.container,
        "state": job.state,
        "reason": job.reason,
        "attempts": job.attempts,
        "created": moment(job.created),
        "changed": moment(job.changed),
        "next": moment(job.not_before),
        "identity": job.identity,
        "warnings": ledger.warnings(number),
        "result": str(folder) if folder is not None and folder.is_dir() else None,
        "inputs": inputs,
        "deliveries": [
            {
                "destination": delivery.destination,
                "output": delivery.item.get("output", ""),
                "SOPInstanceUID": delivery.item.get("SOPInstanceUID", ""),
                "file_name": delivery.item.get("file_name", ""),
                "state": delivery.state,
                "status": delivery.status,
                "reason": delivery.reason,
                "attempts": delivery.attempts,
                "next": moment(delivery.not_before),
            }
            for delivery in ledger.deliveries(job=number)
        ],
        "history": [
            {"at": moment(at), "from": old, "to": new, "reason": reason}
            for old, new, reason, at in ledger.transitions("job", number)
        ],
        "log": job.log,
    }


def moment(seconds: float) -> str | None:
    """Return a time (seconds since the epoch) in ISO 8601 with its zone, or ``None`` for no time."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds") if seconds else None


def _instance(row: InstanceRecord) -> dict[str, Any]:
    return {
        "SOPInstanceUID": row.SOPInstanceUID,
        "file": row.path,
        "state": row.state,
        "reason": row.reason,
        "received": moment(row.received),
        "association": row.association,
    }


def _waits_for(tree: PipelineTree, key: str) -> dict[str, str | None]:
    """Return what a patient is missing, and what is waited for: that, or else that nothing more comes."""
    try:
        missing = tree.missing(key)
    except Exception as error:
        missing = f"{error}"
    return {"missing": missing, "waits_for": missing or _until_looked_at(tree, key)}


def _until_looked_at(tree: PipelineTree, key: str) -> str:
    rules, so_far = tree.configured.rules, tree.quiet_for(key)
    ways = []
    if rules.on_release:
        ways.append("the release of an association that brings an image of it")
    if rules.when_quiet:
        ways.append(f"{max(0.0, rules.quiet - (so_far or 0.0)):.0f} s more without an image")
    return f"complete; waits for {', or for '.join(ways)}"
