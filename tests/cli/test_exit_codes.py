"""Exit codes: a script learns from the number what kind of error it was."""

from __future__ import annotations

import pytest

from dicomnode.cli.exit_codes import CANNOT_RUN, DONE, INTERRUPTED, NOT_DONE, WRONG_USE, exit_code_of
from dicomnode.errors import (
    ConfigurationError,
    DataDirectoryError,
    DeliveryError,
    DicomnodeError,
    JobStateError,
    ListenError,
    PluginError,
    SettingsError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("host.bind: wrong"), 2),
        (SettingsError([(("sigma",), "not a number")]), 2),
        (DataDirectoryError("held"), 3),
        (ListenError("taken"), 3),
        (PluginError("broken"), 1),
        (JobStateError("there is no job 7"), 1),
        (DeliveryError("no association"), 1),
        (DicomnodeError("anything else"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DicomnodeError) else None,
)
def test_each_kind_of_error_has_its_code(error: DicomnodeError, code: int) -> None:
    """Configuration 2 (settings included), data directory and address 3, everything else 1."""
    assert exit_code_of(error) == code


def test_the_codes_are_those_of_the_documentation() -> None:
    """Scripts depend on the numbers: they do not change."""
    assert (DONE, NOT_DONE, WRONG_USE, CANNOT_RUN, INTERRUPTED) == (0, 1, 2, 3, 130)
