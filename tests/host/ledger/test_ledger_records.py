"""Rows of instances that are entered together are those that would be entered one by one."""

from __future__ import annotations

from pathlib import Path

from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance, begin_association
from dicomnode.host.ledger.states import InstanceState
from ledger_instances import instance


def record(number: int, **values: object) -> InstanceRecord:
    given = {
        "path": f"kept/000001/{number:08x}.dcm",
        "pipeline": "smooth",
        "container_key": "P1",
        "inputs": ("series",),
        "SOPInstanceUID": f"1.2.{number}",
        "index": {0x00080060: "CT", 0x00200032: [1.0, 2.0, float(number)]},
        "received": 1000.0 + number,
        "association": "a",
    }
    return InstanceRecord(**{**given, **values})  # type: ignore[arg-type]  # fields by name


def test_rows_are_what_was_posted(tmp_path: Path) -> None:
    """Hundreds of rows, posted at once with other writes between them, are read back as they were."""
    records = [record(number) for number in range(300)]
    with Ledger(tmp_path / "ledger.db", durable=False) as ledger:
        for number, each in enumerate(records):
            if number % 70 == 0:
                ledger.post(begin_association(f"a{number}", "FROM", "TO", "127.0.0.1", 1.0))
            ledger.post(add_instance(each))
        ledger.flush()
        assert list(ledger.instances(InstanceState.WAITING)) == records


def test_the_first_of_a_name_stays(tmp_path: Path) -> None:
    """A row whose file is entered already is passed over, together with the first or later."""
    with Ledger(tmp_path / "ledger.db", durable=False) as ledger:
        for pipeline in ("first", "second", "third"):
            ledger.post(add_instance(record(1, pipeline=pipeline)))
        ledger.flush()
        ledger.write(add_instance(record(1, pipeline="fourth")))
        assert [each.pipeline for each in ledger.instances(InstanceState.WAITING)] == ["first"]


def test_a_record_comes_back_as_it_went(ledger: Ledger) -> None:
    """What is entered of an instance is read again unchanged, coordinates and all."""
    record = instance(reason="because", sha256="ab" * 32)
    ledger.write(add_instance(record))
    assert list(ledger.instances(InstanceState.WAITING)) == [record]
