"""Reading the configuration: the file, what the environment says, and errors that name file, line and key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import WRONG_REFERENCE, Config
from dicomnode.host.configuration.config_sources import (
    ConfigSources,
    KeyPath,
    is_secret,
    known_keys,
    suggestion,
)
from dicomnode.host.configuration.references import wrong_references
from dicomnode.pipeline.validation_messages import plain_message
from dicomnode.plugins.declared_tables import read_blueprint_files

ENVIRONMENT_PREFIX = "DICOMNODE_"
_LONGEST_SHOWN = 60


def load_config(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration.

    Relative paths in it are relative to the file's folder.

    Parameters
    ----------
    file : pathlib.Path or None
        The TOML file; ``None`` for the defaults.
    environment : mapping of str to str
        Where ``DICOMNODE_...`` variables are looked for.

    Raises
    ------
    ConfigurationError
        Naming the file, the line and the key of everything that is wrong.
    """
    text = "" if file is None else _read(file)
    folder = Path.cwd() if file is None else file.absolute().parent
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: not TOML: {error}"
        raise ConfigurationError(msg) from error
    overridden, problems = _override(tables, environment)
    sources = ConfigSources(file, text, overridden)
    wrong = [*read_blueprint_files(tables, folder), *wrong_references(tables)]
    try:
        config = Config.model_validate(tables, context={"folder": folder})
    except ValidationError as error:
        problems += [_error_line(each, sources) for each in error.errors() if each["type"] != WRONG_REFERENCE]
    problems += [f"{_label(path, sources)}{what}" for path, what in wrong]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config.from_sources(sources)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{file}: there is no such configuration file"
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        msg = f"{file}: not UTF-8 (byte {error.start})"
    raise ConfigurationError(msg)


def _override(tables: dict[str, Any], environment: Mapping[str, str]) -> tuple[dict[KeyPath, str], list[str]]:
    """Put what the environment says into the tables.

    Returns
    -------
    overridden : dict of KeyPath to str
        Which variable set, or unset, which key.
    problems : list of str
        What could not be put in.
    """
    overridden: dict[KeyPath, str] = {}
    problems: list[str] = []
    for variable in sorted(environment):
        parts = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
        if not variable.startswith(ENVIRONMENT_PREFIX) or len(parts) == 1:
            continue
        try:
            overridden[_set(tables, parts, environment[variable])] = variable
        except ConfigurationError as error:
            problems.append(f"{variable}: {error}")
    return overridden, problems


def _set(tables: dict[str, Any], parts: list[str], text: str) -> KeyPath:
    """Set the key that a variable names, or unset it where the variable is empty; return the key."""
    table = tables
    keys: KeyPath = ()
    for part in parts[:-1]:
        keys = (*keys, _same_key(table, part))
        # What unsets a key is no reason for a table to be there.
        table = table.setdefault(keys[-1], {}) if text else table.get(keys[-1], {})
        if not isinstance(table, dict):
            msg = f"{'.'.join(keys)} is a value, and no table that could hold {parts[-1].lower()}"
            raise ConfigurationError(msg)
    keys = (*keys, _same_key(table, parts[-1]))
    if text:
        table[keys[-1]] = _value(text)
    else:
        table.pop(keys[-1], None)
    return keys


def _same_key(table: Mapping[str, Any], part: str) -> str:
    """Return how a key that is there already is spelt: a variable's name has capitals and no hyphens."""
    wanted = part.lower().replace("-", "_")
    return next((key for key in table if key.lower().replace("-", "_") == wanted), part.lower())


def _value(text: str) -> Any:
    """Read a value as TOML would; what is no TOML value is text, so that quotes are not needed."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _error_line(error: ErrorDetails, sources: ConfigSources) -> str:
    """Return one thing that is wrong, in a line."""
    path = tuple(part for part in error["loc"] if isinstance(part, str))
    from_variable = sources.location(path) in sources.variables.values()
    return f"{_label(path, sources)}{_message(error, path, from_variable=from_variable)}"


def _label(path: KeyPath, sources: ConfigSources) -> str:
    return "".join(f"{each}: " for each in (sources.location(path), ".".join(path)) if each)


def _message(error: ErrorDetails, path: KeyPath, *, from_variable: bool) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return suggestion(path[-1], known_keys(Config, path[:-1]))
    what = plain_message(error)
    if isinstance(value, str | int | float) and not is_secret(Config, path):
        shown = repr(value)
        what += f" (it is {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '...'})"
    if kind == "string_type" and from_variable:
        what += f"; write it as '\"{value}\"', in quotes within quotes, to have it taken as text"
    return what
