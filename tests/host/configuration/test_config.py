"""The tables of the configuration: how keys are called, what differs, and names that refer to others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dicomnode.host.configuration.config import Config


def test_a_configuration_made_by_a_program_names_keys_alone() -> None:
    """Where there is neither file nor environment."""
    assert Config().label(("host", "bind")) == "host.bind"


@pytest.mark.parametrize(
    ("change", "tables"),
    [
        ({}, []),
        ({"peers": {"CT": {"ae_title": "CT"}}}, []),
        ({"host": {"allow": ("10.0.0.0/8",)}}, []),
        ({"host": {"allow": ("10.0.0.0/8",), "ae_title": "OTHER"}}, ["host"]),
        ({"log": {"level": "DEBUG"}, "retention": {"inputs": 7}}, ["log", "retention"]),
    ],
)
def test_changes_that_need_a_restart(change: dict[str, object], tables: list[str]) -> None:
    """Who the peers are, and who may associate, may change while the host runs; other tables may not."""
    assert Config().changed_besides_peers(Config.model_validate(change)) == tables


def test_names_that_refer_to_nothing() -> None:
    """A program that makes a configuration is told as the reader of a file is."""
    with pytest.raises(ValidationError, match=r"pipelines\.smooth\.destinations: 'PACS' is neither a peer"):
        Config.model_validate({"pipelines": {"smooth": {"destinations": ["PACS"]}}})
