"""The tables of the ledger, and how an older ledger becomes a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dicomnode.errors import DataDirectoryError

_FIRST = """
CREATE TABLE association (
    id TEXT PRIMARY KEY, calling TEXT NOT NULL, called TEXT NOT NULL, address TEXT NOT NULL,
    started REAL NOT NULL, outcome TEXT NOT NULL, ended REAL
) WITHOUT ROWID;
CREATE TABLE instance (
    path TEXT PRIMARY KEY, pipeline TEXT NOT NULL, container TEXT NOT NULL, inputs TEXT NOT NULL,
    SOPInstanceUID TEXT NOT NULL, "index" TEXT NOT NULL, received REAL NOT NULL, association TEXT NOT NULL,
    state TEXT NOT NULL, job INTEGER, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX instance_by_job ON instance (job) WHERE job IS NOT NULL;
CREATE INDEX instance_by_state ON instance (state);
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL, pipeline TEXT NOT NULL,
    container TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
    not_before REAL NOT NULL, created REAL NOT NULL, changed REAL NOT NULL, folder TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT ''
);
CREATE INDEX job_by_state ON job (state);
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, destination TEXT NOT NULL, item TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, status INTEGER, attempts INTEGER NOT NULL,
    not_before REAL NOT NULL, changed REAL NOT NULL
);
CREATE INDEX delivery_by_state ON delivery (state, destination);
CREATE INDEX delivery_by_job ON delivery (job);
CREATE TABLE transition (
    id INTEGER PRIMARY KEY, entity TEXT NOT NULL, entity_id TEXT NOT NULL, old TEXT NOT NULL,
    new TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX transition_by_entity ON transition (entity, entity_id);
"""

_SECOND = """
ALTER TABLE instance ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
"""

_THIRD = """
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, container TEXT NOT NULL, input TEXT NOT
    NULL, peer TEXT NOT NULL, patient TEXT NOT NULL, asked_for TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, attempts INTEGER NOT NULL, not_before REAL NOT NULL, changed REAL NOT NULL
);
CREATE INDEX history_by_state ON history (state);
CREATE INDEX history_by_container ON history (pipeline, container);
"""

_FOURTH = """
CREATE TABLE environment (sha256 TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE provenance (
    job INTEGER PRIMARY KEY, record TEXT NOT NULL, environment TEXT NOT NULL
);
CREATE INDEX provenance_by_environment ON provenance (environment);
CREATE TABLE result (job INTEGER NOT NULL, SOPInstanceUID TEXT NOT NULL, SeriesInstanceUID TEXT NOT NULL);
CREATE INDEX result_by_job ON result (job);
CREATE INDEX result_by_instance ON result (SOPInstanceUID);
CREATE INDEX result_by_series ON result (SeriesInstanceUID);
CREATE TABLE source (job INTEGER NOT NULL, SeriesInstanceUID TEXT NOT NULL, StudyInstanceUID TEXT NOT NULL);
CREATE INDEX source_by_job ON source (job);
CREATE INDEX source_by_series ON source (SeriesInstanceUID);
CREATE INDEX source_by_study ON source (StudyInstanceUID);
CREATE INDEX instance_of_job_by_uid ON instance (SOPInstanceUID) WHERE job IS NOT NULL;
INSERT INTO source SELECT DISTINCT job, coalesce(json_extract("index", '$."2097166"'), ''),
    coalesce(json_extract("index", '$."2097165"'), '') FROM instance WHERE job IS NOT NULL;
INSERT INTO result SELECT DISTINCT job, json_extract(item, '$.SOPInstanceUID'), '' FROM delivery
    WHERE coalesce(json_extract(item, '$.SOPInstanceUID'), '') <> '';
"""
# In the column "index", 2097165 is StudyInstanceUID (0020,000D) and 2097166 SeriesInstanceUID (0020,000E).
# The index of instances is of those in jobs alone, so that reception does not pay for it.

_FIFTH = """
CREATE TABLE commitment (
    id INTEGER PRIMARY KEY, TransactionUID TEXT NOT NULL, destination TEXT NOT NULL,
    delivery INTEGER NOT NULL, asked REAL NOT NULL
);
CREATE INDEX commitment_by_transaction ON commitment (TransactionUID);
CREATE INDEX commitment_by_delivery ON commitment (delivery);
"""

_SIXTH = """
ALTER TABLE job ADD COLUMN summary TEXT NOT NULL DEFAULT '';
UPDATE job SET summary = reason WHERE state IN ('running', 'built', 'delivered', 'undeliverable');
"""
# In the other states the reason may be the words of a plugin, or the operator's.

_SEVENTH = """
ALTER TABLE instance RENAME COLUMN container TO container_key;
ALTER TABLE job RENAME COLUMN container TO container_key;
ALTER TABLE history RENAME COLUMN container TO container_key;
"""
# SQLite renames the column in the index history_by_container, too.

_EIGHTH = """
CREATE INDEX job_by_container ON job (pipeline, container_key);
"""

_NINTH = """
CREATE TABLE unprocessed (
    pipeline TEXT NOT NULL, container_key TEXT NOT NULL, SeriesInstanceUID TEXT NOT NULL, outcome TEXT NOT
    NULL, reason TEXT NOT NULL, images INTEGER NOT NULL, last REAL NOT NULL,
    PRIMARY KEY (pipeline, outcome, SeriesInstanceUID, container_key, reason)
) WITHOUT ROWID;
"""

MIGRATIONS: Sequence[str] = (*(_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH, _SEVENTH, _EIGHTH, _NINTH),)
"""The n-th script takes a ledger from schema n to n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a ledger to the newest schema, each step in a transaction of its own.

    Raises
    ------
    DataDirectoryError
        When it was written by a newer host.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        msg = (
            f"the ledger {path} was written by a newer dicomnode-host (schema {version}; this one knows "
            f"{SCHEMA_VERSION}): upgrade this host"
        )
        raise DataDirectoryError(msg)
    for number in range(version, SCHEMA_VERSION):
        connection.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")
