"""Methods of a pipeline that is in another environment, called there: one at a time, in a warm worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from pydicom.dataset import Dataset

from dicomnode.errors import PluginError
from dicomnode.host.isolation.image_json import image_to_json
from dicomnode.host.isolation.worker_tasks import call_method
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput

_TIMEOUT = 60.0


class TaskRunner(Protocol):
    """Runs tasks in workers: :class:`~dicomnode.host.isolation.isolation.Isolation` does."""

    def run(
        self, task: Callable[[Mapping[str, Any]], dict[str, Any]], argument: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run a task in a worker of the environment that its argument names, and return its result."""
        ...


class ReplicaChanges:
    """What was added to and removed from an input of the host, until the replica in the worker has it.

    Parameters
    ----------
    replica : str
        The name of the replica.
    """

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self._acknowledged = 0
        self._pending: list[dict[str, Any]] = []

    def add(self, image: Dataset) -> None:
        """Note an image that was added."""
        self._pending.append({"added": image_to_json(image)})

    def remove(self, uid: str) -> None:
        """Note an image that was removed."""
        self._pending.append({"removed": uid})

    def message(self, held: AbstractInput, *, everything: bool) -> dict[str, Any]:
        """Return what brings the replica up to date: what it lacks, or everything that the input holds."""
        if everything:
            self._acknowledged, self._pending = 0, [{"added": image_to_json(image)} for image in held]
        return {
            "replica": self.replica,
            "input": held.name,
            "since": self._acknowledged,
            "changes": list(self._pending),
        }

    def acknowledge(self, count: int) -> None:
        """Forget changes that the replica has."""
        self._acknowledged += count
        del self._pending[:count]


class RemoteMethods:
    """Calls methods of one pipeline and of its inputs in a worker.

    Parameters
    ----------
    runner : TaskRunner
        Runs the calls.
    pipeline : mapping
        Which pipeline: what :func:`~dicomnode.host.isolation.worker_tasks.call_method` takes besides the
        call.
    """

    def __init__(self, runner: TaskRunner, pipeline: Mapping[str, Any]) -> None:
        self._runner, self._pipeline = runner, dict(pipeline)
        self._lock = threading.Lock()

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the pipeline, with plain data.

        Raises
        ------
        PluginError
            When it raised.
        JobFailedError
            When no worker can run it.
        """
        with self._lock:
            return self._returned(self._call(method, arguments))

    def call_input(self, held: AbstractInput, changes: ReplicaChanges, method: str, **arguments: Any) -> Any:
        """Call a method of an input, after its replica was brought up to date; see :meth:`call`."""
        if isinstance(held, HistoricAbstractInput) and held.history is not None:
            arguments["history"] = {**asdict(held.history), "asked_for": sorted(held.history.asked_for)}
        with self._lock:
            # A worker that is new, or that has dropped the replica, is sent the whole input the second time.
            for everything in (False, True):
                message = changes.message(held, everything=everything)
                result = self._call(method, {**arguments, **message})
                if "stale" not in result:
                    changes.acknowledge(len(message["changes"]))
                    return self._returned(result)
        msg = "the worker does not keep the images that it is sent"
        raise PluginError(msg)

    def _call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self._runner.run(
            call_method, {**self._pipeline, **arguments, "method": method, "timeout": _TIMEOUT}
        )

    @staticmethod
    def _returned(result: Mapping[str, Any]) -> Any:
        if "raised" in result:
            raise PluginError(result["raised"])
        return result["returned"]
