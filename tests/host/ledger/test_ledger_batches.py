"""Writes that are only posted go into the ledger together, and one that fails undoes itself alone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.host.ledger.ledger import Ledger


def insert(number: int) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    return write


def insert_and_fail(number: int) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        insert(number)(connection)
        raise ValueError("this write is wrong")

    return write


def numbers(ledger: Ledger) -> list[int]:
    return [number for (number,) in ledger.write(lambda c: c.execute("SELECT n FROM numbers").fetchall())]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["posted", "posted wrong", "waited for", "twice"]), max_size=12))
def test_each_write_stands_for_itself(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]) -> None:
    """Whatever is written together, exactly the sound writes are in the ledger, each once and in order."""
    with Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", durable=False) as ledger:
        ledger.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER UNIQUE)"))
        held, go = threading.Event(), threading.Event()
        ledger.post(lambda connection: (held.set(), go.wait(10)))  # so that the others become one batch
        assert held.wait(10)
        waiting, expected = [], []
        for number, kind in enumerate(kinds, 1):
            if kind == "posted wrong":
                ledger.post(insert_and_fail(number))
                continue
            expected.append(number)
            if kind == "waited for":
                waiting.append(threading.Thread(target=ledger.write, args=(insert(number),)))
                asked = ledger._writes.qsize()
                waiting[-1].start()
                while ledger._writes.qsize() == asked:
                    pass
            else:
                ledger.post(insert(number))
                if kind == "twice":
                    ledger.post(insert(number))  # against the table's rule
        go.set()
        for thread in waiting:
            thread.join()
        assert numbers(ledger) == expected


def test_a_failure_in_company_reaches_who_waits(tmp_path: Path) -> None:
    """A write that is waited for and fails raises, though posted ones around it succeed."""
    with Ledger(tmp_path / "ledger.db", durable=False) as ledger:
        ledger.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER UNIQUE)"))
        ledger.post(insert(1))
        with pytest.raises(ValueError, match="wrong"):
            ledger.write(insert_and_fail(2))
        ledger.post(insert(3))
        assert numbers(ledger) == [1, 3]
