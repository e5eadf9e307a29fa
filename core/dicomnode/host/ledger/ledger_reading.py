"""Reading the ledger: while the host runs, and while it is down."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger.ledger_records import (
    AskedDelivery,
    AssociationRecord,
    DeliveryRecord,
    InstanceRecord,
    JobRecord,
    UnsettledDelivery,
    WaitingPatient,
)
from dicomnode.host.ledger.states import UNSETTLED, DeliveryState, InstanceState, JobState


class _Held:
    """A thread's connection, closed at the latest when the thread has ended and lets go of it.

    SQLite's own object does not see to that: it is part of a cycle (with its cache of statements), so that it
    stays open until garbage is collected, and for ever if the collector was told to pass it over
    (:func:`gc.freeze`).
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class LedgerReader:
    """A ledger's file, read-only. Each thread has a connection of its own, which is closed when it ends.

    Parameters
    ----------
    path : pathlib.Path
        The SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def _reader(self) -> sqlite3.Connection:
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            try:
                uri = f"{self._path.absolute().as_uri()}?mode=ro"
                # Whoever lets go of it last closes it, on whatever thread.
                connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            except sqlite3.OperationalError as error:
                msg = f"the ledger {self._path} cannot be read: {error}"
                raise DataDirectoryError(msg) from error
            connection.row_factory = sqlite3.Row
            held = self._local.held = _Held(connection)
        return held.connection

    def close_reader(self) -> None:
        """Close this thread's connection."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is not None:
            held.connection.close()
            del self._local.held

    def schema_version(self) -> int:
        """Return the version of the ledger's schema.

        Raises
        ------
        DataDirectoryError
            When the file cannot be read, or is no ledger.
        """
        try:
            (version,) = self._reader().execute("PRAGMA user_version").fetchone()
            self._reader().execute("SELECT 1 FROM job LIMIT 1").fetchone()
        except sqlite3.DatabaseError as error:
            msg = (
                f"the ledger {self._path} cannot be read: {error}. Stop the host if it runs, move the file"
                " away (with its -wal and -shm) and start the host: it is rebuilt from the spool"
            )
            raise DataDirectoryError(msg) from error
        return int(version)

    def instances(self, *states: InstanceState, job: int | None = None) -> Iterator[InstanceRecord]:
        """Yield the instances in any of some states, or of a job, in order of arrival."""
        if job is not None:
            rows = self._reader().execute(
                "SELECT * FROM instance WHERE job = ? ORDER BY received, path", (job,)
            )
        else:
            rows = self._reader().execute(
                f"SELECT * FROM instance WHERE state IN ({_marks(states)})"  # noqa: S608 - question marks
                " ORDER BY received, path",
                states,
            )
        for row in rows:
            yield InstanceRecord.from_row(row)

    def inputs_of_jobs(self) -> dict[int, set[str]]:
        """Return job -> the names of the inputs that hold its instances, of jobs that are not over."""
        rows = self._reader().execute(
            "SELECT DISTINCT job, inputs FROM instance WHERE state = ? AND job IS NOT NULL",
            (InstanceState.IN_JOB,),
        )
        found: dict[int, set[str]] = {}
        for row in rows:
            found.setdefault(row["job"], set()).update(json.loads(row["inputs"]))
        return found

    def checksum(self, path: str) -> str:
        """Return the checksum of an instance's file; empty where there is none."""
        row = self._reader().execute("SELECT sha256 FROM instance WHERE path = ?", (path,)).fetchone()
        return "" if row is None else str(row["sha256"])

    def without_checksum(self, after: str, limit: int) -> list[tuple[str, float]]:
        """Return path and time of what is needed and has no checksum yet, by path, from after one on."""
        states = (InstanceState.RECEIVED, InstanceState.WAITING, InstanceState.IN_JOB)
        rows = self._reader().execute(
            "SELECT path, received FROM instance WHERE path > ? AND sha256 = ''"  # noqa: S608 - question marks
            f" AND state IN ({_marks(states)}) ORDER BY path LIMIT ?",
            (after, *states, limit),
        )
        return [(row["path"], row["received"]) for row in rows]

    def instance_states(self) -> dict[str, InstanceState]:
        """Return path -> state of every instance."""
        rows = self._reader().execute("SELECT path, state FROM instance")
        return {path: InstanceState(state) for path, state in rows}

    def quarantined(self) -> dict[str, tuple[str, str, str]]:
        """Return path -> pipeline, SOP Instance UID and reason of what is quarantined."""
        rows = self._reader().execute(
            "SELECT path, pipeline, SOPInstanceUID, reason FROM instance WHERE state = ?",
            (InstanceState.QUARANTINED,),
        )
        return {path: (pipeline, uid, reason) for path, pipeline, uid, reason in rows}

    def instance_counts(self) -> dict[tuple[str, InstanceState], int]:
        """Return (pipeline, state) -> number of instances."""
        rows = self._reader().execute(
            "SELECT pipeline, state, count(*) FROM instance GROUP BY pipeline, state"
        )
        return {(pipeline, InstanceState(state)): count for pipeline, state, count in rows}

    def input_count(self, job: int) -> int:
        """Return how many instances a job has as its inputs."""
        (count,) = self._reader().execute("SELECT count(*) FROM instance WHERE job = ?", (job,)).fetchone()
        return int(count)

    def waiting(self) -> list[WaitingPatient]:
        """Return the patients whose images wait, those first that have waited longest."""
        rows = self._reader().execute(
            "SELECT pipeline, container_key, inputs, count(*), min(received), max(received) FROM instance"
            " WHERE state = ? GROUP BY pipeline, container_key, inputs",
            (InstanceState.WAITING,),
        )
        found: dict[tuple[str, str], WaitingPatient] = {}
        for pipeline, container_key, names, count, first, last in rows:
            patient = found.setdefault(
                (pipeline, container_key), WaitingPatient(pipeline, container_key, 0, Counter(), first, last)
            )
            inputs = patient.inputs + Counter(dict.fromkeys(json.loads(names), count))
            found[pipeline, container_key] = WaitingPatient(
                pipeline,
                container_key,
                patient.images + count,
                inputs,
                min(first, patient.first),
                max(last, patient.last),
            )
        return sorted(found.values(), key=lambda patient: patient.first)

    def open_deliveries(self) -> dict[str, tuple[dict[str, int], str, float]]:
        """Return destination -> what is not confirmed: state -> number, reason, time of the next attempt.

        Dead letters are counted, too. Reason and time are those of the delivery that is tried first.
        """
        states = (*UNSETTLED, DeliveryState.DEAD)
        found: dict[str, tuple[dict[str, int], str, float]] = {}
        for name, state, count, reason, not_before in self._reader().execute(
            f"SELECT destination, state, count(*), reason, min(not_before) FROM delivery"  # noqa: S608 - marks
            f" WHERE state IN ({_marks(states)}) GROUP BY destination, state ORDER BY state = 'pending'",
            states,
        ):
            counts, _, _ = found.get(name, ({}, "", 0.0))
            found[name] = ({**counts, state: count}, reason, not_before)
        return found

    def jobs(self, *states: JobState) -> list[JobRecord]:
        """Return the jobs in any of some states (of all, where none is named), oldest first."""
        where = f"WHERE state IN ({_marks(states)})" if states else ""
        rows = self._reader().execute(f"SELECT * FROM job {where} ORDER BY id", states)  # noqa: S608 - question marks
        return [JobRecord.from_row(row) for row in rows]

    def jobs_of_container(
        self, pipeline: str, container_key: str, fetching: Collection[str] = ()
    ) -> list[tuple[JobRecord, tuple[str, ...], tuple[str, ...]]]:
        """Return the jobs of a container, the newest first, with their inputs' UIDs and series.

        What waits again, since its job was given up for it, is no input of that job. Series of images in the
        inputs `fetching` are left out.
        """
        rows = self._reader().execute(
            "SELECT * FROM job WHERE pipeline = ? AND container_key = ? ORDER BY id DESC",
            (pipeline, container_key),
        )
        found = []
        for row in rows.fetchall():
            inputs = self._reader().execute(
                'SELECT SOPInstanceUID, json_extract("index", \'$."2097166"\'), inputs FROM instance'
                " WHERE job = ? AND state <> ?",
                (row["id"], InstanceState.WAITING),
            )
            pairs = inputs.fetchall()
            sent = (each[1] for each in pairs if not _within(each[2], fetching))
            series = tuple(dict.fromkeys(map(str, sent)))
            found.append((JobRecord.from_row(row), tuple(each[0] for each in pairs), series))
        return found

    def dead_job_of(self, pipeline: str, SOPInstanceUID: str) -> int | None:  # noqa: N803 - DICOM's own spelling
        """Return the newest dead letter that has an instance as input, ``None`` where none has."""
        row = self._reader().execute(
            "SELECT job.id FROM instance JOIN job ON job.id = instance.job WHERE instance.SOPInstanceUID = ?"
            " AND job.pipeline = ? AND job.state IN (?, ?) ORDER BY job.id DESC LIMIT 1",
            (SOPInstanceUID, pipeline, JobState.FAILED, JobState.UNDELIVERABLE),
        )
        found = row.fetchone()
        return None if found is None else int(found[0])

    def queued_jobs(self, pipeline: str, most: int) -> list[JobRecord]:
        """Return a pipeline's oldest queued jobs, and all that have a time before which they may not run.

        Parameters
        ----------
        pipeline : str
            The configured pipeline.
        most : int
            How many of those that may run at once: thousands can wait behind them.
        """
        of_it = "SELECT * FROM job WHERE state = ? AND pipeline = ? AND not_before"
        values = (JobState.QUEUED, pipeline)
        rows = self._reader().execute(f"{of_it} = 0 ORDER BY id LIMIT ?", (*values, most)).fetchall()
        rows += self._reader().execute(f"{of_it} != 0", values).fetchall()
        return [JobRecord.from_row(row) for row in rows]

    def job_counts(self) -> dict[tuple[str, JobState], int]:
        """Return (pipeline, state) -> number of jobs."""
        rows = self._reader().execute("SELECT pipeline, state, count(*) FROM job GROUP BY pipeline, state")
        return {(pipeline, JobState(state)): count for pipeline, state, count in rows}

    def job(self, number: int) -> JobRecord | None:
        """Return a job by its number."""
        row = self._reader().execute("SELECT * FROM job WHERE id = ?", (number,)).fetchone()
        return None if row is None else JobRecord.from_row(row)

    def associations_of(self, job: int) -> list[str]:
        """Return the ids of the associations that brought a job's inputs, the first one first."""
        query = "SELECT association FROM instance WHERE job = ? GROUP BY association ORDER BY min(received)"
        return [name for (name,) in self._reader().execute(query, (job,)) if name]

    def warnings(self, job: int) -> list[str]:
        """Return what the check of a job's output found that did not keep it from being sent."""
        row = self._reader().execute("SELECT record FROM provenance WHERE job = ?", (job,)).fetchone()
        return [] if row is None else list(json.loads(row["record"]).get("warnings") or ())

    def deliveries(
        self, *states: DeliveryState, job: int | None = None, destination: str | None = None
    ) -> list[DeliveryRecord]:
        """Return deliveries in any of some states (all, where none is named), of a job or destination."""
        conditions: list[str] = []
        values: list[object] = []
        if states:
            conditions.append(f"state IN ({_marks(states)})")
            values.extend(states)
        for name, value in (("job", job), ("destination", destination)):
            if value is not None:
                conditions.append(f"{name} = ?")
                values.append(value)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT * FROM delivery {where} ORDER BY job, id"  # noqa: S608 - question marks
        rows = self._reader().execute(query, values)
        return [DeliveryRecord.from_row(row) for row in rows]

    def unsettled_deliveries(self, destination: str) -> list[UnsettledDelivery]:
        """Return what is to be done for a destination: deliveries of built jobs that are not over."""
        query = (
            "SELECT delivery.id, job, delivery.attempts, delivery.not_before FROM delivery JOIN job"  # noqa: S608 - marks
            f" ON job.id = job WHERE delivery.state IN ({_marks(UNSETTLED)}) AND destination = ?"
            " AND job.state = ?"
        )
        rows = self._reader().execute(query, (*UNSETTLED, destination, JobState.BUILT))
        return [UnsettledDelivery(*row) for row in rows]

    def deliveries_by_id(self, ids: Sequence[int]) -> list[DeliveryRecord]:
        """Return deliveries by their numbers, in no order."""
        query = f"SELECT * FROM delivery WHERE id IN ({_marks(tuple(ids))})"  # noqa: S608 - question marks
        return [DeliveryRecord.from_row(row) for row in self._reader().execute(query, ids)]

    def asked_to_commit(self, TransactionUID: str) -> str | None:  # noqa: N803 - DICOM's own spelling
        """Return the destination that was asked for commitment under a Transaction UID, if any was."""
        query = "SELECT destination FROM commitment WHERE TransactionUID = ?"
        row = self._reader().execute(query, (TransactionUID,)).fetchone()
        return None if row is None else str(row["destination"])

    def commitments(self, TransactionUID: str) -> list[AskedDelivery]:  # noqa: N803 - DICOM's own spelling
        """Return the deliveries that a request for commitment was about, as far as they are not over."""
        query = (
            "SELECT delivery.*, NOT EXISTS (SELECT 1 FROM commitment AS later WHERE"  # noqa: S608 - marks
            " later.delivery = delivery.id AND later.id > commitment.id) AS last FROM commitment"
            " JOIN delivery ON delivery.id = commitment.delivery"
            f" WHERE TransactionUID = ? AND state IN ({_marks(UNSETTLED)}) ORDER BY delivery.id"
        )
        rows = map(dict, self._reader().execute(query, (TransactionUID, *UNSETTLED)))
        return [AskedDelivery(bool(row.pop("last")), DeliveryRecord.from_row(row)) for row in rows]

    def settled_jobs(self) -> list[int]:
        """Return the built jobs of which no delivery is left to be done."""
        query = (
            "SELECT id FROM job WHERE state = ? AND NOT EXISTS (SELECT 1 FROM delivery WHERE job = job.id"  # noqa: S608 - question marks
            f" AND delivery.state IN ({_marks(UNSETTLED)})) ORDER BY id"
        )
        rows = self._reader().execute(query, (JobState.BUILT, *UNSETTLED))
        return [number for (number,) in rows]

    def unsettled_counts(self) -> dict[str, int]:
        """Return destination -> number of deliveries that are not over."""
        rows = self._reader().execute(
            f"SELECT destination, count(*) FROM delivery WHERE state IN ({_marks(UNSETTLED)})"  # noqa: S608 - marks
            " GROUP BY destination",
            UNSETTLED,
        )
        return dict(rows.fetchall())

    def associations(self) -> dict[str, AssociationRecord]:
        """Return id -> every association that brought something."""
        rows = self._reader().execute("SELECT id, started, outcome, ended, calling FROM association")
        return {
            id_: AssociationRecord(started, outcome, math.inf if ended is None else ended, calling)
            for id_, started, outcome, ended, calling in rows
        }

    def transitions(self, entity: str, entity_id: object) -> list[tuple[str, str, str, float]]:
        """Return (old, new, reason, time) of every change of state of one entity."""
        rows = self._reader().execute(
            "SELECT old, new, reason, at FROM transition WHERE entity = ? AND entity_id = ? ORDER BY id",
            (entity, str(entity_id)),
        )
        return [(row["old"], row["new"], row["reason"], row["at"]) for row in rows]

    def start_reason(self, number: int) -> str:
        """Return why a job was made, or run again: what proved its inputs whole, or the operator's reason."""
        starts = (
            reason
            for old, new, reason, _ in reversed(self.transitions("job", number))
            if new == JobState.QUEUED and old != JobState.RUNNING  # that is another attempt
        )
        return next(starts, "")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give a read-only connection, all of whose queries see the same state."""
        connection = self._reader()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")


def _marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" for _ in values)


def _within(inputs: str, names: Collection[str]) -> bool:
    """Say whether an instance is held by some inputs, and by no others."""
    held = json.loads(inputs)
    return bool(held) and all(name in names for name in held)
