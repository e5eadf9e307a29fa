"""The thread that asks one peer: what is recorded, when it is tried again, and when it has failed."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from pydicom.dataset import Dataset

from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.history import fetcher
from dicomnode.host.history.fetcher import REQUESTED, Fetcher, FetchTarget
from dicomnode.host.history.get_scu import RetrieveReception
from dicomnode.host.history.query_retrieve import RetrieveResult
from dicomnode.host.ledger.history_ledger import HistoryRecord
from dicomnode.pipeline.historic import Choice, HistoricAbstractInput, Level
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput

RECEPTION = cast("RetrieveReception", "the reception")


class Earlier(HistoricAbstractInput):
    """Asks three times, without a wait in between."""

    fetch_attempts: ClassVar[int] = 3
    fetch_retry: ClassVar[float] = 0.0
    when_failed: ClassVar[Choice] = "optional"


class EarlierSeries(Earlier):
    """Looks for series."""

    level: ClassVar[Level] = "series"


class Broken(Earlier):
    """Has a method that raises."""

    def query(self, image: Dataset) -> Mapping[str, Any]:
        raise ValueError("PatientName^Secret")


def match(study: str, series: str = "") -> Dataset:
    made = Dataset()
    made.StudyInstanceUID = study
    if series:
        made.SeriesInstanceUID = series
    return made


class Tree:
    """As much of a tree as a fetcher asks, with an input that holds what has come."""

    def __init__(self, kind: type[AbstractInput]) -> None:
        self.held, self.refused = 0, set[str]()
        self.image: Dataset | None = match("1.1")
        self.configured = SimpleNamespace(
            pipeline=SimpleNamespace(inputs={"now": AbstractInput, "earlier": kind}),
            policy=SimpleNamespace(sorts_before_answer=True),
            ae_title="TITLE",
        )

    def first_image(self, container_key: str) -> Dataset | None:
        assert container_key == "P1"
        return self.image

    def ask_input(self, container_key: str, name: str, question: Any) -> Any:
        assert (container_key, name) == ("P1", "earlier")
        held = type("Held", (HistoricAbstractInput,), {"__len__": lambda _self: self.held})(name)
        held.refused = self.refused
        return question(held)


@dataclass
class Recorder:
    """Records in memory what a fetcher reports."""

    tree: Tree
    recorded: list[tuple[HistoryStatus, int, float]] = field(default_factory=list)
    dropped: queue.SimpleQueue[HistoryRecord] = field(default_factory=queue.SimpleQueue)
    finished: queue.SimpleQueue[tuple[HistoryStatus, str]] = field(default_factory=queue.SimpleQueue)
    failures: int = 0
    reception: RetrieveReception = RECEPTION

    def target(self, record: HistoryRecord) -> FetchTarget | None:
        if self.failures:
            self.failures -= 1
            raise OSError("PatientName^Secret")
        return FetchTarget(cast("WaitingImages", self.tree), record.container_key, record.input)

    def record_status(
        self,
        record: HistoryRecord,
        target: FetchTarget,
        status: HistoryStatus,
        *,
        attempts: int,
        not_before: float = 0.0,
    ) -> HistoryRecord:
        assert target.input == record.input
        self.recorded.append((status, attempts, not_before))
        return replace(record, status=status, attempts=attempts, not_before=not_before)

    def drop(self, record: HistoryRecord) -> None:
        self.dropped.put(record)

    def finish(self, target: FetchTarget, status: HistoryStatus, log_reason: str = "") -> None:
        assert target.container_key == "P1"
        self.finished.put((status, log_reason))


class Fetching:
    """A fetcher with a peer that finds and sends what the test has set."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, kind: type[AbstractInput] = Earlier, retrieve: str = "move"
    ):
        self.tree = Tree(kind)
        self.recorder = Recorder(self.tree)
        self.found: list[Dataset] = [match("1.2"), match("1.3")]
        self.asked: list[str] = []
        self.sent: list[tuple[Any, ...]] = []
        self.results: list[RetrieveResult | Exception] = []
        table = PeerTable.model_validate(
            {"ae_title": "PACS", "address": "127.0.0.1:104", "retrieve": retrieve}
        )
        self.peer = Peer("PACS", table, "NODE")
        self.fetcher = Fetcher(self.recorder, self.peer)
        outer = self

        class Search:
            def __init__(self, _peer: Peer, patient: str, _keys: Mapping[str, Any]) -> None:
                outer.asked.append(patient)

            def studies(self, _deadline: float) -> list[Dataset]:
                outer.asked.append("studies")
                return outer.found

            def series(self, _deadline: float) -> list[Dataset]:
                outer.asked.append("series")
                return outer.found

        monkeypatch.setattr(fetcher, "PatientSearch", Search)
        monkeypatch.setattr(fetcher, "c_move", lambda *given: self._send("move", *given))
        monkeypatch.setattr(fetcher, "c_get", lambda *given: self._send("get", *given))

    def _send(
        self, way: str, _peer: Peer, match: Dataset, title: str, _deadline: float, *more: Any
    ) -> RetrieveResult:
        self.sent.append((way, match, title, *more))
        result = self.results.pop(0) if self.results else RetrieveResult(1, 0)
        if isinstance(result, Exception):
            raise result
        self.tree.held += result.completed
        return result

    def run(self, attempts: int = 0, **status: Any) -> tuple[HistoryStatus, str]:
        """Fetch for one record, and return how that ended and the reason for the log."""
        self.fetcher.add(record(attempts, **status))
        if not self.fetcher.thread.is_alive():
            self.fetcher.start()
        return self.recorder.finished.get(timeout=20)


def record(attempts: int = 0, not_before: float = 0.0, **status: Any) -> HistoryRecord:
    values = {"state": HistoryState.FETCHING, "peer": "PACS", "reason": REQUESTED, "PatientID": "ID1"}
    return HistoryRecord(
        1, "compare", "P1", "earlier", HistoryStatus(**{**values, **status}), attempts, not_before
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what makes a fetcher; it is stopped in the end."""
    fetchings: list[Fetching] = []

    def make(**options: Any) -> Fetching:
        fetchings.append(Fetching(monkeypatch, **options))
        return fetchings[-1]

    yield make
    for each in fetchings:
        each.fetcher.stop()
        if each.fetcher.thread.ident is not None:
            each.fetcher.thread.join(20)
            assert not each.fetcher.thread.is_alive()


def test_an_input_that_fetches_nothing_is_no_target() -> None:
    """The class of the input is given where it is a historic one; any other is a programming error."""
    tree = cast("WaitingImages", Tree(Earlier))
    assert FetchTarget(tree, "P1", "earlier").input_class is Earlier
    with pytest.raises(TypeError, match="input 'now' fetches nothing"):
        _ = FetchTarget(tree, "P1", "now").input_class


@pytest.mark.parametrize(("way", "more"), [("move", ()), ("get", ("the reception",))])
def test_what_was_chosen_is_sent(made: Any, way: str, more: tuple[str, ...]) -> None:
    """All that was chosen is requested in the configured way, and what was asked for is recorded before."""
    on = made(retrieve=way)
    status, log_reason = on.run()
    assert (status.state, status.reason, log_reason) == (HistoryState.FETCHED, "2 images", "")
    assert status.asked_for == {"1.2", "1.3"}
    assert on.sent == [(way, each, "TITLE", *more) for each in on.found]
    assert on.asked == ["ID1", "studies"]
    before, after = on.recorder.recorded
    assert (before[0].state, before[0].asked_for, before[1]) == (HistoryState.FETCHING, {"1.2", "1.3"}, 0)
    assert (after[0], after[1]) == (status, 1)


def test_series_are_asked_for_by_their_own_uid(made: Any) -> None:
    """At the level of series these are looked for, and each is requested once, however often it was found."""
    on = made(kind=EarlierSeries)
    on.found = [match("1.2", "1.2.1"), match("1.2", "1.2.2"), match("1.2", "1.2.1")]
    status, _log_reason = on.run()
    assert on.asked == ["ID1", "series"]
    assert status.asked_for == {"1.2.1", "1.2.2"}
    assert len(on.sent) == 2


def test_a_peer_that_has_none(made: Any) -> None:
    """Where nothing is found or chosen, nothing is requested, and that is an end."""
    on = made()
    on.found = [match("1.1")]  # the study of the image itself
    status, _log_reason = on.run()
    assert (status.state, status.reason) == (HistoryState.NOTHING, "PACS has none")
    assert on.sent == []


def test_images_that_the_rules_refuse_have_come(made: Any) -> None:
    """An image that the input's rules refused is not missing; the reason gives the count."""
    on = made()
    on.results = [RetrieveResult(1, 0), RetrieveResult(0, 0)]
    on.tree.refused = {"1.2.3.4"}
    status, _log_reason = on.run()
    assert (status.state, status.reason) == (HistoryState.FETCHED, "1 images; the input's rules refused 1")


def test_the_last_attempt_that_fails(made: Any) -> None:
    """Each failure is counted and recorded with the number of attempts; after the last it has failed."""
    on = made()
    on.results = [DeliveryError("no answer")] * 3
    status, _log_reason = on.run()
    assert (status.state, status.reason) == (HistoryState.FAILED, "no answer")
    counted = [
        (each.state, each.reason, attempts)
        for each, attempts, _at in on.recorder.recorded
        if each.reason != REQUESTED
    ]
    assert counted == [
        (HistoryState.FETCHING, "no answer (attempt 1 of 3)", 1),
        (HistoryState.FETCHING, "no answer (attempt 2 of 3)", 2),
        (HistoryState.FAILED, "no answer", 3),
    ]


def test_a_failure_is_made_good(made: Any) -> None:
    """An attempt that succeeds after one that failed ends the fetching."""
    on = made()
    on.results = [DeliveryError("no answer")]
    status, _log_reason = on.run()
    assert status.state is HistoryState.FETCHED
    assert on.recorder.recorded[-1][1] == 2


def test_images_that_did_not_come(made: Any) -> None:
    """Where the peer could not send some, the counts are in the reason, and it is tried again."""
    on = made()
    on.results = [RetrieveResult(1, 0), RetrieveResult(0, 1)]
    status, _log_reason = on.run(attempts=2)
    assert status.state is HistoryState.FAILED
    assert status.reason == (
        "1 of 2 images came; PACS could not send the others, or they are inputs of a job that is not over"
    )


def test_an_authors_method_that_raises(made: Any) -> None:
    """The reason names class, method and type of the exception, and does not quote it."""
    status, log_reason = made(kind=Broken).run(attempts=2)
    assert (status.state, status.reason) == (HistoryState.FAILED, "Broken.query: ValueError")
    assert "Secret" not in log_reason


def test_nobody_waits_any_more(made: Any) -> None:
    """A record whose patient has no image any more is dropped, and the peer is not asked."""
    on = made()
    on.tree.image = None
    on.fetcher.add(record())
    on.fetcher.start()
    assert on.recorder.dropped.get(timeout=20) == record()
    assert on.asked == []


@pytest.mark.parametrize("state", [HistoryState.FETCHED, HistoryState.NOTHING, HistoryState.OVER])
def test_what_is_at_its_end_is_not_fetched_again(made: Any, state: HistoryState) -> None:
    """A record that came to its end before a restart is not taken up; one that has failed is."""
    on = made()
    on.fetcher.add(replace(record(), id=0, container_key="P2", status=HistoryStatus(state)))
    status, _log_reason = on.run(state=HistoryState.FAILED)
    assert status.state is HistoryState.FETCHED
    assert on.asked == ["ID1", "studies"]
    assert on.recorder.recorded[0][0].state is HistoryState.FAILED  # until it has been fetched


def test_a_fault_of_our_own_is_tried_again(
    made: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be recorded, the type is logged without the text, and the fetching goes on later."""
    monkeypatch.setattr(fetcher, "_PAUSE", 0.0)
    on = made()
    on.recorder.failures = 1
    with caplog.at_level(logging.INFO):
        status, _log_reason = on.run()
    assert status.state is HistoryState.FETCHED
    assert "earlier images could not be fetched: OSError" in caplog.text
    assert "Secret" not in caplog.text


def test_an_attempt_that_is_broken_off_does_not_count(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails because the host stops is not recorded as an attempt."""
    on = made()
    sending = threading.Event()
    stopped = threading.Event()

    def move(*_given: Any) -> RetrieveResult:
        sending.set()
        assert stopped.wait(20)
        raise DeliveryError("broken off")

    monkeypatch.setattr(fetcher, "c_move", move)
    on.fetcher.add(record())
    on.fetcher.start()
    assert sending.wait(20)
    on.fetcher.stop()
    stopped.set()
    on.fetcher.thread.join(20)
    assert [attempts for _status, attempts, _at in on.recorder.recorded] == [0]
    assert on.recorder.finished.empty()


def test_what_is_not_due_waits(made: Any) -> None:
    """A record whose next attempt is in an hour does not keep another one from being fetched."""
    on = made()
    on.fetcher.add(replace(record(not_before=time.time() + 3600), id=0, container_key="P2"))
    status, _log_reason = on.run()
    assert status.state is HistoryState.FETCHED
    assert on.asked == ["ID1", "studies"]
