"""The plugin of a job: loaded and set up once for the jobs that ask for the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_plugin import prepare
from dicomnode.plugins.pipeline_loading import PipelineRequest
from plugin_factory import PRELUDE, PluginFactory

JOB = JobDescription(
    id="1",
    identity="identity",
    pipeline="prepared",
    plugin="prepared",
    distribution="prepared",
    version="1.0",
    settings={"sigma": 2.0},
    container_key="P1",
    inputs={},
    folder="/outbox/1",
    workdir="/work/1",
    created=1000.0,
)

PLUGIN = (
    PRELUDE
    + """
from dataclasses import dataclass
from dicomnode.pipeline.secret import Secret

@dataclass(frozen=True)
class Settings:
    sigma: float = 1.0
    token: Secret | None = None
    fails: bool = False

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings
    set_up = 0

    def setup(self):
        if self.settings.fails:
            raise OSError("no weights")
        self.set_up += 1

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginFactory]:
    """Install the plugin."""
    factory = PluginFactory(tmp_path_factory.mktemp("plugins"))
    factory.add("prepared", PLUGIN)
    with factory.installed():
        yield factory


def request_of(**settings: Any) -> PipelineRequest:
    """Return a request of the plugin, and of no other that is installed."""
    return replace(JOB, settings=settings, only=("prepared",)).request


def test_a_pipeline_is_set_up_once() -> None:
    """The first job sets the object up, the next one gets it as it is, with the lock of the first."""
    first, second = prepare(request_of(sigma=4)), prepare(request_of(sigma=4))
    assert first is second
    assert first.pipeline.set_up == 1  # type: ignore[attr-defined]  # the plugin's own
    assert prepare(request_of(sigma=5)).pipeline is not first.pipeline


def test_a_setup_that_raised_is_tried_again() -> None:
    """Nothing is kept of an object whose ``setup`` raised."""
    for _ in range(2):
        with pytest.raises(JobFailedError, match=r"setup of Pipeline raised OSError: no weights"):
            prepare(request_of(fails=True))


def test_what_a_result_says_of_where_it_was_made() -> None:
    """Settings are shown with defaults and without secrets; plugins and packages with their versions."""
    prepared = prepare(request_of(token="hush"))
    assert prepared.shown_settings["sigma"] == 1.0
    assert "hush" not in str(prepared.shown_settings)
    assert prepared.environment["plugins"]["prepared"] == "1.0"
    assert "pydicom" in prepared.environment["packages"]


def test_a_plugin_that_cannot_be_loaded() -> None:
    """The failure is the plugin's, and names it."""
    with pytest.raises(JobFailedError, match=r"loading the pipeline 'prepared': .*colour: unknown") as caught:
        prepare(request_of(colour=1))
    assert caught.value.kind == Failure.PLUGIN


def test_inputs_do_not_belong_to_the_request() -> None:
    """The request is made without inputs and checksums, of which a job may have a hundred thousand."""
    unusable: Any = object()
    assert replace(JOB, inputs=unusable, checksums=unusable).request == JOB.request


@pytest.mark.parametrize(
    "change",
    [
        {"id": "2"},
        {"attempt": 2},
        {"container_key": "P2"},
        {"folder": "/outbox/2"},
        {"created": 2.0},
        {"timeout": 9.0},
    ],
    ids=str,
)
def test_whose_job_it_is_does_not_belong_to_the_request(change: dict[str, Any]) -> None:
    """Jobs that differ in nothing else than whose they are share an object."""
    assert replace(JOB, **change).request == JOB.request


def test_a_description_that_was_sent_has_the_same_request() -> None:
    """A worker that gets two descriptions as JSON finds that both ask for one object."""
    sent, other = (JobDescription.from_json(replace(JOB, id=each).to_json()) for each in ("1", "2"))
    assert sent.request.key == other.request.key == JOB.request.key
