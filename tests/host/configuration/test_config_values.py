"""The kinds of values in the configuration, as text and as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dicomnode.host.configuration.config_values import (
    AddressText,
    AETitle,
    Bytes,
    FilePath,
    Names,
    Network,
    Seconds,
    SecondsOrNone,
    is_network,
    parse_address,
)


def read(kind: Any, value: object, **context: object) -> Any:
    """Return a value as the configuration reads it."""
    return TypeAdapter(kind).validate_python(value, context=context)


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (Seconds, "90 s", 90),
        (Seconds, "10 min", 600),
        (Seconds, "2h", 7200),
        (Seconds, " 14 d ", 14 * 86400),
        (Seconds, 1.5, 1.5),
        (Seconds, "250 ms", 0.25),
        (Seconds, "7", 7),
        (SecondsOrNone, 0, 0),
        (Bytes, "500 MB", 500 * 2**20),
        (Bytes, "1.5 GiB", 3 * 2**29),
        (Bytes, "2k", 2048),
        (Bytes, "17", 17),
        (Bytes, 0, 0),
        (AETitle, "  CT 1 ", "CT 1"),
        (AETitle, "x" * 16, "x" * 16),
        (Names, "PACS, CT ,,", ("PACS", "CT")),
        (Names, ["PACS"], ("PACS",)),
        (Network, "10.0.0.7", "10.0.0.7"),
        (Network, "fe80::/10", "fe80::/10"),
    ],
)
def test_values_as_they_are_written(kind: Any, written: object, value: object) -> None:
    """Text has units, and a number is seconds or bytes."""
    assert read(kind, written) == value


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (Seconds, 0, "greater than 0"),
        (SecondsOrNone, -1, "greater than or equal to 0"),
        (Seconds, "soon", "a duration is a number of seconds"),
        (Seconds, "1 s 2", "a duration is"),
        (Bytes, "-1", "a size is a number of bytes"),
        (Bytes, "2 PB", "a size is"),
        (AETitle, "", "1 to 16 characters"),
        (AETitle, "x" * 17, "1 to 16 characters"),
        (AETitle, "A\\B", "1 to 16 characters"),
        (AETitle, "Å", "1 to 16 characters"),
        (Network, "10.0", "a network is an IP address"),
        (AddressText, "10.0.0.4", "an address is HOST:PORT"),
        (AddressText, ":4242", "an address is HOST:PORT"),
        (AddressText, "a:65536", "an address is HOST:PORT"),
        (AddressText, "a:-1", "an address is HOST:PORT"),
    ],
)
def test_values_that_are_wrong(kind: Any, written: object, message: str) -> None:
    """The message says what the value must be."""
    with pytest.raises(ValidationError, match=message):
        read(kind, written)


@given(
    host=st.from_regex(r"[a-z0-9.-]{1,12}", fullmatch=True) | st.ip_addresses().map(str),
    port=st.integers(0, 65535),
)
def test_an_address_survives_text(host: str, port: int) -> None:
    """An address that is written out is read as the same: IPv6 in brackets, names as they are."""
    address = parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    assert (address.host, address.port) == (host, port)
    assert parse_address(str(address)) == address
    assert read(AddressText, str(address)) == address


def test_networks() -> None:
    """Addresses and ranges are networks, names are not; a range may be written by any of its addresses."""
    assert is_network("10.0.0.1/24")
    assert not is_network("PACS")


def test_paths_of_files() -> None:
    """A relative path is relative to the configuration's folder; the user's home is not."""
    assert read(FilePath, "keys/c.pem", folder=Path("/etc/dicomnode")) == Path("/etc/dicomnode/keys/c.pem")
    assert read(FilePath, "/k.pem", folder=Path("/etc/dicomnode")) == Path("/k.pem")
    assert read(FilePath, "~/c.pem", folder=Path("/etc")) == Path.home() / "c.pem"
    assert read(FilePath, "c.pem") == Path("c.pem")
