"""Removing what is over: inputs, results, quarantined files and records, each when its own time has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.host.configuration.config import RetentionTable
from dicomnode.host.foundation.events import Events
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    begin_association,
    create_job,
    end_association,
    job_built,
    transition_delivery,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.retention import Retention, forget_before, forget_gone
from ledger_instances import instance

DAY = 86_400.0


class Bench:
    """A ledger, a spool and an outbox with a job that was delivered, and one that is not over."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.spool, self.outbox = Spool(root / "spool", "process"), root / "outbox"
        self.outbox.mkdir()
        self.ledger = Ledger(root / "ledger.sqlite", durable=False)
        self.jobs = Jobs(
            ledger=self.ledger, spool=self.spool, outbox=self.outbox, trees={}, events=Events(),
            job_events=JobEvents(), keep_inputs=True, keep_results=True,
        )  # fmt: skip
        self.now = time.time()
        self.clock = TimerThread("test", lambda: self.now)
        table = RetentionTable(**settings)  # type: ignore[arg-type]  # parameters of the test
        self.retention = Retention(table, self.ledger, self.spool, self.jobs, self.clock)
        self.ledger.write(begin_association("a", "FROM", "TO", "127.0.0.1", 1.0))
        self.ledger.write(end_association("a", "released"))
        self.delivered, self.running = self._job("1.1"), self._job("1.2")
        for delivery in self.ledger.deliveries(job=self.delivered):
            self.ledger.write(transition_delivery(delivery.id, DeliveryState.CONFIRMED, ""))
        self.jobs.settle(self.delivered)

    def _job(self, uid: str) -> int:
        path = self._file(uid)
        self.ledger.write(add_instance(instance(self.spool.name_of(path), SOPInstanceUID=uid)))
        number = self.ledger.write(create_job("identity", "three", uid, [self.spool.name_of(path)])).id
        self.ledger.write(transition_job(number, JobState.RUNNING, ""))
        (self.outbox / f"job-{number}").mkdir()
        self.ledger.write(job_built(number, f"job-{number}", [("PACS", {"path": "x"})]))
        return number

    def _file(self, uid: str) -> Path:
        path = self.spool.root / "kept" / "000001" / f"{uid}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_text(uid)
        return path

    def quarantined(self, uid: str) -> Path:
        """Quarantine a file."""
        path = self._file(uid)
        name = self.spool.name_of(path)
        self.ledger.write(add_instance(instance(name, SOPInstanceUID=uid, received=self.now)))
        moved = self.spool.quarantine(path, "broken")
        self.ledger.write(
            transition_instances(
                [name], InstanceState.QUARANTINED, "broken", moved_to=self.spool.name_of(moved)
            )
        )
        return moved

    def files(self) -> list[str]:
        """Return the kept files."""
        return [path.stem for path in self.spool.iterate()]

    def results(self) -> list[str]:
        """Return what is in the outbox."""
        return sorted(path.name for path in self.outbox.iterdir())


@pytest.fixture
def made() -> Iterator[list[Bench]]:
    """Close the ledgers of benches at the end."""
    benches: list[Bench] = []
    yield benches
    for each in benches:
        each.ledger.close()


def bench(made: list[Bench], root: Path, **settings: object) -> Bench:
    given = {"inputs": 2 * DAY, "results": DAY, "quarantine": 3 * DAY, "records": 10 * DAY, **settings}
    made.append(Bench(root, **given))
    return made[-1]


def test_each_kind_has_its_own_time(made: list[Bench], tmp_path: Path) -> None:
    """Results after a day, inputs after two, records after ten; nothing of a job that is not over."""
    on = bench(made, tmp_path)
    both = [f"job-{number}" for number in (on.delivered, on.running)]
    on.retention.sweep(on.now + DAY / 2)
    assert (on.files(), on.results()) == (["1.1", "1.2"], both)
    on.retention.sweep(on.now + 1.5 * DAY)
    assert (on.files(), on.results()) == (["1.1", "1.2"], both[1:])
    on.retention.sweep(on.now + 2.5 * DAY)
    assert on.files() == ["1.2"]
    assert list(on.spool.released.notes()) == []
    assert [job.id for job in on.ledger.jobs()] == [on.delivered, on.running]
    on.retention.sweep(on.now + 11 * DAY)
    assert [job.id for job in on.ledger.jobs()] == [on.running]
    assert [row.SOPInstanceUID for row in on.ledger.instances(job=on.running)] == ["1.2"]
    assert on.ledger.deliveries(job=on.delivered) == []
    assert on.ledger.transitions("job", on.delivered) == []
    assert len(on.ledger.transitions("job", on.running)) == 3


def test_records_are_kept_as_long_as_what_they_are_about(made: list[Bench], tmp_path: Path) -> None:
    """A shorter time for records does not forget what is kept on disk."""
    on = bench(made, tmp_path, records=DAY, inputs=20 * DAY, results=20 * DAY)
    on.retention.sweep(on.now + 11 * DAY)
    assert on.files() == ["1.1", "1.2"]
    assert len(on.ledger.jobs()) == 2


def test_quarantined_files_go_when_their_time_has_come(
    made: list[Bench], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With their reason; the log counts them. What an operator has removed by hand is forgotten, too."""
    caplog.set_level("INFO")
    on = bench(made, tmp_path)
    moved, removed = on.quarantined("2.1"), on.quarantined("2.2")
    on.retention.sweep(on.now + 2 * DAY)
    assert moved.exists()
    removed.unlink()
    on.retention.sweep(on.now + 4 * DAY)
    assert not moved.exists()
    assert "1 files that are quarantined were removed" in caplog.text
    on.retention.sweep(on.now + 20 * DAY)
    assert {row.SOPInstanceUID for row in on.ledger.instances(*InstanceState)} == {"1.2"}


def test_nothing_is_removed_where_nothing_is_to_be_kept_for_a_time(made: list[Bench], tmp_path: Path) -> None:
    """Zero stands for: not here. Inputs and results go with their job then, quarantined files stay."""
    on = bench(made, tmp_path, inputs=0, results=0, quarantine=0)
    moved = on.quarantined("2.1")
    on.retention.sweep(on.now + 9 * DAY)
    assert moved.exists()
    assert on.results() == [f"job-{on.delivered}", f"job-{on.running}"]
    assert "1.1" in on.files()


def test_it_looks_soon_and_then_from_time_to_time(
    made: list[Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a sweep that failed."""
    on = bench(made, tmp_path)
    sweeps: list[float] = []

    def failing(now: float) -> None:
        sweeps.append(now)
        raise OSError("disk I/O error")

    monkeypatch.setattr(on.retention, "sweep", failing)
    on.retention.start()
    assert on.clock.run_due() == pytest.approx(30)
    on.now += 31
    assert on.clock.run_due() == pytest.approx(600)
    on.now += 601
    on.clock.run_due()
    assert len(sweeps) == 2


def test_what_is_forgotten_of_the_ledger(made: list[Bench], tmp_path: Path) -> None:
    """Instances that expired or were lost, and associations that brought nothing that is known."""
    on = bench(made, tmp_path)
    for uid, state in (
        ("3.1", InstanceState.EXPIRED),
        ("3.2", InstanceState.LOST),
        ("3.3", InstanceState.WAITING),
    ):
        on.ledger.write(add_instance(instance(uid, SOPInstanceUID=uid, state=state, association=f"of {uid}")))
        on.ledger.write(begin_association(f"of {uid}", "FROM", "TO", "127.0.0.1", 1.0))
        on.ledger.write(end_association(f"of {uid}", "released"))
    on.ledger.write(begin_association("open", "FROM", "TO", "127.0.0.1", 1.0))
    assert on.ledger.write(forget_before(500.0)) == 0
    assert on.ledger.write(forget_before(on.now + 60)) > 0
    assert {row.SOPInstanceUID for row in on.ledger.instances(InstanceState.WAITING)} == {"3.3"}
    assert list(on.ledger.instances(InstanceState.EXPIRED, InstanceState.LOST)) == []
    assert set(on.ledger.associations()) == {"a", "of 3.3", "open"}


def test_only_what_is_quarantined_is_forgotten_as_gone(made: list[Bench], tmp_path: Path) -> None:
    """And only from before the moment."""
    on = bench(made, tmp_path)
    record: InstanceRecord = instance("q", state=InstanceState.QUARANTINED, received=100.0)
    on.ledger.write(add_instance(record))
    on.ledger.write(add_instance(instance("w", received=100.0)))
    on.ledger.write(forget_gone(["q", "w"], 100.0))
    assert "q" in on.ledger.instance_states()
    on.ledger.write(forget_gone(["q", "w"], 101.0))
    assert "q" not in on.ledger.instance_states()
    assert "w" in on.ledger.instance_states()
