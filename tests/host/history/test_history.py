"""The station that fetches earlier images: whom it asks, and what it does without anybody to ask."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.history.history import history_peers
from dicomnode.host.ledger.history_ledger import (
    begin_history,
    end_histories,
    open_histories,
    transition_history,
)
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.upkeep.retention import forget_before
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput

FETCHING = HistoryStatus(HistoryState.FETCHING, "PACS", "asked for", "P1")
PEERS = {
    "PACS": {"ae_title": "PACS", "address": "127.0.0.1:4242"},
    "OTHER": {"ae_title": "OTHER", "address": "127.0.0.1:4243"},
    "SCANNER": {"ae_title": "SCANNER"},
}


class Pipeline:
    """A pipeline with one input that fetches."""

    inputs = {"now": AbstractInput, "earlier": HistoricAbstractInput}


class FakeNode:
    """A configured pipeline, as far as it is looked at."""

    def __init__(self, config: Config, *, fetches: bool = True) -> None:
        self.name = "compare"
        self.table = (config.pipelines or {})["compare"]
        self.pipeline = Pipeline()
        if not fetches:
            self.pipeline.inputs = {"now": AbstractInput}  # type: ignore[misc]  # a pipeline that fetches nothing


def config(peers: tuple[str, ...], history: str | None = None) -> Config:
    table = {} if history is None else {"history": history}
    return Config.model_validate(
        {"peers": {name: PEERS[name] for name in peers}, "pipelines": {"compare": table}}
    )


@pytest.mark.parametrize(
    ("peers", "history", "asked"),
    [
        (("PACS",), None, "PACS"),
        (("PACS", "SCANNER"), None, "PACS"),
        (("PACS", "OTHER"), "OTHER", "OTHER"),
        (("PACS", "OTHER"), None, None),
        (("SCANNER",), None, None),
        ((), None, None),
    ],
)
def test_whom_it_asks(peers: tuple[str, ...], history: str | None, asked: str | None) -> None:
    """The peer that is named, else the only one with an address; nobody where that is not clear."""
    made = config(peers, history)
    found = history_peers(made, [FakeNode(made)])  # type: ignore[list-item]  # as much of it as is looked at
    assert {name: peer.name for name, peer in found.items()} == ({"compare": asked} if asked else {})
    assert history_peers(made, [FakeNode(made, fetches=False)]) == {}  # type: ignore[list-item]  # as much of it as is looked at


@pytest.mark.parametrize(("name", "told"), [("PASC", "'PASC' is not a peer"), ("SCANNER", "has no address")])
def test_a_peer_that_is_not_there(tmp_path: Path, name: str, told: str) -> None:
    """A name that is no peer, or a peer that cannot be asked, is an error that names file, line and key."""
    file = tmp_path / "dicomnode.toml"
    file.write_text(f'[peers.SCANNER]\nae_title = "S"\n\n[pipelines.compare]\nhistory = "{name}"\n')
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_config(file, {})
    assert "pipelines.compare.history" in str(caught.value)


def test_the_ledger_keeps_how_far_it_is(tmp_path: Path) -> None:
    """State, reason and what was asked for are there after a restart; each change of state is noted."""
    with Ledger(tmp_path / "ledger", durable=False) as ledger:
        number = ledger.write(begin_history("compare", "P1", "earlier", FETCHING))
        asked = HistoryStatus(HistoryState.FETCHING, "PACS", "2nd", "P1", frozenset({"1.2", "1.3"}))
        ledger.write(transition_history(number, asked, attempts=1, not_before=12.0))
    with Ledger(tmp_path / "ledger", durable=False) as ledger:
        with ledger.snapshot() as connection:
            (record,) = open_histories(connection)
        assert (record.id, record.status, record.attempts, record.not_before) == (number, asked, 1, 12.0)
        done = HistoryStatus(HistoryState.FETCHED, "PACS", "3 images", "P1", asked.asked_for)
        ledger.write(transition_history(number, done, attempts=2))
        ledger.write(end_histories("compare", "P1"))
        with ledger.snapshot() as connection:
            assert open_histories(connection) == []
        moves = [(old, new) for old, new, _reason, _at in ledger.transitions("history", number)]
        assert moves == [("", "fetching"), ("fetching", "fetched"), ("fetched", "over")]
        with pytest.raises(ValueError, match="over to fetching"):
            ledger.write(transition_history(number, FETCHING, attempts=3))


def test_beginning_anew_ends_what_was(tmp_path: Path) -> None:
    """One fetching at a time for an input of a patient; those of other inputs and patients stay."""
    with Ledger(tmp_path / "ledger", durable=False) as ledger:
        for container_key, name in (
            ("P1", "earlier"),
            ("P1", "oldest"),
            ("P2", "earlier"),
            ("P1", "earlier"),
        ):
            ledger.write(begin_history("compare", container_key, name, FETCHING))
        with ledger.snapshot() as connection:
            found = [(record.id, record.container_key, record.input) for record in open_histories(connection)]
    assert found == [(2, "P1", "oldest"), (3, "P2", "earlier"), (4, "P1", "earlier")]


def test_old_records_are_removed(tmp_path: Path) -> None:
    """What was over before a moment goes with its changes of state; what is not over stays."""
    with Ledger(tmp_path / "ledger", durable=False) as ledger:
        for container_key in ("P1", "P2"):
            ledger.write(begin_history("compare", container_key, "earlier", FETCHING))
        ledger.write(end_histories("compare", "P1"))
        ledger.write(forget_before(time.time() + 1))
        with ledger.snapshot() as connection:
            assert [record.container_key for record in open_histories(connection)] == ["P2"]
            assert connection.execute("SELECT count(*) FROM history").fetchone()[0] == 1
        assert ledger.transitions("history", 1) == []
        assert len(ledger.transitions("history", 2)) == 1
