"""The ledger: the embedded database of instances, jobs and deliveries.

One thread writes. Whatever is asked of it while a transaction is being committed goes into the next one
together, so that concurrent associations share the sync. A change of state, its reason and everything that
belongs to it are one transaction (:mod:`dicomnode.host.ledger.ledger_writes`). Readers have connections of
their own (write-ahead log).
"""

from __future__ import annotations

import itertools
import logging
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_schema import migrate
from dicomnode.host.ledger.ledger_writes import JoinableWrite, Write

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_GATHER = 0.02
_PAUSE = 0.5
_MOST_POSTED = 20_000
_MOST_AT_ONCE = 2_000
_WRITES_OWN_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)
"""What SQLite raises for one write alone. Anything else of it is the disk's fault, or the file's."""


@dataclass(slots=True)
class _Asked:
    """A write that was asked for, and who waits for it (nobody, where it was only posted)."""

    write: Write[Any]
    future: Future[Any] | None


class Ledger(LedgerReader):
    """The database file, opened for writing.

    Parameters
    ----------
    path : pathlib.Path
        The SQLite file; made where there is none.
    durable : bool
        Whether a commit survives a power cut (``synchronous=FULL``) or only a crash of the process.

    Raises
    ------
    DataDirectoryError
        When it cannot be opened, is damaged, or was written by a newer host.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        super().__init__(path)
        self._writes: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._urgent = threading.Event()
        self._stuck = False
        self._trouble = ""
        try:
            connection = self._open(durable)
        except sqlite3.DatabaseError as error:
            reason = " ".join(str(error).split())
            msg = (
                f"the ledger {path} cannot be used: {reason}. Move it away (with its -wal and -shm files) to"
                " have it rebuilt from the spool; what was already delivered may then be delivered once more,"
                " under the same UIDs."
            )
            raise DataDirectoryError(msg) from error
        self._writer = threading.Thread(target=self._run, args=(connection,), name="ledger", daemon=True)
        self._writer.start()

    def _open(self, durable: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA busy_timeout = 5000")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        migrate(connection, self._path)
        return connection

    @property
    def stuck(self) -> bool:
        """Whether what was posted could not be committed, and is tried again: a full disk, say."""
        return self._stuck

    def post(self, write: Write[Any]) -> None:
        """Ask for a write, in order with the others, and do not wait for it.

        It is tried again until it succeeds: for what the spool holds anyway, so that nothing is lost.
        Waits only when the ledger is far behind; whoever can refuse work should do so while it is
        :attr:`stuck`.
        """
        while self._writes.qsize() > _MOST_POSTED:
            time.sleep(_GATHER)
        self._writes.put(_Asked(write, None))

    def write(self, write: Write[T]) -> T:
        """Write, and return once it has been committed.

        Raises
        ------
        Exception
            Whatever the write raised, or the database: then nothing of it was written.
        """
        future: Future[T] = Future()
        self._writes.put(_Asked(write, future))
        self._urgent.set()
        return future.result()

    def flush(self) -> None:
        """Return once all that was posted before is committed."""
        self.write(lambda connection: None)  # noqa: ARG005 - a write that writes nothing

    def close(self) -> None:
        """Finish what was asked for and close.

        SQLite moves all that is in the write-ahead log into the file, and removes the log, when the last
        connection is closed and may write: the writer's, after this thread's reader and those of threads that
        have ended.
        """
        self.close_reader()
        self._writes.put(None)
        self._urgent.set()
        self._writer.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the writer's thread ------------------------------------------------------------------------------

    def _run(self, connection: sqlite3.Connection) -> None:
        left: list[_Asked] = []  # posted, and not committed yet
        going = True
        with closing(connection):
            while going:
                batch, going = self._batch(left)
                left = self._commit(connection, batch)
            if left and (left := self._commit(connection, left)):
                _LOG.error("%d writes could not be entered; the spool has what they say", len(left))

    def _commit(self, connection: sqlite3.Connection, batch: list[_Asked]) -> list[_Asked]:
        """Write a batch; return what was only posted, if it could not be committed. Tell of it once."""
        left: list[_Asked] = []
        try:
            outcomes = _write(connection, batch)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if str(error) != self._trouble:
                _LOG.error("the ledger cannot be written: %s. What can wait is tried again", error)
            self._trouble = str(error)
            outcomes = _Outcomes()
            for asked in batch:
                if asked.future is None:
                    left.append(asked)
                else:
                    outcomes.fail(asked, error)
        else:
            if self._trouble:
                _LOG.warning("the ledger can be written again")
            self._trouble = ""
        self._stuck = bool(left)  # before those who wait go on: they ask for it next
        outcomes.release()
        return left

    def _batch(self, left: list[_Asked]) -> tuple[list[_Asked], bool]:
        """Gather what is asked for; nobody waits for what was posted, so that gets a moment for company."""
        batch = list(left)
        if left:
            self._urgent.wait(_PAUSE)
        else:
            first = self._writes.get()
            if first is None:
                return batch, False
            batch.append(first)
            if first.future is None:
                self._urgent.wait(_GATHER)
        self._urgent.clear()
        while not self._writes.empty() and len(batch) < len(left) + _MOST_AT_ONCE:
            following = self._writes.get()
            if following is None:
                return batch, False
            batch.append(following)
        return batch, True


class _Outcomes:
    """What the writes of a batch gave, for those who wait, until the batch is committed or has failed."""

    def __init__(self) -> None:
        self._results: list[tuple[Future[Any], Any]] = []
        self._failures: list[tuple[Future[Any], Exception]] = []

    def add(self, asked: _Asked, result: Any) -> None:
        """Keep a result."""
        if asked.future is not None:
            self._results.append((asked.future, result))

    def fail(self, asked: _Asked, error: Exception) -> None:
        """Keep a failure; of a write that nobody waits for, log it."""
        if asked.future is not None:
            self._failures.append((asked.future, error))
        else:
            _LOG.error("a write to the ledger was dropped: %s", type(error).__name__)
            _LOG.debug("the write that was dropped", exc_info=error)

    def release(self) -> None:
        """Release those who wait."""
        for future, result in self._results:
            future.set_result(result)
        for future, error in self._failures:
            future.set_exception(error)


def _write(connection: sqlite3.Connection, batch: list[_Asked]) -> _Outcomes:
    """Write a batch in one transaction; return what those who wait for it are to be given."""
    outcomes = _Outcomes()
    connection.execute("BEGIN IMMEDIATE")
    for posted, group in itertools.groupby(batch, lambda asked: asked.future is None):
        together = list(group)
        if not (posted and _write_together(connection, together)):
            for asked in together:
                _write_one(connection, asked, outcomes)
    connection.execute("COMMIT")
    return outcomes


def _write_together(connection: sqlite3.Connection, posted: list[_Asked]) -> bool:
    """Write what was only posted within one savepoint; if any of it fails, nothing was written.

    The rows of a thousand images are the rule, a write that fails the exception.
    """
    connection.execute("SAVEPOINT together")
    try:
        writes = (asked.write for asked in posted)
        for kind, alike in itertools.groupby(writes, type):
            if issubclass(kind, JoinableWrite):
                kind.write_all(connection, [write for write in alike if isinstance(write, kind)])
            else:
                for write in alike:
                    write(connection)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, _WRITES_OWN_FAULT):
            raise
        connection.execute("ROLLBACK TO together")
        return False
    else:
        return True
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE together")


def _write_one(connection: sqlite3.Connection, asked: _Asked, outcomes: _Outcomes) -> None:
    """Write within a savepoint, so that a write that fails undoes itself alone."""
    connection.execute("SAVEPOINT one")
    try:
        outcomes.add(asked, asked.write(connection))
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, _WRITES_OWN_FAULT):
            raise  # the disk is full, say: it is not this write that is wrong
        connection.execute("ROLLBACK TO one")
        outcomes.fail(asked, error)
    connection.execute("RELEASE one")


__all__ = ["Ledger", "Write"]
