"""Whether everything is as the configuration says: plugins, pipelines and the receiver."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.host.configuration.config import Config
from dicomnode.host.operation import checking
from dicomnode.host.operation.checking import check_node
from dicomnode.host.operation.control import ControlServer
from dicomnode.host.operation.finding import Finding, Verdict
from dicomnode.plugins.registry import Registry
from plugin_factory import PRELUDE, PluginFactory

SOUND = (
    PRELUDE
    + """
from dataclasses import dataclass
from dicomnode import Secret

@dataclass(frozen=True)
class Settings:
    sigma: float = 1.0

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings

    def process(self, inputs):
        return NoOutput()

@dataclass(frozen=True)
class Token:
    token: Secret

class Secretive(Pipeline):
    Settings = Token
"""
)
ONLY = {"only": ["sound"]}
SECRETIVE = {"plugin": "secretive", "settings": {"token": {"env": "TOKEN_OF_THE_SERVICE"}}}


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a plugin of two pipelines installed, which is not loaded in a process of its own."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("sound", SOUND, pipelines={"sound": "Pipeline", "secretive": "Secretive"})
    monkeypatch.setattr(checking, "find_problems", lambda _registry: [])
    with factory.installed():
        yield


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., dict[str, list[Finding]]]:
    """Return a check of a node with some tables: kind -> its findings."""

    def checked(host: dict[str, Any] | None = None, **tables: Any) -> dict[str, list[Finding]]:
        there = {"data": str(tmp_path / "data"), "bind": "127.0.0.1:0", "reserve": 0, **(host or {})}
        config = Config.model_validate({"host": there, "plugins": ONLY, **tables})
        unused: Any = None
        found: dict[str, list[Finding]] = {}
        for each in check_node(config, unused):
            found.setdefault(each.check, []).append(each)
        return found

    return checked


Check = Callable[..., dict[str, list[Finding]]]


def test_a_sound_node(check: Check, tmp_path: Path) -> None:
    """Plugins, pipelines, receiver and data are found to be right, in this order, and nothing is made."""
    results = f"file:{tmp_path / 'data' / 'results'}"
    found = check(pipelines={"sound": {"destinations": [results]}})
    assert list(found) == ["plugins", "pipelines", "receiver", "data"]
    assert Finding("plugins", "sound 1.0", Verdict.OK, "active") in found["plugins"]
    assert found["pipelines"] == [
        Finding("pipelines", "sound", Verdict.OK, f"sound 1.0, called SOUND, to {results}")
    ]
    assert found["receiver"] == [Finding("receiver", "127.0.0.1:0", Verdict.OK, "the address is free")]
    assert not (tmp_path / "data").exists()


def test_a_distribution_in_a_list_that_is_not_installed(check: Check) -> None:
    """It may be misspelt: a warning."""
    found = check(plugins={"only": ["sound"], "disabled": ["sonud"]}, pipelines={"sound": {}})
    assert found["plugins"][0] == Finding(
        "plugins", "sonud", Verdict.WARNING, "named in [plugins], but it registers nothing here"
    )


@pytest.mark.parametrize("asked_for", [True, False])
def test_a_broken_plugin(check: Check, monkeypatch: pytest.MonkeyPatch, asked_for: bool) -> None:
    """It is a warning; a pipeline of it that is asked for by name fails. It is not imported here."""

    def broken(registry: Registry) -> list[str]:
        registry.plugin_of(registry.registration("pipelines", "sound")).fail("it ended the process")
        return []

    def unwanted(*_arguments: object, skipped: object, **_options: object) -> list[Any]:
        assert "sound" in list(skipped)  # type: ignore[call-overload]  # a mapping of names
        return []

    monkeypatch.setattr(checking, "find_problems", broken)
    monkeypatch.setattr(checking, "checked_pipelines", unwanted)
    found = check(**({"pipelines": {"sound": {}}} if asked_for else {}))
    plugin = next(each for each in found["plugins"] if each.what == "sound 1.0")
    assert (plugin.verdict, plugin.message) == (Verdict.WARNING, "it ended the process")
    pipeline = next(each for each in found["pipelines"] if each.what == "sound")
    assert pipeline.verdict is (Verdict.FAILED if asked_for else Verdict.WARNING)
    assert "it ended the process" in pipeline.message
    assert found["pipelines"][-1] == Finding("pipelines", "", Verdict.FAILED, "no pipeline can run")


def test_every_problem_of_a_pipeline_is_a_finding(check: Check) -> None:
    """A wrong setting and an unknown plugin fail; the sound pipeline beside them is told as such."""
    tables = {
        "sound": {},
        "wrong": {"plugin": "sound", "ae_title": "W", "settings": {"sigma": "wide", "colour": 3}},
        "absent": {},
    }
    found = check(pipelines=tables)["pipelines"]
    assert [(each.what, each.verdict) for each in found] == [
        ("sound", Verdict.OK),
        ("wrong", Verdict.FAILED),
        ("wrong", Verdict.FAILED),
        ("absent", Verdict.FAILED),
    ]
    assert "no installed plugin registers 'absent'" in found[-1].message


def test_two_pipelines_of_one_title(check: Check) -> None:
    """The second one fails, and is not told as sound."""
    tables = {name: {"plugin": "sound", "ae_title": "X"} for name in "ab"}
    first, second = check(pipelines=tables)["pipelines"]
    assert (first.what, first.verdict, second.what, second.verdict) == (
        *("a", Verdict.OK, "b", Verdict.FAILED),
    )
    assert "are both called 'X'" in second.message


def test_where_no_pipeline_is_asked_for_one_that_cannot_run_is_a_warning(check: Check) -> None:
    """The one that needs a secret is left out, and the other runs."""
    found = check()["pipelines"]
    assert {(each.what, each.verdict) for each in found} == {
        ("secretive", Verdict.WARNING),
        ("sound", Verdict.OK),
    }


def test_a_secret_that_only_the_service_has(check: Check, tmp_path: Path) -> None:
    """Without a host the pipeline fails; one that runs with it has been given the variable."""
    (alone, none) = check(pipelines={"secretive": SECRETIVE})["pipelines"]
    assert (alone.verdict, "TOKEN_OF_THE_SERVICE" in alone.message) == (Verdict.FAILED, True)
    assert none.message == "no pipeline can run"
    (tmp_path / "data").mkdir(mode=0o700)
    live = {"process": 7, "address": "127.0.0.1:1", "reserve": 0, "pipelines": {"secretive": {}}}
    server = ControlServer(tmp_path / "data" / "control.sock", {"status": lambda _order: live})
    server.start()
    try:
        found = check(pipelines={"secretive": SECRETIVE})
    finally:
        server.stop()
    assert found["pipelines"] == [
        Finding(
            "pipelines",
            "secretive",
            Verdict.WARNING,
            "not checked: the variable TOKEN_OF_THE_SERVICE is not set here; the running host has been given"
            " it",
        )
    ]


def test_a_running_host_listens_and_its_reserve_counts(check: Check, tmp_path: Path) -> None:
    """The address is its own; the reserve is the one that it was started with."""
    (tmp_path / "data").mkdir(mode=0o700)
    live = {"process": os.getpid(), "address": "127.0.0.1:11112", "reserve": 2**60, "pipelines": {}}
    server = ControlServer(tmp_path / "data" / "control.sock", {"status": lambda _order: live})
    server.start()
    try:
        found = check(pipelines={"sound": {}})
    finally:
        server.stop()
    assert found["receiver"] == [
        Finding(
            "receiver",
            "127.0.0.1:0",
            Verdict.OK,
            f"the host of process {os.getpid()} listens on 127.0.0.1:11112",
        )
    ]
    assert any(each.message.endswith("every image would be refused") for each in found["data"])


def test_an_address_that_is_taken(check: Check) -> None:
    """The system's reason, and what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = f"127.0.0.1:{server.getsockname()[1]}"
        (found,) = check({"bind": bind})["receiver"]
    assert (found.what, found.verdict) == (bind, Verdict.FAILED)
    assert found.message.startswith("cannot listen there: Address already in use")
    assert found.message.endswith(". Stop what uses the port, or set host.bind")


def test_an_address_that_is_open_to_everybody(check: Check) -> None:
    """It fails, with the key of the configuration."""
    (found,) = check({"bind": "0.0.0.0:0"})["receiver"]
    assert (found.verdict, found.message.startswith("host.bind: ")) == (Verdict.FAILED, True)


def test_a_certificate_that_cannot_be_used(check: Check, tmp_path: Path) -> None:
    """It fails, with the name of the file."""
    missing = str(tmp_path / "none.pem")
    (found,) = check(tls={"certificate": missing, "key": missing})["receiver"]
    assert (found.verdict, missing in found.message) == (Verdict.FAILED, True)
