"""What is written into the ledger: each function returns a write, one transaction or a part of one."""

from __future__ import annotations

import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.states import (
    UNBUILT,
    UNSETTLED,
    DeliveryState,
    InstanceState,
    JobState,
    check_transition,
)

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]
"""A change of the ledger; called on the ledger's own thread."""

_MOST_ROWS = 64
_OVER = frozenset({DeliveryState.CONFIRMED, DeliveryState.DISCARDED})

DeliveryPlan = tuple[str, Mapping[str, Any]]
"""A destination's name and an :class:`~dicomnode.OutboxItem` as plain data."""


_ENTER_SOURCES = (
    "INSERT INTO source SELECT DISTINCT job, coalesce(json_extract(\"index\", '$.\"2097166\"'), ''),"
    " coalesce(json_extract(\"index\", '$.\"2097165\"'), '') FROM instance WHERE job = ?"
)
"""Series (0020,000E) and studies (0020,000D) of a job's inputs, by which it can be found."""


def together(first: Write[T], *others: Write[Any]) -> Write[T]:
    """Write several things in one transaction; what the first gives is given."""

    def write(connection: sqlite3.Connection) -> T:
        given = first(connection)
        for other in others:
            other(connection)
        return given

    return write


class JoinableWrite(ABC):
    """A write that costs less together with others of its kind than each by itself."""

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write this one alone."""
        self.write_all(connection, [self])

    @classmethod
    @abstractmethod
    def write_all(cls, connection: sqlite3.Connection, writes: Sequence[Self]) -> None:
        """Write several of one kind, in order."""


class AddInstance(JoinableWrite):
    """Enters a received instance; many of them at once go into one statement.

    SQLite lets go of the interpreter for each statement. While associations are busy it has to be waited for
    each time, so that a row by itself costs more in handing the interpreter over than in SQLite.
    """

    __slots__ = ("row",)

    def __init__(self, record: InstanceRecord) -> None:
        self.row = record.row()

    @classmethod
    def write_all(cls, connection: sqlite3.Connection, writes: Sequence[Self]) -> None:
        """Enter several instances, in order."""
        for at in range(0, len(writes), _MOST_ROWS):
            rows = [write.row for write in writes[at : at + _MOST_ROWS]]
            places = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
            values = [value for row in rows for value in row]
            connection.execute(f"INSERT OR IGNORE INTO instance VALUES {places}", values)  # noqa: S608 - only ?


def add_instance(record: InstanceRecord) -> Write[None]:
    """Enter a received instance."""
    return AddInstance(record)


def sort_instance(path: str, container_key: str, inputs: Iterable[str]) -> Write[None]:
    """Enter where an instance that was received before belongs."""
    names = json.dumps(tuple(inputs))

    def write(connection: sqlite3.Connection) -> None:
        transition_instances((path,), InstanceState.WAITING, "")(connection)
        connection.execute(
            "UPDATE instance SET container_key = ?, inputs = ? WHERE path = ?", (container_key, names, path)
        )

    return write


def reassign_container(path: str, container_key: str, inputs: Iterable[str]) -> Write[None]:
    """Enter that a waiting instance belongs to other inputs than before: its pipeline has been changed."""
    names = json.dumps(tuple(inputs))

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE instance SET container_key = ?, inputs = ? WHERE path = ?", (container_key, names, path)
        )

    return write


def note_checksums(checksums: Mapping[str, str]) -> Write[None]:
    """Enter the checksums of files (path -> SHA-256 in hexadecimal) that have none yet."""
    rows = [(sha256, path) for path, sha256 in checksums.items()]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("UPDATE instance SET sha256 = ? WHERE path = ? AND sha256 = ''", rows)

    return write


def replace_file(old: str, new: str, association: str, reason: str) -> Write[None]:
    """Enter that another file has come in the place of one that has gone or is damaged.

    The instance stays where it is: waiting, or in its job.
    """

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE instance SET path = ?, sha256 = '', association = ?, reason = ? WHERE path = ?",
            (new, association, reason, old),
        )

    return write


def come_again(path: str, association: str) -> Write[None]:
    """Enter that another association brought an instance once more: its end counts from now on."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE instance SET association = ? WHERE path = ?", (association, path))

    return write


def begin_association(id_: str, calling: str, called: str, address: str, started: float) -> Write[None]:
    """Enter an association that has brought its first instance."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO association VALUES (?, ?, ?, ?, ?, 'open', NULL)",
            (id_, calling, called, address, started),
        )

    return write


def cut_off_associations() -> Write[None]:
    """Enter that associations which were open when the host was killed are over."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE association SET outcome = 'cut off', ended = ? WHERE outcome = 'open'", (time.time(),)
        )

    return write


def end_association(id_: str, outcome: str) -> Write[None]:
    """Enter how an association ended: as :class:`~dicomnode.host.dimse.store_handler.AssociationEnd` says."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE association SET outcome = ?, ended = ? WHERE id = ?", (outcome, time.time(), id_)
        )

    return write


def transition_instances(
    paths: Iterable[str],
    new: InstanceState,
    reason: str,
    *,
    job: int | None = None,
    moved_to: str | None = None,
) -> Write[None]:
    """Change the state of instances.

    Parameters
    ----------
    paths : iterable of str
        Which, by their files.
    new : InstanceState
        Where they are now.
    reason : str
        Why.
    job : int, optional
        Whose inputs they become.
    moved_to : str, optional
        The new path of the one instance whose file was moved.
    """
    paths = tuple(paths)

    def write(connection: sqlite3.Connection) -> None:
        for path in paths:
            row = connection.execute("SELECT state FROM instance WHERE path = ?", (path,)).fetchone()
            if row is None:
                msg = f"the ledger has no instance {path}"
                raise ValueError(msg)
            check_transition(InstanceState(row[0]), new)
            connection.execute(
                "UPDATE instance SET state = ?, reason = ?, job = coalesce(?, job), path = coalesce(?, path)"
                " WHERE path = ?",
                (new, reason, job, moved_to, path),
            )

    return write


def remove_quarantined(paths: Iterable[str], reason: str) -> Write[None]:
    """Enter that files which are quarantined are removed, as far as the ledger knows them."""
    paths = tuple(paths)

    def write(connection: sqlite3.Connection) -> None:
        for path in paths:
            row = connection.execute("SELECT state FROM instance WHERE path = ?", (path,)).fetchone()
            if row is not None and row[0] == InstanceState.QUARANTINED:
                transition_instances((path,), InstanceState.REMOVED, reason)(connection)
                note(connection, "instance", path, row[0], InstanceState.REMOVED, reason)

    return write


def drop_instance(path: str) -> Write[None]:
    """Take a received instance out that nobody wants: as if it had not been sent."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM instance WHERE path = ? AND state = ?", (path, InstanceState.RECEIVED)
        )

    return write


def create_job(
    identity: str,
    pipeline: str,
    container_key: str,
    paths: Iterable[str],
    reason: str = "the inputs are complete",
    *,
    summary: str | None = None,
) -> Write[JobRecord]:
    """Enter a job and take its instances out of the tree, in one transaction.

    A job that was given up before, and whose instances these are, says from then on which one took its place.
    `summary` is the reason in words that name no patient, where the reason itself may name one.
    """
    paths = tuple(paths)

    def write(connection: sqlite3.Connection) -> JobRecord:
        now = time.time()
        cursor = connection.execute(
            "INSERT INTO job (identity, pipeline, container_key, state, reason, summary, attempts,"
            " not_before, created, changed) VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?)",
            (
                *(identity, pipeline, container_key, JobState.QUEUED),
                *(reason, reason if summary is None else summary, now, now),
            ),
        )
        number = cursor.lastrowid
        if number is None:  # an INSERT has one; mypy cannot know
            raise sqlite3.DatabaseError("no number for the new job")
        _supersede(connection, paths, number)
        transition_instances(paths, InstanceState.IN_JOB, reason, job=number)(connection)
        connection.execute(_ENTER_SOURCES, (number,))
        note(connection, "job", number, "", JobState.QUEUED, reason)
        return read_job(connection, number)

    return write


def _supersede(connection: sqlite3.Connection, paths: Sequence[str], number: int) -> None:
    """Enter in the discarded jobs whose instances these were that a new job has them now."""
    reopened = connection.execute(
        "SELECT DISTINCT job.id FROM instance JOIN job ON job.id = instance.job"
        " WHERE job.state = ? AND instance.path IN (SELECT value FROM json_each(?))",
        (JobState.DISCARDED, json.dumps(paths)),
    ).fetchall()
    reason = f"superseded by job {number}"
    for (old,) in reopened:
        connection.execute("UPDATE job SET reason = ? WHERE id = ?", (reason, old))
        note(connection, "job", old, JobState.DISCARDED, JobState.DISCARDED, reason)


def transition_job(
    number: int,
    new: JobState,
    reason: str,
    *,
    not_before: float | None = None,
    attempts: int | None = None,
    log: str | None = None,
    summary: str | None = None,
    only_from: JobState | None = None,
) -> Write[JobRecord]:
    """Change the state of a job; where it is said from which one, from no other.

    `summary` is the reason in words that name no patient, where the reason itself may name one.
    """

    def write(connection: sqlite3.Connection) -> JobRecord:
        old = read_job(connection, number)
        if only_from not in {None, old.state}:
            msg = f"job {number} is {old.state.value}, not {only_from}"
            raise ValueError(msg)
        check_transition(old.state, new)
        connection.execute(
            "UPDATE job SET state = ?, reason = ?, summary = ?, changed = ?,"
            " not_before = coalesce(?, not_before), attempts = coalesce(?, attempts),"
            " log = coalesce(?, log) WHERE id = ?",
            (
                *(new, reason, reason if summary is None else summary, time.time()),
                *(not_before, attempts, log, number),
            ),
        )
        note(connection, "job", number, old.state, new, reason)
        return read_job(connection, number)

    return write


def job_built(number: int, folder: str, deliveries: Iterable[DeliveryPlan]) -> Write[JobRecord]:
    """Enter that a job's result is in the outbox, and what must be delivered where."""
    rows = [(number, name, json.dumps(item), DeliveryState.PENDING) for name, item in deliveries]

    def write(connection: sqlite3.Connection) -> JobRecord:
        connection.execute("DELETE FROM delivery WHERE job = ?", (number,))
        connection.executemany(
            "INSERT INTO delivery (job, destination, item, state, reason, attempts, not_before, changed)"
            " VALUES (?, ?, ?, ?, '', 0, 0, 0)",
            rows,
        )
        connection.execute("UPDATE job SET folder = ? WHERE id = ?", (folder, number))
        return transition_job(number, JobState.BUILT, f"{len(rows)} to deliver")(connection)

    return write


def transition_delivery(
    number: int,
    new: DeliveryState,
    reason: str,
    status: int | None = None,
    *,
    not_before: float = 0.0,
) -> Write[None]:
    """Enter the outcome of an attempt. ``PENDING`` is an attempt that is made again at ``not_before``.

    What is over stays so: while this was being sent, the operator may have given the job up, or the peer may
    have committed to what it stored before.
    """

    def write(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT state FROM delivery WHERE id = ?", (number,)).fetchone()
        if row is None:
            msg = f"the ledger has no delivery {number}"
            raise ValueError(msg)
        (old,) = row
        if old in _OVER:
            return
        if old != new:
            check_transition(DeliveryState(old), new)
        connection.execute(
            "UPDATE delivery SET state = ?, reason = ?, status = ?, attempts = attempts + 1, not_before = ?,"
            " changed = ? WHERE id = ?",
            (new, reason, status, not_before, time.time(), number),
        )
        if old != new:
            note(connection, "delivery", number, old, new, reason)

    return write


def remember_commitment(TransactionUID: str, destination: str, paths: Iterable[str]) -> Write[None]:  # noqa: N803 - DICOM's own spelling
    """Enter that a destination is asked to commit to what it stored (PS3.4 annex J).

    Parameters
    ----------
    TransactionUID : str
        Of the request (0008,1195), by which its report is known.
    destination : str
        Who is asked.
    paths : iterable of str
        What it stored, by its files in the outbox: the same instance may be in another job, too.
    """
    names = json.dumps(tuple(paths))

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO commitment (TransactionUID, destination, delivery, asked)"
            " SELECT ?, destination, id, ? FROM delivery WHERE destination = ? AND state IN (?, ?)"
            " AND json_extract(item, '$.path') IN (SELECT value FROM json_each(?))",
            (TransactionUID, time.time(), destination, *UNSETTLED, names),
        )

    return write


def note_deliveries(destination: str, reason: str) -> Write[None]:
    """Note with everything that is pending for a destination why it waits."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE delivery SET reason = ? WHERE destination = ? AND state = ? AND reason <> ?",
            (reason, destination, DeliveryState.PENDING, reason),
        )

    return write


def make_deliveries_due(*, job: int | None = None, destination: str | None = None) -> Write[list[str]]:
    """Let what is pending (of a job, for a destination) be tried at once; gives the destinations' names."""
    conditions = "state = ? AND ? IN (job, 0) AND ? IN (destination, '')"
    values = (DeliveryState.PENDING, job or 0, destination or "")

    def write(connection: sqlite3.Connection) -> list[str]:
        names = connection.execute(
            f"SELECT DISTINCT destination FROM delivery WHERE {conditions}",  # noqa: S608 - a constant
            values,
        ).fetchall()
        connection.execute(f"UPDATE delivery SET not_before = 0 WHERE {conditions}", values)  # noqa: S608 - a constant
        return [name for (name,) in names]

    return write


def retry_deliveries(job: int, reason: str) -> Write[JobRecord]:
    """Make the dead letters of an undeliverable job pending again."""

    def write(connection: sqlite3.Connection) -> JobRecord:
        dead = connection.execute(
            "SELECT id FROM delivery WHERE job = ? AND state = ?", (job, DeliveryState.DEAD)
        ).fetchall()
        for (number,) in dead:
            transition_delivery(number, DeliveryState.PENDING, reason)(connection)
        return transition_job(job, JobState.BUILT, reason)(connection)

    return write


def requeue_job(number: int, reason: str) -> Write[JobRecord]:
    """Have a job run again from its beginning, with inputs that were released taken back.

    The result that it has, if any, is its own no more: the folder may be removed.
    """

    def write(connection: sqlite3.Connection) -> JobRecord:
        held = connection.execute(
            "SELECT path FROM instance WHERE job = ? AND state = ?", (number, InstanceState.RELEASED)
        )
        transition_instances([path for (path,) in held], InstanceState.IN_JOB, reason)(connection)
        connection.execute("UPDATE job SET folder = '' WHERE id = ?", (number,))
        return transition_job(number, JobState.QUEUED, reason, not_before=0.0, attempts=0)(connection)

    return write


def run_job_again(
    number: int, paths: Mapping[str, str], reason: str
) -> Write[tuple[JobRecord, tuple[str, ...]]]:
    """Have a job run again with other files of the same instances, in one transaction.

    Parameters
    ----------
    number : int
    paths : mapping of str to str
        SOP Instance UID -> the file that waits. Those that are not the job's are left out of it.
    reason : str

    Returns
    -------
    Write
        Gives the job, and the files whose places were taken.
    """

    def write(connection: sqlite3.Connection) -> tuple[JobRecord, tuple[str, ...]]:
        held = connection.execute(
            "SELECT SOPInstanceUID, path FROM instance WHERE job = ? AND path <> ?", (number, "")
        ).fetchall()
        own = {uid for uid, _ in held}
        # The file of an image that waits again is its own, and stays.
        replaced = tuple(path for uid, path in held if paths.get(uid, path) != path)
        connection.executemany(
            "UPDATE instance SET job = NULL, reason = ? WHERE path = ?", [(reason, path) for path in replaced]
        )
        taken = [path for uid, path in paths.items() if uid in own]
        transition_instances(taken, InstanceState.IN_JOB, reason, job=number)(connection)
        left_out = [path for uid, path in paths.items() if uid not in own]
        transition_instances(left_out, InstanceState.EXPIRED, reason)(connection)
        connection.execute("UPDATE job SET folder = '' WHERE id = ?", (number,))
        record = transition_job(number, JobState.QUEUED, reason, not_before=0.0, attempts=0)(connection)
        return record, (*replaced, *left_out)

    return write


def reopen_job(number: int, reason: str) -> Write[tuple[JobRecord, tuple[InstanceRecord, ...]]]:
    """Give a job up that delivers no result, and let its inputs wait again, in one transaction.

    Returns
    -------
    Write
        Gives the job and its inputs. It raises ValueError when the job has a result that may be delivered.
    """

    def write(connection: sqlite3.Connection) -> tuple[JobRecord, tuple[InstanceRecord, ...]]:
        old = read_job(connection, number)
        # One that is built can be given up by the operator alone.
        if old.state not in {*UNBUILT, JobState.UNDELIVERABLE}:
            msg = f"job {number} is {old.state.value}"
            raise ValueError(msg)
        cursor = connection.execute(
            "SELECT * FROM instance WHERE job = ? AND state = ?", (number, InstanceState.IN_JOB)
        )
        names = [column[0] for column in cursor.description]
        rows = tuple(InstanceRecord.from_row(dict(zip(names, row, strict=True))) for row in cursor)
        _discard_deliveries(connection, number, reason)
        record = transition_job(number, JobState.DISCARDED, reason)(connection)
        transition_instances([row.path for row in rows], InstanceState.WAITING, reason)(connection)
        return record, rows

    return write


def end_job(
    number: int, new: JobState, reason: str, summary: str | None = None
) -> Write[tuple[JobRecord, tuple[str, ...]]]:
    """End a job (delivered or discarded) and release its inputs, in one transaction.

    Returns
    -------
    Write
        Gives the job and the files of its inputs.
    """

    def write(connection: sqlite3.Connection) -> tuple[JobRecord, tuple[str, ...]]:
        held = connection.execute(
            "SELECT path FROM instance WHERE job = ? AND state = ?", (number, InstanceState.IN_JOB)
        )
        paths = tuple(path for (path,) in held)
        transition_instances(paths, InstanceState.RELEASED, reason)(connection)
        if new is JobState.DISCARDED:
            _discard_deliveries(connection, number, reason)
        return transition_job(number, new, reason, summary=summary)(connection), paths

    return write


def _discard_deliveries(connection: sqlite3.Connection, number: int, reason: str) -> None:
    connection.execute(
        "UPDATE delivery SET state = ?, reason = ? WHERE job = ? AND state <> ?",
        (DeliveryState.DISCARDED, reason, number, DeliveryState.CONFIRMED),
    )


def note(  # noqa: PLR0917 - as the columns
    connection: sqlite3.Connection, entity: str, entity_id: object, old: str, new: str, reason: str
) -> None:
    """Keep a change of state with its reason and time."""
    connection.execute(
        "INSERT INTO transition (entity, entity_id, old, new, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        (entity, str(entity_id), old, new, reason, time.time()),
    )


def read_job(connection: sqlite3.Connection, number: int) -> JobRecord:
    """Read a job within a write.

    Raises
    ------
    ValueError
        When there is no such job.
    """
    cursor = connection.execute("SELECT * FROM job WHERE id = ?", (number,))
    row = cursor.fetchone()
    if row is None:
        msg = f"the ledger has no job {number}"
        raise ValueError(msg)
    return JobRecord.from_row(dict(zip((column[0] for column in cursor.description), row, strict=True)))
