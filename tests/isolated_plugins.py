"""Plugins in environments of their own, for tests: with packages that the tests' own environment lacks."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from environments import make_environment
from plugin_factory import PRELUDE, PluginFactory, write_inputs

ISOLATED = (
    PRELUDE
    + """
import re
from dataclasses import dataclass
import conflicting

class Slices(VolumeInput):
    required_values = {
        "Modality": {"MR", "CT"},
        "SOPClassUID": re.compile(r"1[.]2[.]840[.]10008[.]5[.]"),
        "Rows": lambda rows: rows <= 64,
    }
    index_also = ("InstanceNumber",)

    def validate_image(self, image):
        if image.InstanceNumber == 13:
            return f"number 13 is not wanted beside {len(self)} others"
        if image.InstanceNumber == 99:
            raise ValueError("number 99")
        if image.InstanceNumber == 100:
            os._exit(1)

    def validate(self):
        return None if len(self) == 4 else f"{len(self)} of 4"

@dataclass(frozen=True)
class Settings:
    offset: int = 0

class Pipeline(AbstractPipeline):
    inputs = {"images": Slices}
    Settings = Settings
    index_also = ("Rows", "InstanceNumber")
    timeout = 77.0

    def process(self, inputs):
        volume = inputs["images"]
        moved = volume.with_array(volume.array + self.settings.offset)
        built = NumpyFactory().build_series(inputs.header, moved)
        for image in built:
            image.SeriesDescription = f"made with {conflicting.VERSION}"
        return DicomOutput(list(built))
"""
)
"""A pipeline with rules that are data and methods that are code, and a package that may conflict."""


class Environments:
    """Environments with a plugin each, which the tests' own environment does not have."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, name: str, conflicting: str, **sources: str) -> Path:
        """Make an environment with a version of a package, and plugins by name."""
        path = self.root / name
        packages = make_environment(path)
        (packages / "conflicting.py").write_text(f"VERSION = {conflicting!r}\n")
        plugins = PluginFactory(packages)
        for plugin, source in sources.items():
            plugins.add(plugin, source)
        return path


def on_disk(folder: Path, datasets: list[Dataset]) -> list[LazyDataset]:
    """Return images as the host has them."""
    return [LazyDataset(path, index) for path, index in write_inputs(folder, datasets)]
