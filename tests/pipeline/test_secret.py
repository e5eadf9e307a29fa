"""Secrets: read from a variable or a file, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from dicomnode import Secret
from dicomnode.pipeline.secret import MissingVariableError


class Settings(BaseModel):
    """Settings with a secret."""

    token: Secret


def secret(value: object) -> str:
    """Return a secret that was written in some way."""
    return Settings.model_validate({"token": value}).token.get_secret_value()


def test_where_a_secret_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, from a file without the space around it, or as it stands."""
    monkeypatch.setenv("TOKEN_OF_A_TEST", " swordfish ")
    (tmp_path / "token").write_text("  sesame\n\n")
    assert secret({"env": "TOKEN_OF_A_TEST"}) == " swordfish "
    assert secret({"file": str(tmp_path / "token")}) == "sesame"
    assert secret("plain") == "plain"


def test_a_secret_is_not_shown() -> None:
    """Neither printed, nor dumped."""
    settings = Settings(token="swordfish")  # type: ignore[arg-type]  # as the configuration has it
    assert "swordfish" not in f"{settings!r} {settings} {settings.model_dump(mode='json')}"


def test_a_variable_that_is_lacking() -> None:
    """The cause has the variable's name, so that a command can tell this from other faults."""
    with pytest.raises(ValidationError, match="the environment has no variable NO_SUCH_VARIABLE") as caught:
        secret({"env": "NO_SUCH_VARIABLE"})
    cause = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, MissingVariableError)
    assert cause.variable == "NO_SUCH_VARIABLE"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"file": "/no/such/file"}, "/no/such/file cannot be read: No such file or directory"),
        ({"vault": "x"}, "a secret is text, "),
        ({"env": "A", "file": "b"}, "a secret is text, "),
        ({}, "a secret is text, "),
        (12345, "valid string"),
    ],
)
def test_what_is_no_secret(value: object, message: str) -> None:
    """The message says how to write one, or what cannot be read."""
    with pytest.raises(ValidationError, match=message):
        secret(value)
