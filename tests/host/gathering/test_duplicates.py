"""An instance that is here already: the same, another, damaged or gone; quarantining one with its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.errors import StructureError
from dicomnode.host.gathering.duplicates import AnyFile, Held, compare, quarantine, quarantine_instance
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.parsing.file_meta import FileMeta, encode_prefix
from dicomnode.host.spool.spool import Spool
from raw_peer import EXPLICIT, MR

DATA = b"the bytes of a data set"


def file(path: Path, data: bytes = DATA, source: str = "SENDER") -> Path:
    """Write a PS3.10 file; a longer AE title makes a longer beginning."""
    path.write_bytes(encode_prefix(FileMeta(MR, "1.2.3", EXPLICIT, source, "TITLE")) + data)
    return path


def checksum(path: Path) -> str:
    """Return what the ledger remembers of a whole file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- comparing -----------------------------------------------------------------------------------------------


def test_any_file_knows_its_data_set(tmp_path: Path) -> None:
    """Its size, where its data set begins, and the checksum of that alone."""
    path = file(tmp_path / "one")
    found = AnyFile(path)
    assert found.size == path.stat().st_size
    assert found.dataset_offset == found.size - len(DATA)
    assert found.digest() == hashlib.sha256(DATA).digest()


def test_any_file_that_is_none(tmp_path: Path) -> None:
    """Its beginning is judged at once."""
    path = tmp_path / "text"
    path.write_text("no image")
    with pytest.raises(StructureError):
        AnyFile(path)


@pytest.mark.parametrize("remembered", [True, False])
def test_the_same_data_set(tmp_path: Path, remembered: bool) -> None:
    """Whoever sent it, and whether a checksum was taken or not: the beginnings of the files may differ."""
    held, came = file(tmp_path / "held"), file(tmp_path / "came", source="ANOTHERSENDER")
    assert held.stat().st_size != came.stat().st_size
    assert compare(held, AnyFile(came), checksum(held) if remembered else "") is Held.SAME


@pytest.mark.parametrize("data", [DATA[:-1] + b"T", DATA + b"!"], ids=["as long", "longer"])
@pytest.mark.parametrize("remembered", [True, False])
def test_another_data_set(tmp_path: Path, data: bytes, remembered: bool) -> None:
    """As long or longer: where the file that is here is whole, or nobody can know, what came is another."""
    held, came = file(tmp_path / "held"), file(tmp_path / "came", data)
    assert compare(held, AnyFile(came), checksum(held) if remembered else "") is Held.OTHER


@pytest.mark.parametrize("data", [DATA[:-1] + b"T", DATA[:5]], ids=["a bit", "truncated"])
def test_a_file_that_has_changed_on_the_disk(tmp_path: Path, data: bytes) -> None:
    """By the checksum of when it was whole it is damaged, not another instance."""
    was = checksum(file(tmp_path / "held"))
    held, came = file(tmp_path / "held", data), file(tmp_path / "came")
    assert compare(held, AnyFile(came), was) is Held.DAMAGED


@pytest.mark.parametrize("remembered", [True, False])
def test_a_file_whose_beginning_cannot_be_read(tmp_path: Path, remembered: bool) -> None:
    """It is damaged, whether a checksum was taken or not."""
    held, came = file(tmp_path / "held"), file(tmp_path / "came")
    was = checksum(held)
    held.write_bytes(b"\0" * 300)
    assert compare(held, AnyFile(came), was if remembered else "") is Held.DAMAGED


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is gone."""
    assert compare(tmp_path / "held", AnyFile(file(tmp_path / "came")), "") is Held.GONE


# -- quarantining --------------------------------------------------------------------------------------------


class Bench:
    """A spool with one kept file, and a ledger."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "spool", "process")
        self.ledger = Ledger(root / "ledger.sqlite", durable=False)
        self.path = file(self.spool.root / "kept" / "one.dcm")
        self.record = InstanceRecord(
            path=self.spool.name_of(self.path), pipeline="ct", container_key="P1", inputs=("ct",),
            SOPInstanceUID="1.2.3", index={}, received=5.0, association="a",
        )  # fmt: skip

    def row(self) -> InstanceRecord:
        """Return the only row."""
        self.ledger.flush()
        (row,) = self.ledger.instances(*InstanceState)
        return row


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench; its ledger is closed at the end."""
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def test_a_known_file_is_quarantined(bench: Bench) -> None:
    """File and row move together, with the reason beside both."""
    bench.ledger.write(add_instance(bench.record))
    quarantine(bench.spool, bench.ledger, bench.path, "replaced")
    (moved,) = bench.spool.iterate_quarantine()
    assert not bench.path.exists()
    assert bench.spool.reason_of(moved) == "replaced"
    row = bench.row()
    assert (row.path, row.state, row.reason) == (
        bench.spool.name_of(moved),
        InstanceState.QUARANTINED,
        "replaced",
    )


def test_a_known_file_that_cannot_be_moved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger says that it is quarantined, where it is: it is not used for a job any more."""
    bench.ledger.write(add_instance(bench.record))
    monkeypatch.setattr(bench.spool, "quarantine", _full)
    quarantine(bench.spool, bench.ledger, bench.path, "replaced")
    row = bench.row()
    assert bench.path.exists()
    assert (row.path, row.state, row.reason) == (bench.record.path, InstanceState.QUARANTINED, "replaced")


def test_a_new_file_is_quarantined(bench: Bench) -> None:
    """Its row is made as it would have been, but for place, state and reason."""
    quarantine_instance(bench.spool, bench.ledger, bench.record, bench.path, "its check raised")
    (moved,) = bench.spool.iterate_quarantine()
    row = bench.row()
    assert (row.path, row.state, row.reason) == (
        bench.spool.name_of(moved),
        InstanceState.QUARANTINED,
        "its check raised",
    )
    assert (row.SOPInstanceUID, row.pipeline, row.container_key, row.association) == (
        "1.2.3",
        "ct",
        "P1",
        "a",
    )


def test_a_new_file_that_cannot_be_quarantined(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has brought it is told; the ledger has no row of it."""
    monkeypatch.setattr(bench.spool, "quarantine", _full)
    with pytest.raises(OSError, match="No space left"):
        quarantine_instance(bench.spool, bench.ledger, bench.record, bench.path, "its check raised")
    bench.ledger.flush()
    assert list(bench.ledger.instances(*InstanceState)) == []


def _full(_path: Path, _reason: str) -> Path:
    raise OSError(28, "No space left on device")
