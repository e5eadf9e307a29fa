"""Where each key of the configuration comes from: a line of the file, an environment variable, or nowhere."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

_CLOSE = 0.75
"""How much alike two keys are of which one may be the other misspelt; at 0.6 `resources` is `process`."""

KeyPath = tuple[str, ...]
"""The names of tables and, at the end, of a key: ``("host", "bind")``."""


@dataclass(frozen=True)
class ConfigSources:
    """Where the keys of a configuration come from.

    Attributes
    ----------
    file : pathlib.Path or None
        The configuration file.
    text : str
        What is in it.
    variables : mapping of KeyPath to str
        Key -> the environment variable that sets it.
    """

    file: Path | None = None
    text: str = ""
    variables: Mapping[KeyPath, str] = field(default_factory=dict)

    def location(self, path: KeyPath) -> str:
        """Return where a key is set: ``dicomnode.toml:3``, a variable's name, or an empty text.

        For a key that is missing, where the table is begun that lacks it.
        """
        if variable := self._variable(path):
            return variable
        for length in range(len(path), 0, -1):
            if begun := self._line(path[:length]) or self._variable_within(path[:length]):
                return begun
        return "" if self.file is None else f"{self.file}"

    def origin(self, path: KeyPath) -> str:
        """Return where the very key is set, an empty text where it is set nowhere."""
        return self._variable(path) or self._line(path)

    def _variable(self, path: KeyPath) -> str:
        return next((name for keys, name in self.variables.items() if path[: len(keys)] == keys), "")

    def _variable_within(self, table: KeyPath) -> str:
        """Return the first variable that sets a key in a table: where no line does, it made the table."""
        return next((name for keys, name in self.variables.items() if keys[: len(table)] == table), "")

    def _line(self, path: KeyPath) -> str:
        return f"{self.file}:{self._lines[path]}" if path in self._lines else ""

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        """Return on which line each key and table begins.

        Whatever a file's beginning up to a line adds, when it is read as TOML, stands there; so TOML's own
        reader understands quotes, dots and values of several lines. Configurations are short.
        """
        found: dict[KeyPath, int] = {}
        lines = self.text.splitlines()
        begins = 1
        for number in range(1, len(lines) + 1):
            try:
                tables = tomllib.loads("\n".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue  # in the midst of a value
            for path in _paths(tables):
                found.setdefault(path, begins)
            begins = number + 1
        return found


def _paths(tables: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in tables.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, key))


# -- what a key could have been -----------------------------------------------------------------------------


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that a table may have; none where any will do, or the path leads to no table.

    Parameters
    ----------
    model : type of pydantic.BaseModel
        The class of the whole configuration.
    path : KeyPath
        The table.
    """
    table = next((each for each in _kinds_at(model, path) if _is_table(each)), None)
    return [] if table is None else list(table.model_fields)


def is_secret(model: type[BaseModel], path: KeyPath) -> bool:
    """Say whether the value of a key is a secret."""
    return SecretStr in _kinds_at(model, path)


def suggestion(key: str, known: list[str]) -> str:
    """Return what to say of a key that is not known: what was meant, or what there is."""
    if close := difflib.get_close_matches(key, known, n=1, cutoff=_CLOSE):
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; there are: {', '.join(known)}" if known else "unknown key"


def _kinds_at(annotation: Any, path: KeyPath) -> list[Any]:
    """Return what the value that a path leads to may be, by the annotations of the tables' classes."""
    kinds = _alternatives(annotation)
    if not path:
        return kinds
    for kind in kinds:
        if _is_table(kind) and path[0] in kind.model_fields:
            return _kinds_at(kind.model_fields[path[0]].annotation, path[1:])
        if get_origin(kind) is dict:  # tables, or values, that have names of the site's choice
            return _kinds_at(get_args(kind)[1], path[1:])
    return []


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [kind for each in get_args(annotation) for kind in _alternatives(each)]
    return [annotation]


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
