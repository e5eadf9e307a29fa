"""What the ledger keeps of where results come from: entered, found, and taken over from an older ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_schema import MIGRATIONS
from dicomnode.host.ledger.ledger_writes import add_instance, create_job
from dicomnode.host.ledger.provenance_ledger import (
    jobless_instances,
    jobs_of_uid,
    provenance_of,
    record_provenance,
    results_of,
)

_BEFORE = 3
"""The schema that knew nothing of where results come from."""

_INDEX = '{"524312":"1.1","2097165":"1.9","2097166":"1.8"}'


def image(uid: str) -> InstanceRecord:
    """Return an instance of study 1.9 and series 1.8."""
    return InstanceRecord(
        path=f"kept/{uid}.dcm",
        pipeline="smooth",
        container_key="P1",
        inputs=("images",),
        SOPInstanceUID=uid,
        index={0x00080018: uid, 0x0020000D: "1.9", 0x0020000E: "1.8"},
        received=1000.0,
        association="a",
    )


def manifest(*uids: str, **others: Any) -> dict[str, Any]:
    """Return a manifest with some results of series 2.8."""
    return {
        "plugin": "smooth",
        "distribution": "smooth",
        "version": "1.0",
        "settings": {"sigma": 1.5},
        "environment": {"python": "3.11", "packages": {"numpy": "2"}},
        "inputs": {"images": [{"path": "/spool/kept/1.1.dcm", "SOPInstanceUID": "1.1", "sha256": "ab"}]},
        "items": [{"SOPInstanceUID": uid} for uid in uids],
        "series": dict.fromkeys(uids, "2.8"),
        **others,
    }


def test_a_job_is_found_by_every_uid_of_it(tmp_path: Path) -> None:
    """Inputs by instance, series and study from the moment the job is made; results once they are."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as ledger:
        for uid in ("1.1", "1.2"):
            ledger.write(add_instance(image(uid)))
        with ledger.snapshot() as connection:
            assert [row.SOPInstanceUID for row in jobless_instances(connection, "1.8")] == ["1.1", "1.2"]
            assert jobs_of_uid(connection, "1.1") == {}
        job = ledger.write(create_job("identity", "smooth", "P1", ["kept/1.1.dcm"])).id
        with ledger.snapshot() as connection:
            assert jobs_of_uid(connection, "1.1") == {job: ["input"]}
            assert jobs_of_uid(connection, "1.8") == {job: ["series of inputs"]}
            assert jobs_of_uid(connection, "1.9") == {job: ["study of inputs"]}
            assert [row.SOPInstanceUID for row in jobless_instances(connection, "1.9")] == ["1.2"]
            assert provenance_of(connection, job) is None
        ledger.write(record_provenance(job, manifest("2.1"), lambda path: path.removeprefix("/spool/")))
        ledger.write(record_provenance(job, manifest("2.2", "", "2.2"), lambda path: path))
        with ledger.snapshot() as connection:
            assert results_of(connection, job) == {"2.2": "2.8"}
            assert jobs_of_uid(connection, "2.1") == {}
            assert jobs_of_uid(connection, "2.2") == {job: ["result"]}
            assert jobs_of_uid(connection, "2.8") == {job: ["series of results"]}
            record, environment = provenance_of(connection, job) or ({}, {})
            assert (record["version"], record["settings"]) == ("1.0", {"sigma": 1.5})
            assert environment == manifest()["environment"]
        assert ledger.checksum("kept/1.1.dcm") == "ab"


def test_an_environment_is_stored_once(tmp_path: Path) -> None:
    """However many jobs ran in it; another one is another row."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as ledger:
        for number in range(20):
            ledger.write(record_provenance(number, manifest(), str))
        ledger.write(record_provenance(20, manifest(environment={"python": "3.12"}), str))
        with ledger.snapshot() as connection:
            assert connection.execute("SELECT count(*) FROM environment").fetchone()[0] == 2
            assert connection.execute("SELECT count(*) FROM provenance").fetchone()[0] == 21


def test_the_jobs_of_an_older_ledger_are_found_by_their_uids(tmp_path: Path) -> None:
    """What it had is taken over: inputs, their series and study, delivered instances."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in range(_BEFORE):
            connection.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")
        connection.execute(
            "INSERT INTO instance VALUES ('a.dcm', 'smooth', 'P1', '[\"images\"]', '1.1', ?, 1.0, 'a',"
            " 'released', 7, '', '')",
            (_INDEX,),
        )
        connection.execute(
            "INSERT INTO instance VALUES ('b.dcm', 'smooth', '', '[]', '1.2', '{}', 1.0, 'a', 'waiting',"
            " NULL, '', '')"
        )
        for destination, item in (("A", "2.1"), ("B", "2.1"), ("A", "")):
            connection.execute(
                "INSERT INTO delivery (job, destination, item, state, reason, attempts, not_before, changed)"
                " VALUES (7, ?, ?, 'confirmed', '', 1, 0, 0)",
                (destination, f'{{"SOPInstanceUID":"{item}"}}'),
            )
    with Ledger(path, durable=False) as ledger, ledger.snapshot() as connection:
        assert jobs_of_uid(connection, "1.1") == {7: ["input"]}
        assert jobs_of_uid(connection, "1.8") == {7: ["series of inputs"]}
        assert jobs_of_uid(connection, "1.9") == {7: ["study of inputs"]}
        assert jobs_of_uid(connection, "2.1") == {7: ["result"]}
        assert results_of(connection, 7) == {"2.1": ""}
        assert provenance_of(connection, 7) is None
        assert [row.SOPInstanceUID for row in jobless_instances(connection, "1.2")] == ["1.2"]
