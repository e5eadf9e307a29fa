"""The fetching of earlier images, as it stands in the ledger."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicomnode.host.ledger.ledger_writes import Write, note
from dicomnode.host.ledger.states import check_transition
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """The fetching of a patient's earlier images for one input.

    Attributes
    ----------
    id : int
        Its number.
    pipeline, container_key, input : str
        For whom.
    status : HistoryStatus
        Where it is, which peer is asked, for whom and for what.
    attempts : int
        How many attempts there were.
    not_before : float
        When the next may be made, in seconds since the epoch.
    """

    id: int
    pipeline: str
    container_key: str
    input: str
    status: HistoryStatus
    attempts: int
    not_before: float

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | sqlite3.Row) -> HistoryRecord:
        """Return the record of a row."""
        status = HistoryStatus(
            HistoryState(row["state"]),
            row["peer"],
            row["reason"],
            row["patient"],
            frozenset(json.loads(row["asked_for"])),
        )
        return cls(
            row["id"],
            row["pipeline"],
            row["container_key"],
            row["input"],
            status,
            row["attempts"],
            row["not_before"],
        )


def open_histories(connection: sqlite3.Connection) -> list[HistoryRecord]:
    """Return every fetching that is not over, oldest first."""
    rows = connection.execute("SELECT * FROM history WHERE state <> ? ORDER BY id", (HistoryState.OVER,))
    return [HistoryRecord.from_row(row) for row in rows]


def begin_history(pipeline: str, container_key: str, input_name: str, status: HistoryStatus) -> Write[int]:
    """Enter that earlier images are fetched for an input; what was fetched for it before is over."""

    def write(connection: sqlite3.Connection) -> int:
        end_histories(pipeline, container_key, input_name)(connection)
        cursor = connection.execute(
            "INSERT INTO history (pipeline, container_key, input, peer, patient, asked_for, state, reason,"
            " attempts, not_before, changed) VALUES (?, ?, ?, ?, ?, '[]', ?, ?, 0, 0, ?)",
            (
                pipeline,
                container_key,
                input_name,
                status.peer,
                status.PatientID,
                status.state,
                status.reason,
                time.time(),
            ),
        )
        number = int(cursor.lastrowid or 0)
        note(connection, "history", number, "", status.state, status.reason)
        return number

    return write


def transition_history(
    number: int, status: HistoryStatus, *, attempts: int, not_before: float = 0.0
) -> Write[None]:
    """Enter how far a fetching is."""

    def write(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT state FROM history WHERE id = ?", (number,)).fetchone()
        if row is None:
            msg = f"the ledger has no history {number}"
            raise ValueError(msg)
        old = HistoryState(row[0])
        if old is not status.state:
            check_transition(old, status.state)
        connection.execute(
            "UPDATE history SET state = ?, reason = ?, asked_for = ?, attempts = ?, not_before = ?,"
            " changed = ? WHERE id = ?",
            (
                status.state,
                status.reason,
                json.dumps(sorted(status.asked_for)),
                attempts,
                not_before,
                time.time(),
                number,
            ),
        )
        if old is not status.state:
            note(connection, "history", number, old, status.state, status.reason)

    return write


def end_histories(pipeline: str, container_key: str, input_name: str | None = None) -> Write[None]:
    """Enter that a patient (or one input of his) went into a job, or was given up."""

    def write(connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT id, state FROM history WHERE pipeline = ? AND container_key = ? AND state <> ?"
            " AND coalesce(?, input) = input",
            (pipeline, container_key, HistoryState.OVER, input_name),
        ).fetchall()
        for number, state in rows:
            connection.execute(
                "UPDATE history SET state = ?, changed = ? WHERE id = ?",
                (HistoryState.OVER, time.time(), number),
            )
            note(connection, "history", number, state, HistoryState.OVER, "")

    return write
