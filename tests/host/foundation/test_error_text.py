"""What of an exception may be in the log: nothing that could quote an image, or a plugin's words."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError, DataDirectoryError, DeliveryError, DicomError, ListenError
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.host.foundation.error_text import delivery_reason, harmless_text, loggable_text, type_and_line

NAME = "Smith^John"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigurationError("the key"), "the key"),
        (DataDirectoryError("the disk"), "the disk"),
        (ListenError("the port"), "the port"),
        (sqlite3.OperationalError("locked"), "locked"),
        (OSError(errno.ENOSPC, "No space left", f"/data/{NAME}"), "No space left"),
        (OSError("no number"), ""),
        (DicomError(NAME), ""),
        (ValueError(NAME), ""),
    ],
)
def test_what_quotes_nobody_is_told(error: Exception, text: str) -> None:
    """The text of the host's own errors and of the operating system; of all others the type alone."""
    assert harmless_text(error) == text
    assert loggable_text(error) == (text or type(error).__name__)
    assert NAME not in loggable_text(error)


def test_the_hosts_own_reason_of_a_delivery_is_told(tmp_path: Path) -> None:
    """Raised in the host, the message is told, without the comment of a peer."""
    (tmp_path / "file").touch()
    with pytest.raises(DeliveryError) as caught:
        next(FolderDestination("file:", tmp_path / "file").send([]))
    assert delivery_reason(caught.value).startswith(f"the folder {tmp_path / 'file'} cannot be used")


def test_an_authors_reason_of_a_delivery_is_not_told() -> None:
    """Raised anywhere else, or not at all, it is the type that is told."""
    with pytest.raises(DeliveryError) as caught:
        raise DeliveryError(NAME)
    assert delivery_reason(caught.value) == "DeliveryError"
    assert delivery_reason(DeliveryError(NAME)) == "DeliveryError"


def test_where_an_exception_comes_from() -> None:
    """The type, and file and line of the innermost frame; the type alone of one that was not raised."""

    def inner() -> None:
        raise ValueError(NAME)

    with pytest.raises(ValueError, match="Smith") as caught:
        inner()
    line = inner.__code__.co_firstlineno + 1
    assert type_and_line(caught.value) == f"ValueError at {__file__}:{line}"
    assert type_and_line(ValueError(NAME)) == "ValueError"
