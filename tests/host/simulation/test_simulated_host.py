"""The parts of a host put together for a simulation: one pipeline, no network, a clock set by hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmwrite

from dicomnode.errors import PluginError
from dicomnode.host.foundation.events import Station
from dicomnode.host.ledger.states import JobState
from dicomnode.host.simulation.sender import Sender
from dicomnode.host.simulation.sending import Found, SimulatedAssociation
from dicomnode.host.simulation.simulated_host import SimulatedHost
from dicomnode.pipeline.history_state import HistoryState
from dicomnode.pipeline.outputs import FileOutput
from dicomnode.testing import synthetic_series
from plugin_factory import PRELUDE
from simulating import UNPROVEN, counting_installed, simulated_host

EARLIER = (
    PRELUDE
    + """
from dicomnode import HistoricAbstractInput

class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class Earlier(HistoricAbstractInput):
    required_values = {"Modality": "CT"}

class Pipeline(AbstractPipeline):
    inputs = {"ct": CT, "earlier": Earlier}

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[None]:
    """Have the pipeline ``counting`` installed."""
    with counting_installed(tmp_path / "plugins"):
        yield


def sent(host: SimulatedHost, folder: Path, count: int = 2) -> None:
    """Send images over one association, and release it."""
    sender, association = Sender(host), SimulatedAssociation(1)
    folder.mkdir()
    for number, image in enumerate(synthetic_series("CT", (count, 4, 4))):
        dcmwrite(folder / str(number), image, enforce_file_format=True)
        assert sender.send(association, Found(folder / str(number), ""))["status"] == 0
    sender.end(association)


@pytest.mark.usefixtures("counting")
def test_a_patient_goes_the_whole_route(tmp_path: Path) -> None:
    """Received, gathered, processed in this process, and put into the folder for results."""
    with simulated_host(tmp_path / "root", out=tmp_path / "out") as (host, events, changes):
        sent(host, tmp_path / "in")
        host.due.run_due()
        states = [changes.get(timeout=60).state for _ in range(4)]
        host.ledger.flush()
        (job,) = host.ledger.jobs()
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.BUILT, JobState.DELIVERED]
    (report,) = (tmp_path / "out").rglob("count*.txt")
    assert report.read_text() == f"2 in process {os.getpid()}"
    image = synthetic_series("CT", (1, 4, 4))[0]
    key = f"TEST-1/{image.StudyInstanceUID}/{image.SeriesInstanceUID}"
    assert (job.pipeline, job.container_key, job.state) == ("counting", key, JobState.DELIVERED)
    assert {Station.RECEIVED, Station.DELIVERED} <= {event.station for event in events}


def test_what_is_due_waits_for_the_virtual_clock(tmp_path: Path) -> None:
    """A container is looked at after an hour of the clock that is set by hand, and not before."""
    with (
        counting_installed(tmp_path / "plugins", UNPROVEN),
        simulated_host(tmp_path / "root", settle=3600) as (host, _, _),
    ):
        sent(host, tmp_path / "in")
        host.due.run_due()
        host.clock.advance(3599)
        assert host.due.run_due() == pytest.approx(1)
        host.ledger.flush()
        assert not host.ledger.jobs()
        host.clock.advance(1)
        host.due.run_due()
        host.ledger.flush()
        assert len(host.ledger.jobs()) == 1


@pytest.mark.usefixtures("counting")
def test_everything_is_in_its_own_directory(tmp_path: Path) -> None:
    """Spool, ledger and outbox are below the data directory of its configuration."""
    with simulated_host(tmp_path / "root") as (host, _, _):
        places = [host.data.spool, host.data.ledger, host.data.outbox]
        assert all(place.is_relative_to(tmp_path / "root") for place in places)
        assert host.data.spool.is_dir()


@pytest.mark.usefixtures("counting")
def test_it_ends_what_it_started(tmp_path: Path) -> None:
    """Its threads are over, and its data directory can be used again."""
    before = set(threading.enumerate())
    with simulated_host(tmp_path / "root"):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before
    with simulated_host(tmp_path / "root") as (host, _, _):
        assert not host.ledger.jobs()


@pytest.mark.usefixtures("counting")
def test_outputs_are_the_hosts_own_or_a_plugins(tmp_path: Path) -> None:
    """By name; an output that nobody registers is an error that says so."""
    with simulated_host(tmp_path / "root") as (host, _, _):
        assert host._output_class("file") is FileOutput
        with pytest.raises(PluginError, match="'nowhere'"):
            host._output_class("nowhere")


def test_no_pacs_is_asked_for_earlier_images(tmp_path: Path) -> None:
    """An input of earlier images learns at once that there are none, so that it holds nothing up."""
    with (
        counting_installed(tmp_path / "plugins", EARLIER),
        simulated_host(tmp_path / "root") as (host, _, _),
    ):
        folder = tmp_path / "in"
        folder.mkdir()
        dcmwrite(folder / "0", synthetic_series("CT", (1, 4, 4))[0], enforce_file_format=True)
        Sender(host).send(SimulatedAssociation(1), Found(folder / "0", ""))
        host.due.run_due()
        status = host.tree.history("TEST-1", "earlier")
        assert status is not None
        assert (status.state, status.reason) == (HistoryState.NOTHING, "no PACS is asked in a simulation")
        assert host.tree.history("TEST-1", "ct") is None
        assert host.tree.missing("TEST-1") is None
