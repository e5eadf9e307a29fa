"""Where results come from, as the ledger keeps it: longer than their files, and found by any UID."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import Write, note_checksums

_KEPT = (
    *("attempt", "plugin", "distribution", "version", "settings", "declared", "warnings"),
    *("started", "ended"),
)
"""What of a manifest is kept as it is. The rest has tables of its own, or is with the job."""

_JOBS = {
    "result": "SELECT DISTINCT job FROM result WHERE SOPInstanceUID = ?",
    "series of results": "SELECT DISTINCT job FROM result WHERE SeriesInstanceUID = ?",
    "input": "SELECT DISTINCT job FROM instance WHERE SOPInstanceUID = ? AND job IS NOT NULL",
    "series of inputs": "SELECT DISTINCT job FROM source WHERE SeriesInstanceUID = ?",
    "study of inputs": "SELECT DISTINCT job FROM source WHERE StudyInstanceUID = ?",
}
"""What a UID can be of a job, and the query that finds these jobs."""

_JOBLESS = (
    "SELECT * FROM instance WHERE state IN"
    " ('received', 'waiting', 'expired', 'quarantined', 'removed', 'lost')"
    ' AND job IS NULL AND ? IN (SOPInstanceUID, json_extract("index", \'$."2097166"\'),'
    ' json_extract("index", \'$."2097165"\')) ORDER BY received, path'
)


def record_provenance(number: int, manifest: Mapping[str, Any], name_of: Callable[[str], str]) -> Write[None]:
    """Enter where the result of a job comes from, in place of what was entered before.

    Parameters
    ----------
    number : int
        The job's number.
    manifest : mapping of str to Any
        The manifest of its folder, as plain data.
    name_of : callable
        Path of an input -> its name in the ledger.
    """
    record = json.dumps({key: manifest.get(key) for key in _KEPT}, ensure_ascii=False)
    environment = json.dumps(manifest.get("environment", {}), sort_keys=True, ensure_ascii=False)
    sha256 = hashlib.sha256(environment.encode("utf-8", "surrogatepass")).hexdigest()
    series = manifest.get("series", {})
    uids = dict.fromkeys(item["SOPInstanceUID"] for item in manifest["items"])
    results = [(number, uid, series.get(uid, "")) for uid in uids if uid]
    checksums = {
        name_of(each["path"]): each["sha256"]
        for images in manifest.get("inputs", {}).values()
        for each in images
    }

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR IGNORE INTO environment VALUES (?, ?)", (sha256, environment))
        connection.execute("INSERT OR REPLACE INTO provenance VALUES (?, ?, ?)", (number, record, sha256))
        connection.execute("DELETE FROM result WHERE job = ?", (number,))
        connection.executemany("INSERT INTO result VALUES (?, ?, ?)", results)
        note_checksums(checksums)(connection)

    return write


def jobs_of_uid(connection: sqlite3.Connection, uid: str) -> dict[int, list[str]]:
    """Return job -> what a UID is of it (``"result"``, ``"study of inputs"`` ...), oldest job first."""
    found: dict[int, list[str]] = {}
    for what, query in _JOBS.items():
        for (job,) in connection.execute(query, (uid,)):
            found.setdefault(job, []).append(what)
    return dict(sorted(found.items()))


def jobless_instances(connection: sqlite3.Connection, uid: str) -> list[InstanceRecord]:
    """Return the instances of a UID (instance, series or study) that no job has used."""
    return [InstanceRecord.from_row(row) for row in connection.execute(_JOBLESS, (uid,))]


def provenance_of(connection: sqlite3.Connection, job: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return what was recorded of a job's result, and its environment; ``None`` before there is a result."""
    query = "SELECT record, content FROM provenance JOIN environment ON sha256 = environment WHERE job = ?"
    row = connection.execute(query, (job,)).fetchone()
    return None if row is None else (json.loads(row[0]), json.loads(row[1]))


def results_of(connection: sqlite3.Connection, job: int) -> dict[str, str]:
    """Return SOP Instance UID -> Series Instance UID of a job's results (empty where it is not known)."""
    query = "SELECT SOPInstanceUID, SeriesInstanceUID FROM result WHERE job = ? ORDER BY rowid"
    return dict(connection.execute(query, (job,)).fetchall())


def associations_of(connection: sqlite3.Connection, job: int) -> dict[str, dict[str, Any]]:
    """Return id -> association (``calling``, ``called``, ``address``, ``started``) of a job's inputs."""
    rows = connection.execute(
        "SELECT id, calling, called, address, started FROM association WHERE id IN"
        " (SELECT association FROM instance WHERE job = ?)",
        (job,),
    )
    return {row["id"]: dict(row) for row in rows}
