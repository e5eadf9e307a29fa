"""Reading the configuration: the file, what the environment says, and errors that name file, line and key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigurationError
from ..plugins.declared_tables import read_blueprint_files
from .config import Config

ENVIRONMENT_PREFIX = "DICOMNODE_"


def load_config(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration.

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
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: not TOML: {error}"
        raise ConfigurationError(msg) from error
    overridden = _override(tables, environment)
    read_blueprint_files(tables, Path() if file is None else file.parent)
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigurationError(_told(error, file, text, overridden)) from error


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


def _override(tables: dict[str, Any], environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Put what the environment says into the tables; return which variable set which key."""
    overridden = {}
    for variable in sorted(environment):
        path = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")
        if not variable.startswith(ENVIRONMENT_PREFIX) or len(path) == 1:
            continue
        table = tables
        keys = []
        for part in path[:-1]:
            keys.append(_same_key(table, part))
            table = table.setdefault(keys[-1], {})
        keys.append(_same_key(table, path[-1]))
        table[keys[-1]] = _value(environment[variable])
        overridden[tuple(keys)] = variable
    return overridden


def _same_key(table: Mapping[str, Any], part: str) -> str:
    return next((key for key in table if key.lower() == part.lower()), part.lower())


def _value(text: str) -> Any:
    """Read a value as TOML would; what is no TOML value is text, so that quotes are not needed."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _told(
    error: ValidationError, file: Path | None, text: str, overridden: Mapping[tuple[str, ...], str]
) -> str:
    told = []
    for each in error.errors():
        path = tuple(str(part) for part in each["loc"])
        source = next((variable for keys, variable in overridden.items() if path[: len(keys)] == keys), None)
        if source is None:
            line = _line_of(text, path)
            source = f"{file}" + (f":{line}" if line else "")
        what = (
            "unknown key" if each["type"] == "extra_forbidden" else each["msg"].removeprefix("Value error, ")
        )
        told.append(f"{source}: {'.'.join(path)}: {what}" if path else f"{source}: {what}")
    return "\n".join(told)


def _line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line on which a key stands, as far as it is written in the plain way."""
    table: tuple[str, ...] = ()
    found = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if path[: len(table)] == table:
                found = number
        elif (key := re.match(r"\s*([\w\"'.-]+)\s*=", line)) and path[: len(table)] == table:
            parts = (*table, *(part.strip("\"'") for part in key[1].split(".")))
            if path[: len(parts)] == parts:
                return number
    return found
