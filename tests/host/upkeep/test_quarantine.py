"""What is quarantined: its rows stay while its files do; it is removed in time, or on demand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.errors import JobStateError
from dicomnode.host.configuration.config import RetentionTable
from dicomnode.host.foundation.events import Events
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.quarantine import Quarantine, quarantined_files
from dicomnode.host.upkeep.retention import Retention

QUARANTINED, REMOVED = InstanceState.QUARANTINED, InstanceState.REMOVED
DAY = 86400.0


class Bench:
    """A spool and a ledger."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "spool", "process")
        self.ledger = Ledger(root / "ledger.sqlite", durable=False)
        self.root = root

    def quarantine(self, name: str, days_ago: float = 0.0) -> str:
        """Quarantine a file, some time ago; return its name."""
        moment = time.time() - days_ago * DAY
        kept = self.spool.root / "kept" / f"{name}.dcm"
        kept.write_bytes(b"an image")
        path = self.spool.quarantine(kept, "no input wants it")
        for each in (path, path.with_name(f"{path.name}.reason")):
            os.utime(each, (moment, moment))
        record = InstanceRecord(
            path=self.spool.name_of(path), pipeline="three", container_key="", inputs=(),
            SOPInstanceUID="1.2.3", index={}, received=moment, association="", state=QUARANTINED,
            reason="no input wants it",
        )  # fmt: skip
        self.ledger.write(add_instance(record))
        return path.name

    def sweep(self, **settings: float) -> None:
        """Let retention look."""
        jobs = Jobs(
            ledger=self.ledger, spool=self.spool, outbox=self.root, trees={}, events=Events(),
            job_events=JobEvents(),
        )  # fmt: skip
        table = RetentionTable(**settings)  # type: ignore[arg-type]  # settings by name
        Retention(table, self.ledger, self.spool, jobs, TimerThread("never")).sweep(time.time())

    def names(self) -> list[str]:
        """Return what is quarantined."""
        return [path.name for path in self.spool.iterate_quarantine()]

    def states(self) -> list[InstanceState]:
        """Return the states of all rows, by path."""
        rows = self.ledger.instances(*InstanceState)
        return [row.state for row in sorted(rows, key=lambda row: row.path)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def test_the_row_stays_as_long_as_the_file(bench: Bench) -> None:
    """However old, what is quarantined is counted; what somebody removed by hand is forgotten in time."""
    bench.quarantine("a", 400)
    gone = bench.quarantine("b", 400)
    bench.sweep()
    assert bench.states() == [QUARANTINED, QUARANTINED]
    (bench.spool.root / "quarantine" / gone).unlink()
    bench.sweep()
    assert bench.states() == [QUARANTINED]


def test_what_was_aside_for_longer_than_configured_is_removed(bench: Bench) -> None:
    """Files and reasons go; the ledger says that they were removed, and why."""
    bench.quarantine("a", 31)
    new = bench.quarantine("b", 29)
    bench.sweep(quarantine=30 * DAY)
    assert bench.names() == [new]
    assert len(list((bench.spool.root / "quarantine").iterdir())) == 2
    assert bench.states() == [REMOVED, QUARANTINED]
    (change,) = bench.ledger.transitions("instance", "quarantine/a.dcm")
    assert change[:3] == ("quarantined", "removed", "quarantined for 2.592e+06 s")


def test_by_name_or_none(bench: Bench) -> None:
    """A name that is not quarantined is told, and nothing is removed then; a path is no name."""
    name = bench.quarantine("a")
    quarantine = Quarantine(bench.ledger, bench.spool)
    for stranger in ("other.dcm", "../ledger.sqlite", f"{name}.reason"):
        with pytest.raises(JobStateError, match="dicomnode-host quarantine"):
            quarantine.remove([name, stranger], "tidy")
    assert bench.names() == [name]
    assert quarantine.remove([name, name], "tidy") == 1
    assert (bench.names(), bench.states()) == ([], [REMOVED])


def test_the_list_says_what_lies_aside(bench: Bench) -> None:
    """With pipeline, time, reason and size; a file that the ledger does not know is there, too."""
    bench.quarantine("a", 1)
    unknown = bench.spool.root / "quarantine" / "b.dcm"
    unknown.write_bytes(b"x")
    known, other = quarantined_files(bench.ledger, bench.spool)
    assert (known.pipeline, known.reason, known.bytes) == ("three", "no input wants it", 8)
    assert abs(time.time() - DAY - known.since) < 60
    assert (other.name, other.pipeline, other.bytes) == ("b.dcm", "", 1)
    assert json.loads(json.dumps(known.to_json()))["path"].endswith("quarantine/a.dcm")
