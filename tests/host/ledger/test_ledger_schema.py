"""The tables of the ledger, and how an older ledger becomes a newer one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dicomnode.errors import DataDirectoryError
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_schema import MIGRATIONS, SCHEMA_VERSION
from dicomnode.host.ledger.ledger_writes import add_instance, create_job
from dicomnode.host.ledger.states import InstanceState
from ledger_instances import instance

WAITING = InstanceState.WAITING


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger of a newer host is not touched; the message names both schemas."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        DataDirectoryError, match=f"schema {SCHEMA_VERSION + 1}; this one knows {SCHEMA_VERSION}"
    ):
        Ledger(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert before


def older_ledger(path: Path, version: int) -> None:
    """Make a ledger as a host of an older schema left it, with an instance in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in range(version):
            connection.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")
        if version:
            row = instance().row()
            columns = [each[1] for each in connection.execute("PRAGMA table_info(instance)")]
            marks = ", ".join("?" for _ in columns)
            connection.execute(f"INSERT INTO instance VALUES ({marks})", row[: len(columns)])


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_an_older_ledger_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """A ledger of any older schema becomes one of the newest, with what was in it."""
    path = tmp_path / "ledger.sqlite"
    older_ledger(path, version)
    with Ledger(path, durable=False) as ledger:
        assert list(ledger.instances(WAITING)) == ([instance()] if version else [])
        ledger.write(add_instance(instance("new")))
        ledger.write(create_job("identity", "three", "P1", ["new"]))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from dicomnode.host.ledger import ledger_schema as schema
step, path = int(sys.argv[1]), Path(sys.argv[2])
schema.MIGRATIONS = tuple(
    sql + "SELECT die();" if number == step else sql for number, sql in enumerate(schema.MIGRATIONS)
)
connection = sqlite3.connect(path, isolation_level=None)
connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
connection.execute("PRAGMA journal_mode = WAL")
schema.migrate(connection, path)
"""


@pytest.mark.parametrize("step", range(SCHEMA_VERSION))
def test_a_migration_killed_half_way(tmp_path: Path, step: int) -> None:
    """A host that is killed at the end of a step has not done it; the next start does. Nothing is lost."""
    path = tmp_path / "ledger.sqlite"
    older_ledger(path, min(step, 1))
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(step), str(path)], check=False, timeout=60)
    assert killed.returncode == -9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (step,)
    with Ledger(path, durable=False) as ledger:
        assert list(ledger.instances(WAITING)) == ([instance()] if step else [])
