"""Removing what is over: inputs and results that were kept for a while, and old records of the ledger."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable

from dicomnode.host.configuration.config import RetentionTable
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import Write, together
from dicomnode.host.ledger.states import OVER, InstanceState
from dicomnode.host.ledger.unprocessed_ledger import forget_unprocessed_before
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.quarantine import Quarantine

_LOG = logging.getLogger(__name__)
_EVERY = 600.0
_FIRST = 30.0


class Retention:
    """Removes what is over when its time has come, now and then.

    Parameters
    ----------
    settings : RetentionTable
    ledger : Ledger
    spool : Spool
    jobs : Jobs
    clock : TimerThread
        On whose thread it is done.
    """

    def __init__(
        self, settings: RetentionTable, ledger: Ledger, spool: Spool, jobs: Jobs, clock: TimerThread
    ) -> None:
        self._settings, self._ledger, self._spool = settings, ledger, spool
        self._jobs, self._clock = jobs, clock
        self._quarantine = Quarantine(ledger, spool)

    def start(self) -> None:
        """Look for the first time soon, then every ten minutes."""
        self._clock.at(_FIRST, self._look)

    def _look(self) -> None:
        try:
            self.sweep(time.time())
        finally:
            self._clock.at(_EVERY, self._look)

    def sweep(self, now: float) -> None:
        """Remove what has been over for longer than configured.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        """
        settings = self._settings
        if settings.inputs:
            self._remove_inputs(now - settings.inputs)
        if settings.results:
            for job in self._ledger.jobs(*OVER):
                if now - job.changed > settings.results:
                    self._jobs.remove_result(job)
        if settings.quarantine:
            removed = self._quarantine.remove_older(
                settings.quarantine, f"quarantined for {settings.quarantine:g} s", now
            )
            if removed:
                _LOG.info("%d files that are quarantined were removed: retention.quarantine", removed)
        kept = max(settings.records, settings.inputs, settings.results)
        lying = {self._spool.name_of(path) for path in self._spool.iterate_quarantine()}
        gone = self._ledger.quarantined().keys() - lying
        removed = self._ledger.write(
            together(
                forget_before(now - kept),
                forget_gone(gone, now - kept),
                forget_unprocessed_before(now - kept),
            )
        )
        if removed:
            _LOG.info("%d records of the ledger were older than configured", removed)

    def _remove_inputs(self, before: float) -> None:
        """Remove the inputs of jobs that ended before a moment; the ledger need not know these any more."""
        for note in self._spool.released.notes():
            if note.ended < before:
                for name in note.files:
                    self._spool.remove(self._spool.path_of(name))
                self._spool.released.forget(note.files)


_OLD_JOBS = "SELECT id FROM job WHERE state IN ('delivered', 'discarded') AND changed < :moment"


# ruff: noqa: S608 - the statements are put together from the constant above
_FORGET = (
    "DELETE FROM transition WHERE entity = 'delivery' AND CAST(entity_id AS INTEGER) IN"
    f" (SELECT id FROM delivery WHERE job IN ({_OLD_JOBS}))",
    f"DELETE FROM transition WHERE entity = 'job' AND CAST(entity_id AS INTEGER) IN ({_OLD_JOBS})",
    f"DELETE FROM delivery WHERE job IN ({_OLD_JOBS})",
    f"DELETE FROM instance WHERE job IN ({_OLD_JOBS})",
    f"DELETE FROM source WHERE job IN ({_OLD_JOBS})",
    f"DELETE FROM result WHERE job IN ({_OLD_JOBS})",
    f"DELETE FROM provenance WHERE job IN ({_OLD_JOBS})",
    "DELETE FROM environment WHERE NOT EXISTS"
    " (SELECT 1 FROM provenance WHERE provenance.environment = environment.sha256)",
    "DELETE FROM commitment WHERE asked < :moment",
    f"DELETE FROM job WHERE id IN ({_OLD_JOBS})",
    "DELETE FROM instance WHERE state = 'released' AND job IS NULL AND received < :moment",
    "DELETE FROM instance WHERE state IN ('expired', 'lost', 'removed') AND received < :moment",
    "DELETE FROM transition WHERE entity = 'instance' AND entity_id NOT IN (SELECT path FROM instance)",
    "DELETE FROM transition WHERE entity = 'history' AND CAST(entity_id AS INTEGER) IN"
    " (SELECT id FROM history WHERE state = 'over' AND changed < :moment)",
    "DELETE FROM history WHERE state = 'over' AND changed < :moment",
    "DELETE FROM association WHERE outcome != 'open' AND ended < :moment"
    " AND id NOT IN (SELECT association FROM instance)",
)


def forget_before(moment: float) -> Write[int]:
    """Remove the records of what was over before a moment (seconds since the epoch); gives their number."""

    def write(connection: sqlite3.Connection) -> int:
        return sum(connection.execute(statement, {"moment": moment}).rowcount for statement in _FORGET)

    return write


def forget_gone(paths: Iterable[str], moment: float) -> Write[None]:
    """Remove the records of what is quarantined, and whose files have gone since, from before a moment."""
    rows = [(path, InstanceState.QUARANTINED, moment) for path in paths]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("DELETE FROM instance WHERE path = ? AND state = ? AND received < ?", rows)

    return write
