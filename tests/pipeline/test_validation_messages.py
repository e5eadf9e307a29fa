"""The messages of pydantic in the words of a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from dicomnode.pipeline.validation_messages import plain_message


class Model(BaseModel):
    """A table with one key."""

    size: int

    @field_validator("size")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


@dataclass
class Data:
    """A table with one key."""

    size: int


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (tuple[int, ...], 3, "Input should be a list"),
        (list[int], 3, "Input should be a list"),
        (set[int], 3, "Input should be a list"),
        (frozenset[int], 3, "Input should be a list"),
        (dict[str, int], 3, "Input should be a table"),
        (Model, 3, "Input should be a table"),
        (Data, 3, "Input should be a table"),
        (Model, {}, "must be set"),
        (Model, {"size": 3}, "must be even"),
        (int, "x", "Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_message(kind: Any, value: object, message: str) -> None:
    """It names lists and tables, no type or exception of Python's."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert plain_message(caught.value.errors()[0]) == message
