"""The pytest plugin: its fixtures are the functions and classes of ``dicomnode.testing``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import importlib_metadata
import pytest

from dicomnode import testing
from dicomnode.testing import ReceivingPeer


class StandIn:
    """Takes the place of a LocalHost: notes what it is given, and when it is stopped."""

    made: list[StandIn]

    def __init__(
        self, folder: Path, pipelines: Mapping[str, Any], tables: Mapping[str, Any] | None = None
    ) -> None:
        self.given = (folder, pipelines, tables)
        self.stopped = False
        self.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """Have stand-ins made instead of hosts, and return those that were."""
    monkeypatch.setattr(StandIn, "made", [], raising=False)
    monkeypatch.setattr(testing, "LocalHost", StandIn, raising=False)
    return StandIn.made


@pytest.fixture
def all_stopped(stand_ins: list[StandIn]) -> Any:
    """Assert, once the fixtures that came after it are over, that every host was stopped."""
    yield
    assert [each.stopped for each in stand_ins] == [True, True]


@pytest.mark.parametrize("name", ["synthetic_series", "synthetic_study", "run_pipeline", "send"])
def test_a_fixture_is_the_function_of_its_name(name: str, request: pytest.FixtureRequest) -> None:
    """What a test is given is what it could import."""
    assert request.getfixturevalue(name) is getattr(testing, name)


def test_a_receiving_peer_receives(
    receiving_peer: ReceivingPeer,
    send: Callable[..., list[int]],
    synthetic_series: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """It listens on a free port, and keeps what comes below the test's own folder."""
    images = synthetic_series("PT", (2, 4, 4))
    assert send(images, ("127.0.0.1", receiving_peer.port), receiving_peer.ae_title) == [0, 0]
    received = receiving_peer.wait_for(2)
    assert [each.SOPInstanceUID for each in received] == [each.SOPInstanceUID for each in images]
    assert receiving_peer.folder == tmp_path / "receiving-peer"
    assert len(list(receiving_peer.folder.iterdir())) == 2


def test_a_host_is_started_with_a_pipeline_and_its_settings(
    stand_ins: list[StandIn], start_host: Callable[..., StandIn], tmp_path: Path
) -> None:
    """By the pipeline's name, or with tables of the configuration; each in a folder of its own."""
    start_host("smooth", sigma=2.0)
    start_host({"smooth": {}, "invert": {}}, {"host": {"workers": 1}})
    assert [each.given for each in stand_ins] == [
        (tmp_path / "host-0", {"smooth": {"settings": {"sigma": 2.0}}}, None),
        (tmp_path / "host-1", {"smooth": {}, "invert": {}}, {"host": {"workers": 1}}),
    ]


@pytest.mark.usefixtures("all_stopped")
def test_hosts_run_until_the_test_is_over(
    stand_ins: list[StandIn], start_host: Callable[..., StandIn]
) -> None:
    """All that were started are stopped then, and not before."""
    first = start_host("smooth")
    assert start_host("smooth") is not first
    assert [each.stopped for each in stand_ins] == [False, False]


def test_pytest_finds_the_fixtures_by_itself() -> None:
    """The distribution registers the module as a pytest plugin."""
    registered = importlib_metadata.distribution("dicomnode-host").entry_points.select(group="pytest11")
    assert [each.value for each in registered] == ["dicomnode.testing.fixtures"]


def imported_with(*modules: str) -> set[str]:
    """Return what is imported in a fresh process that imports some modules."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_pytest_plugin_imports_nothing_heavy() -> None:
    """Pytest loads it wherever dicomnode-host is installed, so it must cost nothing."""
    heavy = {"numpy", "pydicom", "pynetdicom", "pydantic"}
    assert not imported_with("dicomnode.testing.fixtures") & heavy


def test_the_host_does_not_import_it() -> None:
    """What tests need is no part of what runs."""
    running = imported_with("dicomnode.host.host", "dicomnode.cli.run")
    assert not [name for name in running if name.startswith("dicomnode.testing")]
