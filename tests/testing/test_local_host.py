"""A host in a temporary directory: its configuration, what is sent to it, and how its jobs are waited for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.errors import DeliveryError
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.ledger.states import JobState
from dicomnode.testing import Faults, local_host, send, synthetic_series
from dicomnode.testing.local_host import LocalHost
from plugin_factory import INVERT, PluginFactory


class StandIn:
    """Takes the place of a Host: keeps its configuration, and has the jobs that it is given."""

    jobs: list[Any]

    def __init__(self, config: Any, *, events: Events) -> None:
        self.config, self.events, self.running = config, events, False
        self.address = ("127.0.0.1", 104)
        self.configured_pipelines = {
            name: SimpleNamespace(ae_title=name.upper()) for name in config.pipelines
        }
        self.ledger = SimpleNamespace(jobs=self._jobs)

    def __enter__(self) -> StandIn:
        self.running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False

    def _jobs(self, *states: JobState) -> list[Any]:
        return [job for job in self.jobs if not states or job.state in states]


class SilentPeer:
    """Takes the place of a ReceivingPeer where nothing is sent: it listens to nothing."""

    port = 11112

    def __init__(self, folder: Path, ae_title: str) -> None:
        self.folder, self.ae_title, self.address = folder, ae_title, f"127.0.0.1:{self.port}"

    def __enter__(self) -> SilentPeer:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""


@pytest.fixture
def silent_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no peer that listens."""
    monkeypatch.setattr(local_host, "ReceivingPeer", SilentPeer)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have stand-ins instead of hosts, and return the list of their jobs."""
    monkeypatch.setattr(StandIn, "jobs", [], raising=False)
    monkeypatch.setattr(local_host, "Host", StandIn)
    return StandIn.jobs


def job(number: int, state: JobState, reason: str = "") -> Any:
    """Return a job of the ledger, as far as it is looked at."""
    return SimpleNamespace(id=number, pipeline="smooth", state=state, reason=reason)


# -- its configuration ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("jobs", "silent_peer")
def test_a_host_is_configured_for_a_test(tmp_path: Path) -> None:
    """On a free port, in the folder, with the peer that receives as the only destination."""
    with LocalHost(tmp_path, {"smooth": {"settings": {"sigma": 2.0}}}) as node:
        config = node.host.config
        assert (config.host.bind.host, config.host.bind.port) == ("127.0.0.1", 0)
        assert config.host.data == tmp_path / "data"
        assert (config.host.reserve, config.host.durability) == (0, "process")
        assert config.peers["PACS"].ae_title == node.peer.ae_title
        assert config.peers["PACS"].address.port == node.peer.port
        smooth = config.pipelines["smooth"]
        assert (smooth.destinations, smooth.attempts) == (("PACS",), 1)
        assert smooth.settings == {"sigma": 2.0}


@pytest.mark.usefixtures("jobs", "silent_peer")
def test_tables_of_a_test_come_before_its_own(tmp_path: Path) -> None:
    """What they do not say stays as it is for a test."""
    tables = {
        "host": {"reserve": 7},
        "peers": {"OTHER": {"ae_title": "OTHER", "address": "127.0.0.1:9"}},
    }
    with LocalHost(tmp_path, {"smooth": {"attempts": 3, "destinations": ["OTHER"]}}, tables) as node:
        config = node.host.config
        assert (config.host.reserve, config.host.durability) == (7, "process")
        assert set(config.peers) == {"PACS", "OTHER"}
        assert (config.pipelines["smooth"].destinations, config.pipelines["smooth"].attempts) == (
            ("OTHER",),
            3,
        )
    assert tables["host"] == {"reserve": 7}


@pytest.mark.usefixtures("jobs")
def test_host_and_peer_run_within_the_block(tmp_path: Path) -> None:
    """The host is stopped at its end, and so is the peer."""
    with LocalHost(tmp_path, {"smooth": {}}) as node:
        assert node.host.running
        address = ("127.0.0.1", node.peer.port)
        images = synthetic_series("CT", (1, 4, 4))
        assert send(images, address, "PACS") == [0]
    assert not node.host.running
    with pytest.raises(DeliveryError, match="no association with PACS"):
        send(images, address, "PACS")


def test_a_host_that_does_not_start_leaves_no_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the host's own."""

    def refuse(config: Any, *, events: Events) -> None:
        raise RuntimeError("no host today")

    ended: list[LocalHost] = []
    plain = local_host.ReceivingPeer.__exit__

    def watched(peer: Any, *error: Any) -> None:
        ended.append(peer)
        plain(peer, *error)

    monkeypatch.setattr(local_host, "Host", refuse)
    monkeypatch.setattr(local_host.ReceivingPeer, "__exit__", watched)
    node = LocalHost(tmp_path, {"smooth": {}})
    with pytest.raises(RuntimeError, match="no host today"), node:
        pass
    assert ended == [node.peer]


# -- what is sent to it -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("jobs", "silent_peer")
@pytest.mark.parametrize(("named", "called"), [(None, "SMOOTH"), ("invert", "INVERT")])
def test_images_are_sent_to_a_pipelines_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, called: str
) -> None:
    """To that of the first pipeline, unless another is named; the faults go along."""
    sent: list[Any] = []
    monkeypatch.setattr(local_host, "send", lambda *args, **named: sent.append((args, named)) or [0])
    images, faults = synthetic_series("CT", (1, 4, 4)), Faults(abort_after=1)
    with LocalHost(tmp_path, {"smooth": {}, "invert": {}}) as node:
        assert node.send(images, named, calling_ae_title="CT1", faults=faults) == [0]
    ((given, options),) = sent
    assert given[0] is images
    assert given[1:] == (("127.0.0.1", 104), called)
    assert options == {"calling_ae_title": "CT1", "faults": faults}


# -- waiting for its jobs ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("silent_peer")
def test_jobs_that_are_over_are_returned(tmp_path: Path, jobs: list[Any]) -> None:
    """All that there are, also those that run yet."""
    jobs += [job(1, JobState.DELIVERED), job(2, JobState.RUNNING)]
    with LocalHost(tmp_path, {"smooth": {}}) as node:
        assert node.wait_for_jobs() == jobs


@pytest.mark.usefixtures("silent_peer")
def test_an_event_ends_the_wait(tmp_path: Path, jobs: list[Any]) -> None:
    """What the host reports is kept, and the jobs are looked at again."""
    event = Event(Station.DELIVERED, "the job was delivered")
    with LocalHost(tmp_path, {"smooth": {}}) as node:
        node.host.ledger.jobs = _finishing_after_the_first_look(node, jobs, event)
        assert [each.id for each in node.wait_for_jobs(timeout=threading.TIMEOUT_MAX)] == [1]
    assert node.events == [event]


def _finishing_after_the_first_look(
    node: LocalHost, jobs: list[Any], event: Event
) -> Callable[..., list[Any]]:
    """Return what gives the jobs of a ledger, and has a job finished on another thread once it was asked."""
    looks = itertools.count()
    look = node.host.ledger.jobs

    def finish() -> None:
        jobs.append(job(1, JobState.DELIVERED))
        node.host.events.tell(event)

    def looked(*states: JobState) -> list[Any]:
        found = look(*states)
        if next(looks) == 0:
            threading.Thread(target=finish).start()
        return found

    return looked


@pytest.mark.usefixtures("silent_peer")
@pytest.mark.parametrize(
    ("made", "count", "told"),
    [
        ([], 1, "1 jobs are not over after 0 s: there is none"),
        ([job(1, JobState.RUNNING)], 1, "1 jobs are not over after 0 s: job 1 of smooth is running: "),
        (
            [job(1, JobState.DELIVERED), job(2, JobState.QUEUED, "no memory")],
            2,
            "2 jobs are not over after 0 s:"
            " job 1 of smooth is delivered: ; job 2 of smooth is queued: no memory",
        ),
    ],
)
def test_jobs_that_are_not_over_in_time_are_told(
    tmp_path: Path, jobs: list[Any], made: list[Any], count: int, told: str
) -> None:
    """How many there should be, and what state each is in."""
    jobs += made
    with LocalHost(tmp_path, {"smooth": {}}) as node, pytest.raises(AssertionError) as raised:
        node.wait_for_jobs(count, timeout=0)
    assert told in str(raised.value)


@pytest.mark.usefixtures("silent_peer")
@pytest.mark.parametrize("state", [JobState.FAILED, JobState.UNDELIVERABLE, JobState.DISCARDED])
def test_a_job_that_was_not_delivered_is_told(tmp_path: Path, jobs: list[Any], state: JobState) -> None:
    """With its reason."""
    jobs.append(job(1, state, "no model here"))
    with (
        LocalHost(tmp_path, {"smooth": {}}) as node,
        pytest.raises(AssertionError, match=f"job 1 of smooth is {state.value}: no model here"),
    ):
        node.wait_for_jobs()


# -- the host itself --------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    """Have the pipeline ``invert`` installed."""
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("invert", INVERT)
    with plugins.installed():
        yield


@pytest.mark.usefixtures("installed")
def test_a_host_runs_the_whole_route(tmp_path: Path) -> None:
    """Sent over a real association, processed in a worker, delivered to a peer that kept it."""
    with LocalHost(tmp_path / "host", {"invert": {}}) as node:
        assert node.send(synthetic_series("MR")) == [0x0000] * 5
        (made,) = node.wait_for_jobs()
        assert made.pipeline == "invert"
        assert len(node.peer.received) == 5
        assert any(event.station.value == "delivered" for event in node.events)


@pytest.mark.usefixtures("installed")
def test_an_abort_completes_nothing(tmp_path: Path) -> None:
    """Faults on request: the aborted association starts no job, the repeated one does."""
    with LocalHost(tmp_path / "host", {"invert": {}}) as node:
        assert node.send(synthetic_series("MR"), faults=Faults(abort_after=3)) == [0x0000] * 3
        assert node.send(synthetic_series("MR"), faults=Faults(duplicate=[0], reorder=1)) == [0x0000] * 6
        assert len(node.wait_for_jobs()) == 1
        assert len(node.peer.received) == 5
