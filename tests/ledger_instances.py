"""Rows of the ledger for tests."""

from __future__ import annotations

from dicomnode.host.ledger.ledger_records import InstanceRecord


def instance(path: str = "kept/000001/a.dcm", **values: object) -> InstanceRecord:
    """Return the record of an instance that waits, with some fields given."""
    given: dict[str, object] = {
        "path": path,
        "pipeline": "three",
        "container_key": "P1",
        "inputs": ("images",),
        "SOPInstanceUID": f"1.2.{abs(hash(path))}",
        "index": {0x00100020: "P1", 0x00200032: [1.0, 2.0, 3.0]},
        "received": 1000.0,
        "association": "a",
    }
    return InstanceRecord(**{**given, **values})  # type: ignore[arg-type]  # fields by name
