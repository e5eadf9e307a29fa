"""Where each key of the configuration comes from, and what a key could have been."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.config_sources import ConfigSources, is_secret, known_keys, suggestion

KEYS = st.text("abcdefghijklmnopqrstuvwxyz_-", min_size=1, max_size=8)
VALUES = st.sampled_from(
    ['"text"', "1", "[\n 1,\n 2,\n]", '"""\n[table]\nkey = 1\n"""', "{ a = 1, b = { c = 2 } }"]
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4), st.data())
def test_the_line_of_every_key_is_found(tables: dict[str, dict[str, str]], data: st.DataObject) -> None:
    """Values of several lines, and lines in them that look like tables, do not change the result."""
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for name, keys in tables.items():
        lines += data.draw(st.lists(st.sampled_from(["", "# [comment]"]), max_size=2))
        lines.append(f"[{name}]")
        expected[name,] = len(lines)
        for key, value in keys.items():
            expected[name, key] = len("\n".join([*lines, ""]).split("\n"))
            lines += f"{key} = {value}".split("\n")
    sources = ConfigSources(Path("x.toml"), "\n".join(lines))
    assert {path: sources.origin(path) for path in expected} == {
        path: f"x.toml:{line}" for path, line in expected.items()
    }
    assert sources.origin(("no such table",)) == ""


SOURCES = ConfigSources(
    Path("x.toml"),
    "[host]\nbind = '127.0.0.1:1'\n\n[peers.PACS]\nae_title = 'A'\n",
    {("host", "drain"): "DICOMNODE_HOST__DRAIN", ("log", "level"): "DICOMNODE_LOG__LEVEL"},
)


@pytest.mark.parametrize(
    ("path", "location", "origin"),
    [
        (("host", "bind"), "x.toml:2", "x.toml:2"),
        (("host", "drain"), "DICOMNODE_HOST__DRAIN", "DICOMNODE_HOST__DRAIN"),
        (("host", "ae_title"), "x.toml:1", ""),
        (("peers", "PACS", "address"), "x.toml:4", ""),
        (("log", "file"), "DICOMNODE_LOG__LEVEL", ""),
        (("retention", "inputs"), "x.toml", ""),
    ],
)
def test_a_key_that_is_missing_is_located_by_its_table(
    path: tuple[str, ...], location: str, origin: str
) -> None:
    """Its location is where its table begins, or the variable that made the table; its origin is nowhere."""
    assert (SOURCES.location(path), SOURCES.origin(path)) == (location, origin)


def test_a_configuration_without_a_file() -> None:
    """A program that makes a configuration has no location for a key."""
    assert ConfigSources().location(("host", "bind")) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("host",), "bind"),
        (("peers", "PACS"), "ae_title"),
        (("peers", "PACS", "tls"), "key_password"),
        (("pipelines", "any", "inputs", "images"), "required_tags"),
        (("pipelines", "any", "settings"), None),
        (("nowhere",), None),
    ],
)
def test_the_keys_of_a_table(path: tuple[str, ...], expected: str | None) -> None:
    """Tables within tables are followed; of a table of the site's own names no key is known."""
    known = known_keys(Config, path)
    assert expected in known if expected else known == []


def test_secrets_are_known_by_their_type() -> None:
    """A password is a secret wherever its table is, the path beside it is not."""
    assert is_secret(Config, ("peers", "PACS", "tls", "key_password"))
    assert not is_secret(Config, ("peers", "PACS", "tls", "key"))


@pytest.mark.parametrize(
    ("key", "known", "text"),
    [
        ("ae_titel", ["ae_title", "bind"], "unknown key; did you mean ae_title?"),
        ("resources", ["process"], "unknown key; there are: process"),
        ("x", [], "unknown key"),
    ],
)
def test_what_was_meant(key: str, known: list[str], text: str) -> None:
    """A key that is nearly another is taken for that one; else the known ones are listed."""
    assert suggestion(key, known) == text
