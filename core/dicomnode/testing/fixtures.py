"""The pytest plugin: fixtures for those who test pipelines, hooks, outputs and elements.

It is found through the entry point ``pytest11`` of dicomnode-host, and imports nothing before a fixture is
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dicomnode.testing import LocalHost, ReceivingPeer


@pytest.fixture
def synthetic_series() -> Callable[..., Any]:
    """Return :func:`dicomnode.testing.synthetic_series`: images of any modality and geometry."""
    from dicomnode.testing import synthetic_series as function

    return function


@pytest.fixture
def synthetic_study() -> Callable[..., Any]:
    """Return :func:`dicomnode.testing.synthetic_study`: images of several series of one study."""
    from dicomnode.testing import synthetic_study as function

    return function


@pytest.fixture
def run_pipeline() -> Callable[..., Any]:
    """Return :func:`dicomnode.testing.run_pipeline`: a pipeline on images, without network."""
    from dicomnode.testing import run_pipeline as function

    return function


@pytest.fixture
def receiving_peer(tmp_path: Path) -> Iterator[ReceivingPeer]:
    """Yield a peer that receives, listening on a free port: :class:`dicomnode.testing.ReceivingPeer`."""
    from dicomnode.testing import ReceivingPeer

    with ReceivingPeer(tmp_path / "receiving-peer") as peer:
        yield peer


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[Callable[..., LocalHost]]:
    """Yield a function that starts a host; :class:`dicomnode.testing.LocalHost` says what with.

    ``start_host("smooth", sigma=2.0)`` runs one pipeline with settings; ``start_host({"smooth": {...}},
    {...})`` takes tables of the configuration. All that were started are stopped when the test is over.
    """
    from dicomnode.testing import LocalHost

    with ExitStack() as running:

        def start(
            pipelines: str | Mapping[str, Mapping[str, Any]],
            tables: Mapping[str, Mapping[str, Any]] | None = None,
            **settings: Any,
        ) -> LocalHost:
            named = {pipelines: {"settings": settings}} if isinstance(pipelines, str) else pipelines
            folder = tmp_path / f"host-{len(started)}"
            started.append(folder)
            return running.enter_context(LocalHost(folder, named, tables))

        started: list[Path] = []
        yield start


@pytest.fixture
def send() -> Callable[..., list[int]]:
    """Return :func:`dicomnode.testing.send`: images over an association, with faults on request."""
    from dicomnode.testing import send as function

    return function
