"""A small simulation in this process, for the tests of its parts: one pipeline, installed for the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import configure_pipelines
from dicomnode.host.foundation.events import Event
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.simulation.simulated_host import SimulatedHost
from dicomnode.plugins.registry import Registry
from plugin_factory import PRELUDE, PluginFactory

COUNTING = (
    PRELUDE
    + """
class CT(AbstractInput):
    required_values = {"Modality": "CT"}
    expected_images = 2

    def validate_image(self, image):
        if image.InstanceNumber == 3:
            raise ValueError("number 3")

class Pipeline(AbstractPipeline):
    inputs = {"ct": CT}

    def process(self, inputs):
        return FileOutput({"count.txt": f"{len(inputs['ct'])} in process {os.getpid()}"})
"""
)
"""A pipeline that wants two CT images, whose check fails for the third, and that writes how many it got."""

UNPROVEN = COUNTING.replace(
    "    expected_images = 2\n",
    """
    def validate(self):
        return None if len(self) == 2 else f"{len(self)} of 2 images"
""",
)
"""The same, but nothing proves that its input is whole: only time completes it, after a release."""

ONLY = ["dicomnode-host", "counting"]
"""The distributions that a test of it uses, whatever else is installed."""


@contextmanager
def counting_installed(folder: Path, source: str = COUNTING) -> Iterator[None]:
    """Have the pipeline ``counting`` installed."""
    plugins = PluginFactory(folder)
    plugins.add("counting", source)
    with plugins.installed():
        yield


@contextmanager
def simulated_host(
    root: Path, *, out: Path | None = None, **table: Any
) -> Iterator[tuple[SimulatedHost, list[Event], SimpleQueue[JobRecord]]]:
    """Run a simulated host with the pipeline ``counting``; yield it, its events, and its jobs' changes."""
    tables: Mapping[str, Any] = {
        "host": {"data": root, "durability": "process", "reserve": 0},
        "pipelines": {"counting": {"attempts": 1, "destinations": ["file:results"], **table}},
    }
    config, registry = Config.model_validate(tables), Registry(only=ONLY)
    events: list[Event] = []
    changes: SimpleQueue[JobRecord] = SimpleQueue()
    with Isolation(root.with_name(f"{root.name}-environments")) as environments:
        (configured,) = configure_pipelines(config, registry, environments)
        with SimulatedHost(
            config,
            configured,
            registry,
            out=out,
            in_process=True,
            hear=events.append,
            job_changed=changes.put,
        ) as host:
            yield host, events, changes
