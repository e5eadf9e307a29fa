"""A folder gives the same jobs whatever associations its images come over, and in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite

from dicomnode.host.configuration.config import Config
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.host.simulation.sending import SendingOptions
from dicomnode.host.simulation.simulation import Simulation
from dicomnode.testing import synthetic_series
from plugin_factory import PRELUDE, PluginFactory

_BASE = (
    PRELUDE
    + """
from dicomnode import Not

class CT(AbstractInput):
    required_values = {"Modality": "CT", "ImageType": Not("LOCALIZER")}

class PT(AbstractInput):
    required_values = {"Modality": "PT"}

class Base(AbstractPipeline):
    def process(self, inputs):
        got = {name: sorted(str(image.SOPInstanceUID) for image in inputs[name]) for name in self.inputs}
        return FileOutput({"got.txt": repr(got)})
"""
)
_PIPELINES = {
    "volumes": """
class Whole(CT):
    complete_volume = True

class Pipeline(Base):
    inputs = {"ct": Whole}
""",
    "counted": """
class Counted(CT):
    expected_images = "NumberOfSlices"

class Pipeline(Base):
    inputs = {"ct": Counted}
""",
    "studies": """
class Largest(CT):
    def choose_series(self, candidates):
        return max(candidates, key=len)

class Pipeline(Base):
    inputs = {"ct": Largest, "pt": PT}
""",
    "chosen": """
class Largest(CT):
    expected_images = "NumberOfSlices"

    def choose_series(self, candidates):
        return max(candidates, key=len)

class Pipeline(Base):
    inputs = {"ct": Largest}
    gather_by = "study"
""",
}
"""One series with time, one with proof, and studies in which a series is to be chosen, whole or not."""
_SENDINGS = (
    SendingOptions(associations="image", interleave=True, order="shuffle", seed=1),
    SendingOptions(associations="image", order="reverse"),
    SendingOptions(associations="series", interleave=True),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two patients of one name, with studies that are whole, have a gap, or lack a modality."""
    one, two = {"patient": "4711"}, {"patient": "4711", "IssuerOfPatientID": "NORTH"}
    gapped = synthetic_series("CT", (5, 4, 4), study=2, NumberOfSlices=5, **one)
    images = [
        *synthetic_series("CT", (3, 4, 4), series=1, NumberOfSlices=3, **one),
        *synthetic_series("CT", (4, 4, 4), series=2, NumberOfSlices=4, **one),
        *synthetic_series("PT", (2, 4, 4), series=3, **one),
        *synthetic_series("CT", (1, 4, 4), series=4, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **one),
        *gapped[:3],
        *gapped[4:],
        *synthetic_series("CT", (2, 4, 4), study=3, series=1, NumberOfSlices=2, **two),
        *synthetic_series("PT", (2, 4, 4), study=3, series=2, **two),
        *synthetic_series("PT", (1, 4, 4), study=4, **two),
    ]
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        dcmwrite(tmp_path / "in" / f"{number:02}", image, enforce_file_format=True)
    return tmp_path / "in"


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    """Have the pipelines installed."""
    plugins = PluginFactory(tmp_path / "plugins")
    for name, source in _PIPELINES.items():
        plugins.add(name, _BASE + source)
    with plugins.installed():
        yield


def outcome(name: str, folder: Path, options: SendingOptions, root: Path) -> dict[str, Any]:
    """Return what a folder gives, without the times and the numbers of jobs."""
    table = {"plugins": {"only": ["dicomnode-host", name]}, "pipelines": {name: {}}}
    with Isolation(root / "environments") as environments:
        simulation = Simulation(
            Config.model_validate(table), name, root / "root", environments, out=root / "out", in_process=True
        )
        simulated = simulation.run(folder, options)
    kept = ("container_key", "inputs", "state", "started_because")
    return {
        "jobs": sorted(([job[key] for key in kept] for job in simulated.jobs), key=repr),
        "results": sorted(path.read_text() for path in (root / "out").rglob("got.txt")),
        "waiting": sorted(
            [each["container_key"], each["inputs"], each["held"]] for each in simulated.waiting
        ),
        "answers": {each["SOPInstanceUID"]: each["status"] for each in simulated.timeline if "image" in each},
    }


@pytest.mark.parametrize(
    ("name", "counts"), [("volumes", (3, 1)), ("counted", (3, 1)), ("studies", (2, 2)), ("chosen", (2, 1))]
)
def test_the_same_jobs(
    name: str, counts: tuple[int, int], folder: Path, installed: None, tmp_path: Path
) -> None:
    """Jobs, their images, what is held and why, and every answer are those of one association."""
    plain = outcome(name, folder, SendingOptions(associations="one"), tmp_path / "one")
    assert (len(plain["jobs"]), len(plain["waiting"])) == counts
    assert len(plain["results"]) == len(plain["jobs"])
    assert set(plain["answers"].values()) == {0x0000, 0x0124}
    for number, options in enumerate(_SENDINGS):
        assert outcome(name, folder, options, tmp_path / str(number)) == plain, options
