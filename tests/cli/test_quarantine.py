"""``quarantine``: what is quarantined is listed, and removed for good, while no host runs."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from command_line import Done, command, told
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool

DAY = 86400.0


class Node:
    """The data of a host that does not run."""

    def __init__(self, root: Path) -> None:
        self.data = DataDirectory(root).lock()
        self.data.unlock()
        self.spool = Spool(self.data.spool, "process")
        with closing(Ledger(self.data.ledger)):
            pass

    def quarantine(self, name: str, days_ago: float = 0.0) -> str:
        """Quarantine an image of 2048 bytes, some time ago; return its name."""
        moment = time.time() - days_ago * DAY
        kept = self.spool.root / "kept" / f"{name}.dcm"
        kept.write_bytes(bytes(2048))
        path = self.spool.quarantine(kept, "images: Modality is MR, not CT")
        for each in (path, path.with_name(f"{path.name}.reason")):
            os.utime(each, (moment, moment))
        record = InstanceRecord(
            path=self.spool.name_of(path), pipeline="three", container_key="", inputs=(),
            SOPInstanceUID="1.2.3", index={}, received=moment, association="",
            state=InstanceState.QUARANTINED, reason="images: Modality is MR, not CT",
        )  # fmt: skip
        with closing(Ledger(self.data.ledger)) as ledger:
            ledger.write(add_instance(record))
        return path.name

    def command(self, *arguments: object, expect: int = 0) -> Done:
        """Run ``dicomnode-host quarantine`` on this data."""
        return command("quarantine", *arguments, expect=expect, DICOMNODE_HOST__DATA=str(self.data.root))

    def told(self, *arguments: object) -> Any:
        """Run it with ``--json`` and return what it printed."""
        return told("quarantine", *arguments, DICOMNODE_HOST__DATA=str(self.data.root))

    def names(self) -> set[str]:
        """Return the names of what is quarantined."""
        return {row["name"] for row in self.told()}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return the data of a host that ran once."""
    return Node(tmp_path / "data")


def test_nothing_is_quarantined(node: Node) -> None:
    """An empty list, and where the files would lie."""
    assert node.told() == []
    folder = node.spool.root / "quarantine"
    assert node.command().stdout.splitlines()[-1] == f"0 files (0 bytes) lie in {folder}"


def test_each_file_is_listed_for_people(node: Node) -> None:
    """A line for each with its pipeline, reason, size and name; then how many there are, and where."""
    names = [node.quarantine("a"), node.quarantine("b")]
    heading, _, *rows, total = node.command().stdout.splitlines()
    assert heading.split() == ["pipeline", "since", "reason", "size", "name"]
    assert len(rows) == 2
    assert {row.split()[-1] for row in rows} == set(names)
    assert all(row.startswith("three ") for row in rows)
    assert all("images: Modality is MR, not CT   2.0 KiB" in row for row in rows)
    assert total == f"2 files (4.0 KiB) lie in {node.spool.root / 'quarantine'}"


def test_each_file_is_listed_for_scripts(node: Node) -> None:
    """As JSON, with its path, its UID and its size in bytes."""
    name = node.quarantine("a")
    (row,) = node.told()
    assert Path(row.pop("path")).stat().st_size == 2048
    assert row.pop("since")
    assert row == {
        "name": name,
        "pipeline": "three",
        "SOPInstanceUID": "1.2.3",
        "reason": "images: Modality is MR, not CT",
        "bytes": 2048,
    }


def test_files_are_removed_by_their_names(node: Node) -> None:
    """Those, and no others; it says how many."""
    first, second, third = (node.quarantine(name) for name in ("a", "b", "c"))
    assert node.command("--remove", first, second, "--reason", "tidy").stdout == "2 removed\n"
    assert node.names() == {third}
    assert node.told("--remove", third, "--reason", "tidy") == {"removed": 1, "running": False}
    assert node.names() == set()


def test_files_are_removed_by_their_age(node: Node) -> None:
    """What was quarantined longer ago than the duration goes, what came later stays."""
    node.quarantine("old", days_ago=40)
    recent = node.quarantine("recent", days_ago=20)
    assert node.command("--remove", "--older", "30 d", "--reason", "tidy").stdout == "1 removed\n"
    assert node.names() == {recent}
    assert node.command("--remove", "--older", "30 d", "--reason", "tidy").stdout == "0 removed\n"


def test_the_reason_is_kept_in_the_ledger(node: Node) -> None:
    """The row stays, removed, with the operator's words."""
    name = node.quarantine("a")
    node.command("--remove", name, "--reason", "the wrong department")
    with closing(Ledger(node.data.ledger)) as ledger:
        (row,) = ledger.instances(InstanceState.REMOVED)
    assert row.reason == "the wrong department"


def test_an_unknown_name_removes_nothing(node: Node) -> None:
    """Not even those that are named beside it."""
    name = node.quarantine("a")
    done = node.command("--remove", name, "gone.dcm", "--reason", "tidy", expect=1)
    assert done.stderr == (
        "dicomnode-host: no file gone.dcm is quarantined; `dicomnode-host quarantine` lists what there is\n"
    )
    assert node.names() == {name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.dcm"], "names, --older and --reason go with --remove"),
        (["--older", "30 d"], "names, --older and --reason go with --remove"),
        (["--reason", "tidy"], "names, --older and --reason go with --remove"),
        (["--remove", "a.dcm"], "--remove needs a --reason, which is kept"),
        (["--remove", "a.dcm", "--reason", ""], "--remove needs a --reason, which is kept"),
        (["--remove", "--reason", "tidy"], "--remove needs either names or --older DURATION"),
        (
            ["--remove", "a.dcm", "--older", "30 d", "--reason", "tidy"],
            "--remove needs either names or --older DURATION",
        ),
        (["--remove", "--older", "soon", "--reason", "tidy"], "--older: "),
        (["--remove", "--older", "0 s", "--reason", "tidy"], "--older: "),
    ],
)
def test_a_mistake_in_usage_removes_nothing(node: Node, arguments: list[str], message: str) -> None:
    """Exit code 2, and what goes with what."""
    name = node.quarantine("a", days_ago=400)
    done = node.command(*arguments, expect=2)
    assert f"Error: {message}" in done.stderr
    assert done.stdout == ""
    assert node.names() == {name}


def test_a_node_without_data_is_told(tmp_path: Path) -> None:
    """Exit code 3; no folder is made."""
    done = command("quarantine", expect=3, DICOMNODE_HOST__DATA=str(tmp_path / "nowhere"))
    assert f"there is no host, and no data of one, in {tmp_path / 'nowhere'}" in done.stderr
    assert not (tmp_path / "nowhere").exists()
