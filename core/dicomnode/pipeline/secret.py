"""A secret in the configuration: read from a variable or a file, and shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr


class MissingVariableError(ValueError):
    """The environment lacks the variable that holds a secret."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"the environment has no variable {variable}")
        self.variable = variable


def _read_secret(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if set(value) == {"env"}:
        text = os.environ.get(str(value["env"]))
        if text is None:
            raise MissingVariableError(str(value["env"]))
        return text
    if set(value) == {"file"}:
        try:
            return Path(str(value["file"])).read_text(encoding="utf-8").strip()
        except OSError as error:
            msg = f"{value['file']} cannot be read: {error.strerror}"
            raise ValueError(msg) from error
    msg = 'a secret is text, { env = "VARIABLE" } or { file = "/path" }'
    raise ValueError(msg)


Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
"""The type of a setting that is a secret: a password, say.

In the configuration it is text, ``{ env = "VARIABLE" }`` or ``{ file = "/path" }``; in Python a
:class:`pydantic.SecretStr`, whose ``get_secret_value()`` is the text. It is shown as asterisks wherever
configuration is shown, in the record of a result too.
"""
