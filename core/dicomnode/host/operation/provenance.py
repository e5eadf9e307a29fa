"""Where a result comes from and what an input became: out of the ledger, whether the host runs or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_records import DeliveryRecord, InstanceRecord, JobRecord
from dicomnode.host.ledger.provenance_ledger import (
    associations_of,
    jobless_instances,
    jobs_of_uid,
    provenance_of,
    results_of,
)
from dicomnode.host.ledger.states import DeliveryState

_SERIES, _STUDY = 0x0020000E, 0x0020000D


def trace(ledger: LedgerReader, uid: str) -> dict[str, Any]:
    """Return the jobs that a UID belongs to, with all that their results come from, as plain data.

    Parameters
    ----------
    ledger : LedgerReader
        The ledger.
    uid : str
        Of a result (SOP or Series Instance UID), or of an input (SOP, Series or Study Instance UID).

    Returns
    -------
    dict
        ``uid``, ``jobs``, and ``unused``: the images of that UID that no job has used.

    Raises
    ------
    JobStateError
        When nothing of that UID is known.
    """
    with ledger.snapshot() as connection:
        jobs = [
            _job(ledger, connection, job, meanings)
            for number, meanings in jobs_of_uid(connection, uid).items()
            if (job := ledger.job(number)) is not None
        ]
        unused = [
            {
                **_image(row, {}),
                "pipeline": row.pipeline,
                "container_key": row.container_key,
                "state": row.state,
                "reason": row.reason,
            }
            for row in jobless_instances(connection, uid)
        ]
    if not jobs and not unused:
        msg = (
            f"no result and no input with the UID {uid} is known here. Records are kept as long as"
            " retention.records says"
        )
        raise JobStateError(msg)
    return {"uid": uid, "jobs": jobs, "unused": unused}


def _job(
    ledger: LedgerReader, connection: sqlite3.Connection, job: JobRecord, meanings: list[str]
) -> dict[str, Any]:
    record, environment = provenance_of(connection, job.id) or ({}, {})
    associations = associations_of(connection, job.id)
    inputs: dict[str, list[dict[str, Any]]] = {}
    for row in ledger.instances(job=job.id):
        for name in row.inputs:
            inputs.setdefault(name, []).append(_image(row, associations))
    return {
        "uid_is": meanings,
        "job": job.id,
        "pipeline": job.pipeline,
        "container_key": job.container_key,
        "state": job.state,
        "reason": job.reason,
        "started_because": ledger.start_reason(job.id),
        "created": iso_timestamp(job.created),
        "changed": iso_timestamp(job.changed),
        "plugin": {name: record.get(name) for name in ("plugin", "distribution", "version")},
        "run": {name: record.get(name) for name in ("attempt", "started", "ended")},
        "settings": record.get("settings"),
        "declared": record.get("declared"),
        "warnings": record.get("warnings") or [],
        "environment": environment or None,
        "inputs": inputs,
        "results": _results(ledger.deliveries(job=job.id), results_of(connection, job.id)),
    }


def _image(row: InstanceRecord, associations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    came_by = associations.get(row.association)
    return {
        "SOPInstanceUID": row.SOPInstanceUID,
        "SeriesInstanceUID": str(row.index.get(_SERIES) or ""),
        "StudyInstanceUID": str(row.index.get(_STUDY) or ""),
        "sha256": row.sha256,
        "received": iso_timestamp(row.received),
        "association": None
        if came_by is None
        else {
            "id": came_by["id"],
            "calling": came_by["calling"],
            "called": came_by["called"],
            "address": came_by["address"],
            "started": iso_timestamp(came_by["started"]),
        },
    }


def _results(deliveries: list[DeliveryRecord], series: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return each result once, with where it went."""
    found: dict[str, dict[str, Any]] = {}
    for each in deliveries:
        uid = each.item.get("SOPInstanceUID", "")
        result = found.setdefault(
            each.item["path"],
            {
                "SOPInstanceUID": uid,
                "SeriesInstanceUID": series.get(uid, ""),
                "SOPClassUID": each.item.get("SOPClassUID", ""),
                "file_name": each.item.get("file_name", ""),
                "output": each.item.get("output", ""),
                "deliveries": [],
            },
        )
        confirmed = each.state is DeliveryState.CONFIRMED
        result["deliveries"].append(
            {
                "destination": each.destination,
                "state": each.state,
                "confirmed": iso_timestamp(each.changed) if confirmed else None,
                "status": each.status,
                "reason": each.reason,
            }
        )
    return list(found.values())
