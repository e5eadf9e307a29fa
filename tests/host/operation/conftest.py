"""An open ledger, and what waits for a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from receiving import small_dataset


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger that syncs nothing."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as opened:
        yield opened


class Images(AbstractInput):
    """Two images of any kind at least."""

    several_series = several_studies = True

    def validate_image(self, image: Any) -> str | None:
        """Take what is not called unwanted; fail at what is called broken."""
        if image.PatientID == "BROKEN":
            raise KeyError("no such table")
        return "it is unwanted" if image.PatientID == "UNWANTED" else None

    def validate(self) -> str | None:
        """Be complete with two."""
        return None if len(self) >= 2 else "fewer than two"


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"images": Images}

    def process(self, inputs: Any) -> NoOutput:
        """Make nothing."""
        return NoOutput()


class Bench:
    """What waits for one pipeline, with a clock that is set by hand, and images for it."""

    def __init__(self, folder: Path, **table: Any) -> None:
        self.folder, self.now = folder, 100.0
        registration: Any = SimpleNamespace(name="two", distribution="dicomnode-two", version="1.5")
        configured = ConfiguredPipeline(
            name="two",
            pipeline=Pipeline(),
            ae_title="TWO",
            destinations=("PACS",),
            table=PipelineTable(**table),
            registration=registration,
        )
        self.tree = WaitingImages(configured, Hooks(Registry(only=())), lambda: self.now)

    def file(self, uid: str, patient: str = "P1", name: str = "", **values: Any) -> Path:
        """Write an image, and return its file."""
        path = self.folder / f"{name or uid}.dcm"
        small_dataset(SOPInstanceUID=uid, PatientID=patient, **values).save_as(path)
        return path

    def insert(self, uid: str, patient: str = "P1") -> None:
        """Let an image come."""
        image = LazyDataset(self.file(uid, patient), {0x00080018: uid, 0x00100020: patient})
        self.tree.insert(image, self.tree.place(image), lambda: None)


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[..., Bench]:
    """Return a maker of benches; what the configuration says of the pipeline is given by name."""
    return partial(Bench, tmp_path)
