"""Names in the configuration that must be those of something else in it: of peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicomnode.host.configuration.config_sources import KeyPath
from dicomnode.host.configuration.config_values import is_network

FILE_SCHEME = "file:"


def wrong_references(tables: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key of each name that leads nowhere, and what is wrong with it.

    Parameters
    ----------
    tables : mapping
        The configuration as it was read, whatever else is wrong with it: what is no table, list or text is
        passed over here. So these are reported together with all other mistakes.
    """
    peers = _table(tables.get("peers"))
    for name in _texts(_table(tables.get("host")).get("allow")):
        if name not in peers and not is_network(name):
            what = f"{name!r} is no peer ({_known(peers)}), IP address or network"
            yield ("host", "allow"), what
    for pipeline, table in _table(tables.get("pipelines")).items():
        said = _table(table)
        names = [("destinations", name) for name in _texts(said.get("destinations"))]
        names += [("history", name) for name in _texts([said.get("history")])]
        for key, name in names:
            if (wrong := _no_receiver(name, peers, key)) is not None:
                yield ("pipelines", pipeline, key), wrong


def _no_receiver(name: str, peers: Mapping[str, Any], key: str) -> str | None:
    """Say why nothing can be sent to, or asked of, a peer; ``None`` where it can."""
    if key == "destinations" and name.startswith(FILE_SCHEME):
        return None
    if name not in peers:
        if key == "history":
            return f"{name!r} is not a peer ({_known(peers)})"
        return f"{name!r} is neither a peer ({_known(peers)}) nor {FILE_SCHEME}/a/folder"
    if _table(peers[name]).get("address") is None:
        return f"the peer {name!r} has no address: set peers.{name}.address"
    return None


def _known(peers: Mapping[str, Any]) -> str:
    return f"there are: {', '.join(peers) or 'none'}"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


__all__ = ["FILE_SCHEME", "wrong_references"]
