"""From the configuration to the receiver's settings."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.receiver_building import receiver_settings
from dicomnode.host.configuration.receiver_settings import AllowedPeer


def settings_of(**tables: Any) -> Any:
    """Return the receiver's settings of some tables."""
    return receiver_settings(Config.model_validate(tables))


def test_the_tables_become_settings() -> None:
    """Keys of [host], [receiver] and [tls] are taken over."""
    made = settings_of(
        host={"bind": "127.0.0.1:104", "ae_title": "NODE", "durability": "process"},
        receiver={"max_associations": 7, "idle_timeout": "2 min"},
        tls={"certificate": "/c.pem", "key": "/k.pem", "authorities": "/a.pem"},
    )
    assert (made.host, made.port, made.ae_title, made.durability) == ("127.0.0.1", 104, "NODE", "process")
    assert (made.max_associations, made.idle_timeout) == (7, 120)
    assert [str(each) for each in (made.tls.certificate, made.tls.key, made.tls.authorities)] == [
        "/c.pem", "/k.pem", "/a.pem",
    ]  # fmt: skip
    assert settings_of().tls is None


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ({"network": "10.0.0.0/24", "address": "10.0.0.4:1"}, "10.0.0.0/24"),
        ({"address": "10.0.0.4:1"}, "10.0.0.4"),
        ({"address": "[::1]:1"}, "::1"),
        ({"address": "pacs.example:1"}, None),
        ({}, None),
    ],
)
def test_from_where_a_peer_may_come(peer: dict[str, str], network: str | None) -> None:
    """From its network, else from its address where that is a number: a name may have others."""
    made = settings_of(
        host={"allow": ["CT"]}, peers={"CT": {"ae_title": "CT1", "certificate": "ct.example", **peer}}
    )
    expected = None if network is None else ipaddress.ip_network(network)
    assert made.peers == (AllowedPeer("CT1", expected, "ct.example"),)


def test_an_address_that_is_allowed_may_have_any_title() -> None:
    """What is listed by address or network is not asked for its AE title."""
    made = settings_of(host={"allow": ["10.0.0.9/8"]})
    assert made.peers == (AllowedPeer(network=ipaddress.ip_network("10.0.0.0/8")),)


def test_a_receiver_for_everybody_is_refused_by_its_key() -> None:
    """Closed by default: an address that others reach needs peers, mutual TLS or ``insecure``."""
    with pytest.raises(ConfigurationError, match=r"^host\.bind: the receiver would listen on 0\.0\.0\.0"):
        settings_of(host={"bind": "0.0.0.0:11112"})
