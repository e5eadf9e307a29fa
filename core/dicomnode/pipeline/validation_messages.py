"""The messages of pydantic in the words of a TOML file."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_IN_TOML = {
    "tuple_type": "Input should be a list",
    "list_type": "Input should be a list",
    "set_type": "Input should be a list",
    "frozen_set_type": "Input should be a list",
    "dict_type": "Input should be a table",
    "model_type": "Input should be a table",
    "model_attributes_type": "Input should be a table",
    "dataclass_type": "Input should be a table",
    "missing": "must be set",
}
"""Kinds of error whose messages name types of Python."""


def plain_message(error: ErrorDetails) -> str:
    """Return what is wrong with a value, without the names of Python's types and exceptions."""
    return _IN_TOML.get(error["type"]) or error["msg"].removeprefix("Value error, ")


__all__ = ["plain_message"]
