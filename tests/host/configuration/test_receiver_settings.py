"""The settings of the receiver: what contradicts itself, and who could reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.receiver_settings import (
    AllowedPeer,
    ReceiverSettings,
    TLSSettings,
    is_loopback,
)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_pdu_length": 4095}, "max_pdu_length is 4095: it must be from 4096 to 16777216 bytes"),
        ({"max_pdu_length": 2**24 + 1}, "max_pdu_length is 16777217"),
        ({"max_associations": 0}, "must be at least 1"),
        ({"max_associations_per_address": 0}, "must be at least 1"),
        ({"receivers": 0}, "receivers is 0: it must be from 1 to 64"),
        ({"receivers": 65}, "receivers is 65"),
        ({"acse_timeout": 0}, "acse_timeout must be more than 0 seconds"),
        ({"idle_timeout": -1}, "idle_timeout must be more than 0 seconds"),
    ],
)
def test_values_that_cannot_be(values: dict[str, Any], message: str) -> None:
    """Each is refused by its name, with what it may be."""
    with pytest.raises(ConfigurationError, match=message):
        ReceiverSettings(**values)


TLS = TLSSettings(Path("c"), Path("k"))
MUTUAL = TLSSettings(Path("c"), Path("k"), Path("a"))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "node.example"])
def test_closed_by_default(host: str) -> None:
    """An address that others reach needs a list of peers, mutual TLS, or the word ``insecure``."""
    for values in ({}, {"tls": TLS}):
        with pytest.raises(ConfigurationError, match=r"would listen on .* for everybody"):
            ReceiverSettings(host=host, **values)
    for allowed in ({"insecure": True}, {"peers": (AllowedPeer("CT"),)}, {"tls": MUTUAL}):
        assert ReceiverSettings(host=host, **allowed).host == host


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("x", False),
    ],
)
def test_what_other_machines_cannot_reach(host: str, loopback: bool) -> None:
    """Loopback addresses by number, and localhost by name; another name may be anything."""
    assert is_loopback(host) is loopback
    if loopback:
        assert ReceiverSettings(host=host).host == host
