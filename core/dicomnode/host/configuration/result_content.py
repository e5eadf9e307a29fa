"""What decides about the content of a pipeline's results, besides the images: as a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from dicomnode.plugins.registry import Registration

_ROUNDS = 200_000
"""A digest of a short password could be guessed by trying; that many rounds make each try cost something."""


def content_digest(registration: Registration, declared: Mapping[str, Any] | None, settings: str) -> str:
    """Return a digest of what decides about the content of a pipeline's results.

    Parameters
    ----------
    registration : Registration
        The plugin: its name, distribution and version count.
    declared : mapping, optional
        What the configuration declares of the pipeline.
    settings : str
        What :func:`settings_digest` returned.
    """
    plugin = [registration.name, registration.distribution, registration.version]
    return _digest([plugin, _plain(declared or {}), settings])


def settings_digest(settings: object) -> str:
    """Return a digest of effective settings, with their defaults, the same on every machine.

    Secrets count, but cannot be read from it. Of a path its text counts, not what is in the file.

    Parameters
    ----------
    settings : object
        A mapping, or an object of a settings class.
    """
    return _digest(_plain(settings))


def _digest(plain: object) -> str:
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> Any:
    """Return plain data that is the same for equal settings, in whatever order they were written."""
    match value:
        case SecretStr() | SecretBytes():
            return {"secret": _unreadable(value.get_secret_value())}
        case None | bool() | int() | float() | str():
            return value
        case Set():
            return sorted(map(_plain, value), key=json.dumps)
        case list() | tuple():
            return [_plain(each) for each in value]
    named = _named(value)
    return _text(value) if named is None else {str(key): _plain(each) for key, each in named.items()}


def _named(value: object) -> Mapping[Any, Any] | None:
    """Return the values of what has them by name: a table, a settings object."""
    if isinstance(value, BaseModel):
        own = {name: getattr(value, name) for name in type(value).model_fields}
        return own | (value.model_extra or {})
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return value if isinstance(value, Mapping) else None


def _text(value: Any) -> str:
    """Return text of a value that has its own, and of any other its name: addresses in memory say nothing."""
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    kind: Any = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return _text(kind)
    return str(value)


def _unreadable(secret: str | bytes) -> str:
    text = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return hashlib.pbkdf2_hmac("sha256", text, b"dicomnode settings", _ROUNDS).hex()
