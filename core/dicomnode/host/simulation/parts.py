"""The few parts of a host that a simulation has of its own: time, destinations, and an eye on the trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.safe import safe_name
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.host.dimse.store_handler import Prevalidation
from dicomnode.host.gathering.waiting_images import CheckFailedError, WaitingImages
from dicomnode.pipeline.destination import Delivery, Destination, OutboxItem, Outcome
from dicomnode.pipeline.pipeline_tree import Admission
from dicomnode.plugins.hooks import Hooks


class VirtualClock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class WatchedImages(WaitingImages):
    """What waits, and what the inputs said of each image.

    Attributes
    ----------
    said : dict of str to Admission or str
        SOP Instance UID -> what the inputs said, or what a check raised.
    """

    def __init__(self, configured: ConfiguredPipeline, hooks: Hooks, now: Callable[[], float]) -> None:
        super().__init__(configured, hooks, now)
        self.said: dict[str, Admission | str] = {}

    def admission(self, image: LazyDataset, prevalidation: Prevalidation | None = None) -> Admission:
        """Ask every input, and remember what they say."""
        uid = str(image.SOPInstanceUID)
        try:
            admission = super().admission(image, prevalidation)
        except CheckFailedError as error:
            self.said[uid] = f"{error} ({error.__cause__})"
            raise
        self.said[uid] = admission
        return admission


class SimulatedDestination:
    """Takes everything, and keeps it in a folder if there is one.

    Parameters
    ----------
    name : str
        The destination whose place it takes.
    takes_files : bool
        Whether that one takes files that are not DICOM.
    folder : pathlib.Path, optional
        Where results are put.
    """

    def __init__(self, name: str, *, takes_files: bool, folder: Path | None) -> None:
        self._name, self._takes_files = name, takes_files
        self._folder = None if folder is None else FolderDestination(name, folder)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._name

    @property
    def takes_files(self) -> bool:
        """Whether it takes files that are not DICOM."""
        return self._takes_files

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Put items into the folder, and confirm them."""
        if self._folder is not None:
            yield from self._folder.send(items)
            return
        for item in items:
            yield item, Outcome(Delivery.CONFIRMED, "simulated")

    def break_off(self) -> None:
        """End what is being sent: nothing is."""


def simulated_destinations(
    names: Mapping[str, bool], out: Path | None, used: Sequence[str]
) -> dict[str, Destination]:
    """Return a simulated destination for each name.

    Parameters
    ----------
    names : mapping of str to bool
        Name -> whether it takes files that are not DICOM.
    out : pathlib.Path, optional
        Where results are put, in a folder for each destination where there are several.
    used : sequence of str
        Those that the pipeline is configured with.
    """
    several = len(used) > 1
    return {
        name: SimulatedDestination(
            name,
            takes_files=takes_files,
            folder=None if out is None else out / safe_name(name) if several else out,
        )
        for name, takes_files in names.items()
    }


class InThisProcess(Executor):
    """Runs each job where it is submitted, so that a debugger finds it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it, and return its outcome."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
