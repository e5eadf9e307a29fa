"""Group H: a data directory of an older host, or an older plugin. What waited waits, what was to run runs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dicomnode.host.ledger.ledger_schema import MIGRATIONS, SCHEMA_VERSION
from route_under_fault import PIPELINE, Instance, Route, route

RENAMED = {"container": "container_key"}
"""What a column was called, and what it is called in the newest schema."""


def downgrade(path: Path, version: int) -> None:
    """Turn a ledger into one of an older schema: with the tables and columns that there were then."""
    new = path.with_suffix(".older")
    with closing(sqlite3.connect(new, isolation_level=None)) as older:
        for number in range(version):
            older.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")
        older.execute("ATTACH ? AS newer", (str(path),))
        tables = older.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            names = [row[1] for row in older.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(f'"{name}"' for name in names)
            values = ", ".join(f'"{RENAMED.get(name, name)}"' for name in names)
            older.execute(
                f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {values} FROM newer.{table}"
            )
    for leftover in path.parent.glob(f"{path.name}-*"):
        leftover.unlink()
    new.rename(path)


def killed_with_work_left(made: Route) -> list[Instance]:
    """Leave a patient whose job is queued, and one who waits; return the images of the latter."""
    waiting, queued = made.new_patient(), made.new_patient()
    assert made.start("job entered")
    assert made.send(waiting[:2]) == [0, 0]
    made.send(queued)
    made.died()
    return waiting


@pytest.mark.parametrize(
    "version", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, SCHEMA_VERSION))]
)
def test_an_older_data_directory(tmp_path: Path, version: int) -> None:
    """An older ledger is brought up to date at the start; what waits goes to the inputs of today."""
    with route(tmp_path) as made:
        waiting = killed_with_work_left(made)
        downgrade(made.host.data / "ledger.sqlite", version)
        made.plugins.add("three", PIPELINE.replace('"images"', '"pictures"'), version="2.0")
        made.check_disk()
        made.version = "2.0"  # the job that was queued is given up, and made anew
        made.start()
        made.wait_delivered()
        assert made.send(waiting[2:]) == [0]
        made.wait_delivered()
        assert len(made.delivered()) == 2
        made.check()
        made.host.stop()


def test_a_newer_data_directory(tmp_path: Path) -> None:
    """A ledger of a newer host is left as it is: this one says so and exits with 3."""
    with route(tmp_path) as made:
        made.host.data.mkdir(parents=True)
        with closing(sqlite3.connect(made.host.data / "ledger.sqlite")) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        refused = subprocess.run(
            [sys.executable, "-m", "dicomnode.cli", "run", "--config", made.host.config],
            env=made.host.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert refused.returncode == 3
        assert f"by a newer dicomnode-host (schema {SCHEMA_VERSION + 1}" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_plugin_that_wants_the_images_no_more(tmp_path: Path) -> None:
    """Images that no input wants after the upgrade are quarantined with the reason, and not lost."""
    narrower = PIPELINE.replace('"images"', '"pictures"').replace(
        "    expected_images = 3", '    required_values = {"Modality": "CT"}'
    )
    with route(tmp_path) as made:
        made.start()
        images = made.new_patient()
        assert made.send(images[:2]) == [0, 0]
        made.host.stop()
        made.plugins.add("three", narrower, version="2.0")
        made.start()
        rows = [row for image in images[:2] for row in made.rows()[image.uid]]
        assert [row.state.value for row in rows] == ["quarantined"] * 2
        assert all("Modality is MR, not CT" in row.reason for row in rows)
        assert all((made.host.data / "spool" / row.path).is_file() for row in rows)
        made.check_log()
        made.host.stop()
