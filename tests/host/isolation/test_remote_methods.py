"""Methods that are called in a worker: what is sent, what comes back, and replicas that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dicomnode import AbstractInput
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import PluginError
from dicomnode.host.isolation.remote_methods import RemoteMethods, ReplicaChanges
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus


class Runner:
    """Keeps the arguments of each call, and returns what was prepared."""

    def __init__(self, *results: Mapping[str, Any]) -> None:
        self.results = list(results)
        self.calls: list[Mapping[str, Any]] = []

    def run(
        self, task: Callable[[Mapping[str, Any]], dict[str, Any]], argument: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the next result."""
        assert task.__name__ == "call_method"
        self.calls.append(argument)
        return dict(self.results.pop(0))


class Images(AbstractInput):
    """Any image."""


class Earlier(HistoricAbstractInput):
    """Earlier images."""


def image(number: int) -> LazyDataset:
    """Return an image that is never read."""
    return LazyDataset(
        f"/nowhere/{number}.dcm", {0x00080018: f"1.{number}", 0x0020000D: "1", 0x0020000E: "2"}
    )


def changed(held: AbstractInput, changes: ReplicaChanges, *numbers: int) -> None:
    """Add images to an input, and note the changes as an isolated input does."""
    for number in numbers:
        held.insert(image(number))
        changes.add(image(number))


def test_a_method_of_the_pipeline_is_called() -> None:
    """The call has the pipeline, the method and its arguments, and a timeout; the result comes back."""
    runner = Runner({"returned": "4711"})
    remote = RemoteMethods(runner, {"pipeline": "many", "environment": "/venv"})
    assert remote.call("container_key", image={"path": "/1"}) == "4711"
    (call,) = runner.calls
    assert call["timeout"] > 0
    assert {name: value for name, value in call.items() if name != "timeout"} == {
        "pipeline": "many", "environment": "/venv", "method": "container_key", "image": {"path": "/1"},
    }  # fmt: skip


def test_what_a_method_raised_is_raised_here() -> None:
    """An exception of the plugin is a PluginError with its reason."""
    remote = RemoteMethods(Runner({"raised": "container_key of P raised KeyError: x"}), {})
    with pytest.raises(PluginError, match="raised KeyError: x"):
        remote.call("container_key")


def test_a_replica_is_sent_what_is_new() -> None:
    """Each call sends the changes since the last one that arrived, and their number so far."""
    held, changes = Images("images"), ReplicaChanges("r")
    runner = Runner(*[{"returned": None}] * 3)
    remote = RemoteMethods(runner, {})
    changed(held, changes, 1, 2)
    remote.call_input(held, changes, "validate")
    changes.remove("1.1")
    remote.call_input(held, changes, "validate")
    remote.call_input(held, changes, "validate")
    sent = [(call["since"], [next(iter(change)) for change in call["changes"]]) for call in runner.calls]
    assert sent == [(0, ["added", "added"]), (2, ["removed"]), (3, [])]
    assert {(call["replica"], call["input"]) for call in runner.calls} == {("r", "images")}


def test_a_replica_that_is_stale_is_sent_everything() -> None:
    """A worker that is new has no replica: the whole input is sent, as it is now."""
    held, changes = Images("images"), ReplicaChanges("r")
    runner = Runner({"returned": None}, {"stale": True}, {"returned": "2 of 4"}, {"returned": None})
    remote = RemoteMethods(runner, {})
    changed(held, changes, 1, 2, 3)
    remote.call_input(held, changes, "validate")
    held.remove("1.1")
    changes.remove("1.1")
    assert remote.call_input(held, changes, "validate") == "2 of 4"
    again = runner.calls[2]
    assert (again["since"], [change["added"]["path"] for change in again["changes"]]) == (
        0, ["/nowhere/2.dcm", "/nowhere/3.dcm"],
    )  # fmt: skip
    remote.call_input(held, changes, "validate")
    assert (runner.calls[3]["since"], runner.calls[3]["changes"]) == (2, [])


def test_a_worker_that_keeps_no_replica() -> None:
    """A worker that is stale after it was sent everything is an error, and not asked for ever."""
    runner = Runner({"stale": True}, {"stale": True})
    with pytest.raises(PluginError, match="does not keep the images"):
        RemoteMethods(runner, {}).call_input(Images("images"), ReplicaChanges("r"), "validate")
    assert len(runner.calls) == 2


def test_changes_that_did_not_arrive_are_sent_again() -> None:
    """After a call that failed, the next one sends the same changes with the same number."""
    held, changes = Images("images"), ReplicaChanges("r")
    changed(held, changes, 1)

    class Failing(Runner):
        def run(self, task: Any, argument: Mapping[str, Any]) -> dict[str, Any]:
            super().run(task, argument)
            raise OSError("the worker is gone")

    with pytest.raises(OSError, match="the worker is gone"):
        RemoteMethods(Failing({}), {}).call_input(held, changes, "validate")
    runner = Runner({"returned": None})
    RemoteMethods(runner, {}).call_input(held, changes, "validate")
    assert (runner.calls[0]["since"], len(runner.calls[0]["changes"])) == (0, 1)


def test_how_far_the_fetching_is_goes_along() -> None:
    """The history of an input is sent with each call, as plain data."""
    held = Earlier("earlier")
    held.history = HistoryStatus(HistoryState.FETCHED, "PACS", PatientID="P", asked_for=frozenset({"2", "1"}))
    runner = Runner({"returned": None})
    RemoteMethods(runner, {}).call_input(held, ReplicaChanges("r"), "validate")
    assert runner.calls[0]["history"] == {
        "state": "fetched", "peer": "PACS", "reason": "", "PatientID": "P", "asked_for": ["1", "2"],
    }  # fmt: skip
