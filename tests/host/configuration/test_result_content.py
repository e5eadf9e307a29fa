"""What decides about the content of results, as a digest: it must change with them, and with nothing else."""

import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydantic import BaseModel, SecretStr

from dicomnode.host.configuration.result_content import content_digest, settings_digest
from dicomnode.plugins.registry import Registration


def _registration(name: str = "smooth", distribution: str = "smooth", version: str = "1.0") -> Registration:
    return Registration("pipelines", name, "smooth:Smooth", distribution, version, entry_point=None)


def test_content_is_plugin_version_declaration_and_settings() -> None:
    """What decides about the content of a result gives another digest, so that its UIDs are others, too."""
    settings = settings_digest({})
    digests = [
        content_digest(_registration(), None, settings),
        content_digest(_registration(name="other"), None, settings),
        content_digest(_registration(distribution="other"), None, settings),
        content_digest(_registration(version="1.1"), None, settings),
        content_digest(_registration(), {"inputs": {"images": "images"}}, settings),
        content_digest(_registration(), None, settings_digest({"sigma": 2.0})),
    ]
    assert len(set(digests)) == len(digests)


class _Inner(BaseModel):
    model: Path = Path("/srv/model")
    since: date = date(2026, 1, 2)


@dataclass
class _Settings:
    sigma: float = 1.5
    token: SecretStr = field(default_factory=lambda: SecretStr("swordfish"))
    organs: frozenset[str] = frozenset({"liver", "spleen", "kidney"})
    inner: _Inner = field(default_factory=_Inner)


def test_settings_count_as_they_are_in_force() -> None:
    """Defaults, secrets and nested settings count; neither the order nor the address of an object does."""
    known = "e0ce61f5b48c94b4943ff76f0b615a518de6a1664f4774e78779d795f211601a"
    assert settings_digest(_Settings()) == known
    assert settings_digest({"b": 1, "a": {"d": 2, "c": 3}}) == settings_digest(
        {"a": {"c": 3, "d": 2}, "b": 1}
    )
    assert settings_digest([object()]) == settings_digest([object()])
    others = [
        _Settings(sigma=2.0),
        _Settings(token=SecretStr("herring")),
        _Settings(organs=frozenset({"liver"})),
        _Settings(inner=_Inner(since=date(2026, 1, 3))),
    ]
    assert len({settings_digest(each) for each in (_Settings(), *others)}) == 5


def test_a_digest_of_settings_hides_secrets() -> None:
    """A secret goes in as a slow digest: who knows all the rest cannot try a list of passwords at once."""
    token = SecretStr("swordfish")
    began = time.process_time()
    digest = settings_digest({"token": token})
    assert time.process_time() - began > 0.01
    assert digest not in {settings_digest({"token": "swordfish"}), settings_digest({"token": str(token)})}
