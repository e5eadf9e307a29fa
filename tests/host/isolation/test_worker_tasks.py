"""Tasks of a worker of another environment, run in this process: describing, calling, keeping replicas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode.errors import JobFailedError
from dicomnode.host.isolation import worker_tasks
from dicomnode.host.isolation.description import PipelineDescription
from dicomnode.host.isolation.image_json import image_to_json
from dicomnode.host.isolation.worker_tasks import call_method, describe_pipeline
from dicomnode.host.jobs.job_failure import Failure
from isolated_plugins import on_disk
from plugin_factory import PRELUDE, PluginFactory
from sources import mr_slices

PLUGIN = (
    PRELUDE
    + """
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.plugins.hookspecs import hookimpl

class Plain(AbstractInput):
    required_values = {"Modality": {"MR", "CT"}}

class Careful(AbstractInput):
    required_values = {"Rows": lambda rows: rows <= 64}
    def choose_series(self, candidates):
        return candidates[-1]
    def validate(self):
        if len(self) == 3:
            raise RuntimeError("three")
        return f"{len(self)} here"

class Earlier(HistoricAbstractInput):
    def choose(self, found, image):
        return found[1:] if image.Modality == "MR" else [object()]

class Pipeline(AbstractPipeline):
    inputs = {"plain": Plain, "careful": Careful, "earlier": Earlier}
    def container_key(self, image):
        return f"{image.PatientID}/{image.Modality}"
    def process(self, inputs):
        return NoOutput()
"""
)
HOOKS = """
from dicomnode import hookimpl

@hookimpl
def dicomnode_validate_input(container_key, patient_id, input_name):
    return f"{input_name} of {patient_id} in {container_key} waits" if container_key else None
"""


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginFactory]:
    """Install the plugin, and begin without objects and replicas of other tests."""
    monkeypatch.setattr(worker_tasks, "_pipelines", type(worker_tasks._pipelines)(lambda loaded: loaded))
    monkeypatch.setattr(worker_tasks, "_replicas", type(worker_tasks._replicas)())
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("tasks", PLUGIN)
    factory.add("vetoes", HOOKS, hooks={"vetoes": ""})
    with factory.installed():
        yield factory


def request_of(**others: Any) -> dict[str, Any]:
    """Return the argument of a task."""
    plain = {"pipeline": "tasks", "plugin": None, "settings": {}, "declared": None, "disabled": []}
    return {**plain, "only": ["tasks"], **others}


def call(method: str, **others: Any) -> dict[str, Any]:
    """Call a method of the plugin."""
    return call_method(request_of(method=method, distribution="tasks", version="1.0", **others))


def changes(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    """Return changes that add images to a replica."""
    return [{"added": image_to_json(image)} for image in on_disk(tmp_path / "spool", mr_slices(count))]


# -- describing ---------------------------------------------------------------------------------------------


def test_a_pipeline_is_described() -> None:
    """Data are copied, and the methods are named that a worker must run: those that the plugin overrides."""
    described = PipelineDescription.from_json(describe_pipeline(request_of())["described"])
    assert (described.kind, described.distribution, described.version) == ("Pipeline", "tasks", "1.0")
    assert described.remote_methods == ("container_key",)
    remote = {name: each.remote_methods for name, each in described.inputs.items()}
    assert remote == {
        "plain": (), "careful": ("choose_series", "validate", "validate_image"), "earlier": ("choose",),
    }  # fmt: skip
    assert described.inputs["plain"].values == {"Modality": {"one_of": ["CT", "MR"]}}
    assert described.inputs["careful"].values == {}
    assert described.inputs["earlier"].historic


def test_hooks_of_the_environment_take_part() -> None:
    """With a hook that validates inputs every input's completeness is a matter of the worker."""
    described = describe_pipeline(request_of(only=["tasks", "vetoes"]))["described"]
    assert all("validate" in each["remote_methods"] for each in described["inputs"].values())


@pytest.mark.parametrize(
    ("others", "result"),
    [
        ({"settings": {"colour": 1}}, {"settings": [[["colour"], "unknown setting; Pipeline has: none"]]}),
        ({"declared": {"outputs": [{"output": "dicom"}]}}, {"wrong": "outputs: the registered pipeline"}),
    ],
)
def test_a_configuration_that_is_wrong(others: dict[str, Any], result: dict[str, Any]) -> None:
    """What is wrong with the configuration is a result, so that the host can name the key."""
    found = describe_pipeline(request_of(**others))
    assert found.keys() == result.keys()
    if "wrong" in result:
        assert found["wrong"].startswith(result["wrong"])
    else:
        assert found == result


def test_a_plugin_that_cannot_be_loaded() -> None:
    """That is a failure of the task."""
    with pytest.raises(JobFailedError, match="no installed plugin registers 'nobody'") as caught:
        describe_pipeline(request_of(pipeline="nobody"))
    assert caught.value.kind == Failure.PLUGIN


def test_a_plugin_of_another_version() -> None:
    """Methods of another version than was described are not called."""
    with pytest.raises(JobFailedError, match=r"made for tasks 0\.9.*now belongs to tasks 1\.0"):
        call_method(request_of(method="container_key", distribution="tasks", version="0.9"))


# -- calling methods ----------------------------------------------------------------------------------------


def test_a_method_of_the_pipeline(tmp_path: Path) -> None:
    """The pipeline's own method is called with the image."""
    (change,) = changes(tmp_path, 1)
    assert call("container_key", image=change["added"]) == {"returned": "4MR1/MR"}


def test_a_replica_follows_the_input(tmp_path: Path) -> None:
    """Images are added and removed as the changes say, before the method is called."""
    one, two = changes(tmp_path, 2)
    about = {"replica": "r", "input": "careful"}
    assert call("validate", **about, since=0, changes=[one, two]) == {"returned": "2 here"}
    series = str(mr_slices(1)[0].SeriesInstanceUID)
    assert call("choose_series", **about, since=2, changes=[]) == {"returned": series}
    assert call("proof", **about, since=2, changes=[]) == {"returned": ""}
    removed = {"removed": mr_slices(1)[0].SOPInstanceUID}
    assert call("validate", **about, since=2, changes=[removed]) == {"returned": "1 here"}
    assert call("validate", replica="other", input="careful", since=0, changes=[]) == {"returned": "0 here"}


def test_a_replica_that_lacks_changes_is_stale(tmp_path: Path) -> None:
    """A replica that is not there, or has not the number of changes that the host counts, is not used."""
    (one,) = changes(tmp_path, 1)
    about = {"replica": "r", "input": "careful"}
    assert call("validate", **about, since=1, changes=[]) == {"stale": True}
    call("validate", **about, since=0, changes=[one])
    assert call("validate", **about, since=2, changes=[]) == {"stale": True}
    assert call("validate", **about, since=1, changes=[]) == {"returned": "1 here"}


def test_the_replica_not_used_for_longest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker keeps a bounded number of replicas; one that is used stays."""
    monkeypatch.setattr(worker_tasks, "_MOST_REPLICAS", 2)
    for replica in ("a", "b", "a", "c"):
        since = 0 if replica not in worker_tasks._replicas else worker_tasks._replicas[replica].changes
        call("validate", replica=replica, input="careful", since=since, changes=[])
    assert list(worker_tasks._replicas) == ["a", "c"]


def test_what_a_method_raises_is_a_result(tmp_path: Path) -> None:
    """An exception is a result with its reason and traceback: the worker goes on."""
    about = {"replica": "r", "input": "careful"}
    result = call("validate", **about, since=0, changes=changes(tmp_path, 3))
    assert result["raised"] == "validate of Careful raised RuntimeError: three"
    assert "Traceback" in result["log_tail"]
    assert "returned" in call("proof", **about, since=3, changes=[])


def test_the_hooks_know_key_and_patient(tmp_path: Path) -> None:
    """A hook gets the container's key and the Patient ID of the replica's images."""
    only = {"only": ["tasks", "vetoes"], "distribution": "tasks", "version": "1.0", "method": "validate"}
    about = {"replica": "r", "input": "plain"}
    empty = call_method(request_of(**only, **about, since=0, changes=[]))
    assert empty == {"returned": "no image yet"}
    held = call_method(request_of(**only, **about, since=0, changes=changes(tmp_path, 1)))
    assert held == {"returned": "plain of 4MR1 in 4MR1/MR waits"}


def test_choosing_among_what_was_found(tmp_path: Path) -> None:
    """The positions of those chosen are returned; something that was not found is an error."""
    (one,) = changes(tmp_path, 1)
    found = [Dataset() for _ in range(3)]
    for number, each in enumerate(found):
        each.StudyInstanceUID = f"1.{number}"
    plain = [each.to_json_dict() for each in found]
    about = {"replica": "r", "input": "earlier", "since": 0, "changes": [], "found": plain}
    assert call("choose", **about, image=one["added"]) == {"returned": [1, 2]}
    other = mr_slices(1)[0]
    other.Modality = "CT"
    (image,) = on_disk(tmp_path / "other", [other])
    result = call("choose", **about, image=image_to_json(image))
    assert "choose must return some of the datasets that it was given" in result["raised"]


def test_the_history_of_a_replica() -> None:
    """How far the fetching is comes with each call, and goes with the next one that has none."""
    about = {"replica": "r", "input": "earlier", "changes": []}
    history = {"state": "failed", "peer": "PACS", "reason": "down", "PatientID": "P", "asked_for": []}
    failed = call("validate", **about, since=0, history=history)
    assert failed == {"returned": "earlier images could not be fetched: down"}
    assert call("validate", **about, since=0) == {"returned": "earlier images are being fetched"}
