"""Names in the configuration that must be those of peers."""

from __future__ import annotations

from typing import Any

import pytest

from dicomnode.host.configuration.references import wrong_references

PEERS: dict[str, Any] = {"PACS": {"address": "a:1"}, "CT": {"ae_title": "CT"}}


@pytest.mark.parametrize(
    ("tables", "key", "message"),
    [
        ({"host": {"allow": ["MR"]}}, ("host", "allow"), "'MR' is no peer (there are: PACS, CT), IP address"),
        (
            {"pipelines": {"p": {"destinations": ["file:/srv", "MR"]}}},
            ("pipelines", "p", "destinations"),
            "'MR' is neither a peer (there are: PACS, CT) nor file:/a/folder",
        ),
        (
            {"pipelines": {"p": {"destinations": ["CT"]}}},
            ("pipelines", "p", "destinations"),
            "the peer 'CT' has no address: set peers.CT.address",
        ),
        (
            {"pipelines": {"p": {"history": "file:/x"}}},
            ("pipelines", "p", "history"),
            "'file:/x' is not a peer",
        ),
        (
            {"pipelines": {"p": {"history": "CT"}}},
            ("pipelines", "p", "history"),
            "the peer 'CT' has no address",
        ),
    ],
)
def test_a_name_that_refers_to_nothing(tables: dict[str, Any], key: tuple[str, ...], message: str) -> None:
    """Each is found with its key and what there is."""
    ((path, what),) = wrong_references({"peers": PEERS, **tables})
    assert path == key
    assert what.startswith(message)


def test_names_that_are_right() -> None:
    """Peers with an address, folders, addresses and networks."""
    tables = {
        "host": {"allow": ["PACS", "CT", "10.0.0.7", "10.0.0.0/8", "::1"]},
        "pipelines": {"p": {"destinations": ["PACS", "file:/srv"], "history": "PACS"}},
    }
    assert list(wrong_references({"peers": PEERS, **tables})) == []


@pytest.mark.parametrize(
    "tables",
    [
        {"peers": 3, "host": 4, "pipelines": 5},
        {"host": {"allow": "PACS"}, "pipelines": {"p": 6}},
        {"pipelines": {"p": {"destinations": [7], "history": 8}}},
    ],
)
def test_what_is_wrong_in_another_way_is_passed_over(tables: dict[str, Any]) -> None:
    """A value of another type is reported by its own check."""
    assert list(wrong_references(tables)) == []
