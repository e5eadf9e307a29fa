"""Which result of a job goes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from delivering import CLASSES, Double
from dicomnode.errors import OutputError
from dicomnode.host.jobs.delivery_planning import plan_deliveries, with_folders
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.ledger_writes import DeliveryPlan
from dicomnode.host.ledger.states import JobState
from dicomnode.pipeline.destination import OutboxItem

OUTBOX = Path("/outbox")
JOB = JobRecord(
    id=7, identity="i", pipeline="smooth", container_key="P1", state=JobState.RUNNING, reason="",
    attempts=1, not_before=0.0, created=1.0, changed=1.0,
)  # fmt: skip


class Peer(Double):
    """A destination that takes DICOM only."""

    takes_files = False


DESTINATIONS = {"PACS": Peer("PACS"), "file:/r": Double("file:/r"), "OTHER": Peer("OTHER")}


def item(output: str, name: str, *destinations: str) -> OutboxItem:
    return OutboxItem(output, OUTBOX / "job-7" / name, destinations=destinations or None)


def plan(*items: OutboxItem, usual: tuple[str, ...] = ("PACS", "file:/r")) -> list[DeliveryPlan]:
    return plan_deliveries(items, usual, DESTINATIONS, output_class=CLASSES.__getitem__, outbox=OUTBOX)


def where(planned: list[DeliveryPlan]) -> list[tuple[str, str]]:
    return [(name, plain["path"]) for name, plain in planned]


def test_results_go_to_the_pipelines_destinations() -> None:
    """Each item to each of them, in order, as plain data whose path is relative to the outbox."""
    first = item("dicom", "a")
    planned = plan(first, item("dicom", "b"))
    assert where(planned) == [
        ("PACS", "job-7/a"), ("file:/r", "job-7/a"), ("PACS", "job-7/b"), ("file:/r", "job-7/b"),
    ]  # fmt: skip
    assert planned[0][1] == first.to_json(OUTBOX)


def test_an_item_may_name_its_own_destinations() -> None:
    """Then it goes there, and nowhere else."""
    assert where(plan(item("dicom", "a", "OTHER"), item("dicom", "b"), usual=("PACS",))) == [
        ("OTHER", "job-7/a"),
        ("PACS", "job-7/b"),
    ]


def test_what_a_destination_does_not_take_goes_to_the_others() -> None:
    """A file goes to folders, and is no reason to fail as long as there is one."""
    assert where(plan(item("file", "a.txt"))) == [("file:/r", "job-7/a.txt")]


def test_what_nobody_takes_is_an_error() -> None:
    """It says what it is and which destinations there were."""
    with pytest.raises(OutputError, match=r"\(PACS, OTHER\) takes the output 'file'"):
        plan(item("file", "a.txt"), usual=("PACS", "OTHER"))
    with pytest.raises(OutputError, match="none of the destinations"):
        plan(item("dicom", "a"), usual=())


def test_a_destination_that_is_not_configured_is_an_error() -> None:
    """All that are unknown are named, and those that there are."""
    with pytest.raises(OutputError, match="for GONE, LOST, which is not configured; there are: PACS"):
        plan(item("dicom", "a", "GONE", "PACS", "LOST"))
    with pytest.raises(OutputError, match="there are: none"):
        plan_deliveries([item("dicom", "a")], ["PACS"], {}, output_class=CLASSES.__getitem__, outbox=OUTBOX)


def test_files_have_the_folders_of_their_job() -> None:
    """Those that name none get the pipeline's and the patient's; those that do keep them."""
    assert with_folders(item("file", "a.txt"), JOB).folders == ("smooth", "P1")
    named = OutboxItem("file", OUTBOX / "a", folders=("x",))
    assert with_folders(named, JOB) is named
