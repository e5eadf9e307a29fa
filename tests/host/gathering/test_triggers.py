"""Triggers after a restart: what counts from the last image, and what from the start."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.foundation.events import Events
from dicomnode.host.foundation.notifier import Notifier
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.gathering.triggers import Triggers
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.outputs import NoOutput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

PATIENT = "P1"
START, GRACE, EXPIRES, QUIET = 1000.0, 30.0, 3600.0, 60.0


class Images(AbstractInput):
    """Two images."""

    expected_images = 2


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"images": Images}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class Restarted:
    """A host that starts at a monotonic time of its own, and whose clock is moved by hand.

    Parameters
    ----------
    age : float
        Seconds since the last image of the patient that waits.
    complete : bool
        Whether all the patient's images are there.
    trigger : str
        Of the pipeline.
    cut_off : bool
        Whether the patient is looked at after the restart.
    """

    def __init__(
        self, age: float, *, complete: bool = False, trigger: str = "release", cut_off: bool = False
    ) -> None:
        self.now = START
        table = PipelineTable(expires=EXPIRES, trigger=trigger, quiet=QUIET)  # type: ignore[arg-type]  # a parameter of the test
        registration: Any = SimpleNamespace(name="two", distribution="two", version="1")
        configured = ConfiguredPipeline(
            name="two",
            pipeline=Pipeline(),
            ae_title="TWO",
            destinations=(),
            table=table,
            registration=registration,
        )
        self.tree = PipelineTree(configured, Hooks(Registry(only=())), self.clock)
        self.done: list[tuple[str, float]] = []
        jobs: Any = SimpleNamespace(
            expire=self._expire, create=self._noting("job"), join_late=lambda tree, container_key: None
        )
        self.work = TimerThread("test", self.clock)
        self.triggers = Triggers(jobs, Events(), self.work, Notifier())
        for number in range(2 if complete else 1):
            self.tree.put_back(PATIENT, [(image(number), ("images",))])
        self.tree.set_age(PATIENT, age)
        self.triggers.after_restart(self.tree, PATIENT, GRACE, cut_off=cut_off)

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def _expire(self, tree: PipelineTree, container_key: str, age: float) -> None:
        if tree.expire(container_key, age) is not None:
            self.done.append(("expired", self.now - START))

    def _noting(self, what: str) -> Callable[[PipelineTree, str], None]:
        def note(tree: PipelineTree, container_key: str) -> None:
            tree.take(container_key)
            self.done.append((what, self.now - START))

        return note

    def image(self, after: float) -> None:
        """Go on to a time after the start, and have the first image come once more then."""
        self.run(after)
        assert self.tree.touch_duplicate("1.2.0", image(0).path, PATIENT)
        self.triggers.image_came(self.tree, PATIENT)

    def run(self, until: float = 10 * EXPIRES) -> None:
        """Do everything that is due until a time after the start, each thing when it is."""
        end = START + until
        while (wait := self.work.run_due()) is not None and self.now + wait <= end:
            self.now += wait
        self.now = end


def image(number: int) -> LazyDataset:
    """Return an image of the patient."""
    index = {0x00080018: f"1.2.{number}", 0x00100020: PATIENT, 0x0020000E: "1.3"}
    return LazyDataset(f"/nowhere/{number}.dcm", index)


@pytest.mark.parametrize(
    ("age", "expired"),
    [(0.0, EXPIRES), (600.0, EXPIRES - 600), (EXPIRES - 1, GRACE), (EXPIRES, GRACE), (30 * EXPIRES, GRACE)],
)
def test_expiry_goes_on_counting(age: float, expired: float) -> None:
    """A patient expires so long after its last image, though a restart came between; senders get a moment."""
    host = Restarted(age)
    host.run()
    assert host.done == [("expired", expired)]


@pytest.mark.parametrize("after", [GRACE - 1, 600.0])
def test_an_image_after_the_restart(after: float) -> None:
    """Expiry counts anew from an image that comes after the restart."""
    host = Restarted(0.0 if after > GRACE else 2 * EXPIRES)
    host.image(after)
    host.run()
    assert host.done == [("expired", after + EXPIRES)]


@pytest.mark.parametrize(
    ("options", "job"),
    [
        ({"cut_off": True}, GRACE),
        ({"trigger": "quiet"}, QUIET),
        ({"trigger": "quiet", "cut_off": True}, QUIET),
    ],
)
def test_the_quiet_counts_from_the_restart(options: dict[str, Any], job: float) -> None:
    """However old its last image is, a complete patient is looked at after a quiet since the restart."""
    host = Restarted(EXPIRES - 120, complete=True, **options)
    host.run()
    assert host.done == [("job", job)]


def test_a_complete_patient_goes_first() -> None:
    """A patient that is too old by the time of the restart, but complete, becomes a job."""
    host = Restarted(2 * EXPIRES, complete=True, cut_off=True)
    host.run()
    assert host.done == [("job", GRACE)]
