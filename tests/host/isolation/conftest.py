"""Environments with a plugin, and an isolation that describes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.configured_pipeline import InstalledPipeline
from dicomnode.host.isolation.isolation import Isolation
from isolated_plugins import ISOLATED, Environments, on_disk
from sources import mr_slices


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Make environments below a folder."""
    return Environments(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="module")
def environment(environments: Environments) -> Path:
    """Make an environment with the plugin ``isolated``."""
    return environments.make("first", "1.0", isolated=ISOLATED)


@pytest.fixture(scope="module")
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Isolation]:
    """Keep workers for the methods, and leave none."""
    with Isolation(tmp_path_factory.mktemp("home")) as isolation:
        yield isolation


@pytest.fixture(scope="module")
def installed(isolation: Isolation, environment: Path) -> InstalledPipeline:
    """Describe the plugin of the environment."""
    return isolation.pipeline("isolated", environment, settings={})


@pytest.fixture
def images(tmp_path: Path) -> list[LazyDataset]:
    """Write four slices to disk, as the host has them."""
    return on_disk(tmp_path / "spool", mr_slices())
