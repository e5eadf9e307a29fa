"""What the ledger says of a host, whether it runs or not, as plain data.

Patients are named only where somebody asks for them: a job's, or those that wait. What only a running host
knows is in :mod:`~dicomnode.host.operation.live_status`. Nothing here imports a plugin or anything of DICOM.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.free_space import disk_space, jobs_reserve
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.states import DEAD_LETTERS
from dicomnode.host.ledger.unprocessed_ledger import Outcome, unprocessed_counts, unprocessed_series
from dicomnode.host.parsing.statuses import Status


def recorded_status(ledger: LedgerReader, *, patients: bool = False) -> dict[str, Any]:
    """Return what the ledger says, as plain data: counts of instances, jobs and deliveries.

    ``unprocessed`` counts the images of each pipeline that no job gets: refused, discarded, held.

    Parameters
    ----------
    ledger : LedgerReader
        The ledger.
    patients : bool
        Whether to name the patients that wait, and the series that no job gets, with the reason.
    """
    pipelines: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        return pipelines.setdefault(
            name,
            {
                "instances": {},
                "jobs": {},
                "waiting": {"patients": 0, "images": 0},
                "unprocessed": dict.fromkeys(Outcome, 0),
            },
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
                "container_key": waiting.container_key,
                "inputs": dict(waiting.inputs),
                "quiet": max(0.0, time.time() - waiting.last),
            }
            table.setdefault("patients", []).append(plain)
    with ledger.snapshot() as connection:
        for name, counts in unprocessed_counts(connection).items():
            of(name)["unprocessed"] = counts
        for each in unprocessed_series(connection) if patients else ():
            of(each.pipeline).setdefault("unprocessed_series", []).append(
                {
                    "SeriesInstanceUID": each.SeriesInstanceUID,
                    "outcome": each.outcome,
                    "images": each.images,
                    "last": iso_timestamp(each.last),
                    "reason": each.reason,
                }
            )
    return {
        "pipelines": pipelines,
        "dead_letters": sum(len(ledger.jobs(state)) for state in DEAD_LETTERS),
        "deliveries": {
            name: {"destination": name, **counts, "reason": reason, "next": iso_timestamp(not_before)}
            for name, (counts, reason, not_before) in ledger.open_deliveries().items()
        },
    }


def disk_status(data: Path, reserve: int) -> dict[str, Any]:
    """Return how full the disk of the data directory is, in bytes."""
    space = disk_space(data)
    return {
        "data": str(data),
        "free": space.free,
        "total": space.total,
        "reserve": reserve,
        "refuses_images": space.free < reserve,
        "jobs_wait": space.free < jobs_reserve(reserve),
    }


def attention(
    recorded: Mapping[str, Any], disk: Mapping[str, Any], live: Mapping[str, Any] | None = None
) -> list[str]:
    """Return what the operator should look after, each in a sentence.

    Parameters
    ----------
    recorded, disk : mapping
        What :func:`recorded_status` and :func:`disk_status` returned.
    live : mapping or None
        What :func:`~dicomnode.host.operation.live_status.live_status` returned, where a host runs.
    """
    found = []
    if disk["refuses_images"]:
        found.append(
            f"every image is refused (0x{Status.OUT_OF_RESOURCES:04X}): less of the disk is free than the"
            " reserve (host.reserve)"
        )
    if disk["jobs_wait"]:
        found.append("no job is started: less of the disk is free than half of the reserve")
    if recorded["dead_letters"]:
        found.append(f"{recorded['dead_letters']} jobs need attention: dicomnode-host jobs --failed")
    found += [
        f"job {each['job']} was discarded or superseded, and its executor cannot end it: it may go on"
        " running, and its result will be dropped"
        for each in (live or {}).get("unstoppable_jobs", ())
    ]
    return found


def add_backoffs(deliveries: Iterable[dict[str, Any]], live: Mapping[str, Any] | None) -> None:
    """Add, to what is to be delivered, that nothing is sent to its destination for now.

    Parameters
    ----------
    deliveries : iterable of dict
        Each with its ``destination`` and the time of its ``next`` attempt; what is pending is changed.
    live : mapping or None
        What :func:`~dicomnode.host.operation.live_status.live_status` returned.
    """
    backoffs = (live or {}).get("backoffs", {})
    for each in deliveries:
        backoff = backoffs.get(each["destination"])
        if backoff is not None and (each.get("state") == "pending" or each.get("pending")):
            each["next"] = max(filter(None, (each["next"], backoff["until"])), key=datetime.fromisoformat)
            each["backoff"] = backoff["reason"]


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
            "created": iso_timestamp(job.created),
            "changed": iso_timestamp(job.changed),
            "next": iso_timestamp(job.not_before),
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
        "container_key": job.container_key,
        "state": job.state,
        "reason": job.reason,
        "attempts": job.attempts,
        "created": iso_timestamp(job.created),
        "changed": iso_timestamp(job.changed),
        "next": iso_timestamp(job.not_before),
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
                "next": iso_timestamp(delivery.not_before),
            }
            for delivery in ledger.deliveries(job=number)
        ],
        "history": [
            {"at": iso_timestamp(at), "from": old, "to": new, "reason": reason}
            for old, new, reason, at in ledger.transitions("job", number)
        ],
        "log": job.log,
    }


def _instance(row: InstanceRecord) -> dict[str, Any]:
    return {
        "SOPInstanceUID": row.SOPInstanceUID,
        "file": row.path,
        "state": row.state,
        "reason": row.reason,
        "received": iso_timestamp(row.received),
        "association": row.association,
    }
