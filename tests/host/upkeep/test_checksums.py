"""Checksums of what waits: taken once, when it has waited; compared before a plugin sees a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_inputs import InputFiles
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.host.upkeep.checksums import Checksums
from plugin_factory import write_inputs
from sources import mr_slices

OLD = 1000.0


class Bench:
    """A spool of plain files, and a ledger that knows them."""

    def __init__(self, directory: Path) -> None:
        self.spool = SpoolFiles(directory / "spool", durable=False)
        self.ledger = Ledger(directory / "ledger.sqlite", durable=False)

    def add(self, name: str, state: InstanceState = InstanceState.WAITING, received: float = OLD) -> None:
        """Put a file into the spool, and enter it."""
        path = self.spool.path_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        row = InstanceRecord(name, "three", "P1", ("images",), name, {}, received, "a", state)
        self.ledger.write(add_instance(row))

    def taken(self) -> set[str]:
        """Return the files whose checksum the ledger has; each must be the right one."""
        self.ledger.flush()
        rows = [row for row in self.ledger.instances(*InstanceState) if row.sha256]
        assert all(row.sha256 == hashlib.sha256(row.path.encode()).hexdigest() for row in rows)
        return {row.path for row in rows}

    def look(self, checksums: Checksums | None = None) -> set[str]:
        """Have what is due taken; return all that was taken so far."""
        (checksums or Checksums(self.ledger, self.spool)).look()
        return self.taken()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def test_what_is_needed_gets_a_checksum(bench: Bench) -> None:
    """Whatever waits or is in a job has one taken; what is over or quarantined has not."""
    needed = {InstanceState.RECEIVED, InstanceState.WAITING, InstanceState.IN_JOB}
    for number, state in enumerate(InstanceState):
        bench.add(f"kept/000001/{number}.dcm", state)
    assert bench.look() == {
        f"kept/000001/{n}.dcm" for n, state in enumerate(InstanceState) if state in needed
    }


def test_what_has_just_come_is_left_alone(bench: Bench) -> None:
    """An instance whose job may start at once costs nothing; when it has waited, its turn comes."""
    checksums = Checksums(bench.ledger, bench.spool, waited=0.2)
    for number in range(10):
        bench.add(f"kept/000007/{number}.dcm", received=time.time() + 0.3 if number % 2 else OLD)
    young = {f"kept/000007/{number}.dcm" for number in (1, 3, 5, 7, 9)}
    assert len(bench.look(checksums)) >= 5
    for name in sorted(young):
        bench.ledger.write(
            lambda connection, name=name: connection.execute(  # type: ignore[misc]  # mypy cannot infer a lambda that binds a default
                "UPDATE instance SET received = ? WHERE path = ?", (OLD, name)
            )
        )
    assert len(bench.look(checksums)) == 10


def test_a_clock_that_was_set_back(bench: Bench) -> None:
    """What seems to come from the future is not waited for."""
    bench.add("kept/000001/a.dcm", received=time.time() + 1e6)
    assert bench.look() == {"kept/000001/a.dcm"}


def test_new_directories_are_found(bench: Bench) -> None:
    """Each look finds what came since, in the directory that is being filled and in new ones."""
    checksums = Checksums(bench.ledger, bench.spool)
    expected = set()
    for directory in range(0xFE, 0x103):
        for letter in "zma":  # names within a directory come in any order
            name = f"kept/{directory:06x}/{letter}.dcm"
            bench.add(name)
            expected.add(name)
            assert bench.look(checksums) == expected


def test_many_at_once(bench: Bench) -> None:
    """A backlog, as after an upgrade, is worked off."""
    for number in range(500):
        bench.add(f"kept/{number // 100:06x}/{number:03}.dcm")
    assert len(bench.look()) == 500


def test_a_file_that_has_gone_holds_nobody_up(bench: Bench) -> None:
    """It has none, the others have theirs."""
    for letter in "abc":
        bench.add(f"kept/000001/{letter}.dcm")
    bench.spool.path_of("kept/000001/b.dcm").unlink()
    assert bench.look() == {"kept/000001/a.dcm", "kept/000001/c.dcm"}


def test_the_thread_takes_them(bench: Bench) -> None:
    """Started, it takes what comes; told to stop, it stops."""
    checksums = Checksums(bench.ledger, bench.spool, waited=0.01)
    checksums.start()
    bench.add("kept/000001/a.dcm")
    deadline = time.monotonic() + 10
    while not bench.taken():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    checksums.stop()


# -- in the worker --------------------------------------------------------------------------------------


def test_a_job_is_not_given_a_file_that_has_changed(tmp_path: Path) -> None:
    """One flipped bit in one of four files is found before the plugin runs, and the file is named."""
    images = write_inputs(tmp_path / "spool", mr_slices(4))
    checksums = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path, _ in images}
    links = tmp_path / "links"
    links.mkdir()
    assert len(InputFiles({"images": images}, links, checksums).sources) == 4
    path = Path(images[2][0])
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[5000] ^= 0x10
    path.write_bytes(data)
    (tmp_path / "more").mkdir()
    with pytest.raises(JobFailedError, match=f"1 of its 4 .*{path}.* Send all images of the job") as failed:
        InputFiles({"images": images}, tmp_path / "more", checksums)
    assert failed.value.kind == Failure.DAMAGED
    del checksums[str(path)]
    (tmp_path / "unknown").mkdir()
    assert InputFiles({"images": images}, tmp_path / "unknown", checksums).images["images"]


def test_a_description_carries_them(tmp_path: Path) -> None:
    """Checksums travel with a job as plain data."""
    job = JobDescription(
        id="1", identity="i", pipeline="p", plugin="p", distribution="p", version="1", container_key="c",
        inputs={}, folder="/f", workdir="/w", created=0.0, checksums={"/a": "ab"},
    )  # fmt: skip
    assert JobDescription.from_json(job.to_json()) == job
    assert JobDescription.from_json(replace(job, checksums={}).to_json()).checksums == {}
