"""Running a pipeline in a test: without network, and through a host of its own."""

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    Blueprint,
    DicomOutput,
    FileOutput,
    NumpyFactory,
    NumpyGrinder,
    StaticElement,
    hookimpl,
)
from dicomnode.errors import ImageRefusedError, InputsIncompleteError, JobFailedError
from dicomnode.testing import Faults
from plugin_factory import INVERT, PluginFactory


class CT(AbstractInput):
    """CT images, five of them."""

    required_values: ClassVar = {"Modality": "CT"}
    image_grinder = NumpyGrinder()
    expected_images = 5


class Doubled(AbstractPipeline):
    """Twice the values, and a note."""

    inputs: ClassVar = {"ct": CT}

    def process(self, inputs):
        doubled = np.asarray(inputs["ct"]) * 2
        series = NumpyFactory().build_series(inputs.header, doubled)
        return [DicomOutput(series), FileOutput({"note.txt": f"of {inputs.patient.PatientID}"})]


def test_run_pipeline_gives_what_a_peer_would_receive(run_pipeline, synthetic_series):
    """Sorted, ground, processed, written and read again: datasets in order, and files by name."""
    result = run_pipeline(Doubled, synthetic_series("CT"))
    assert len(result) == 5
    values = np.stack(
        [each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept) for each in result]
    )
    assert np.abs(values - 2 * NumpyGrinder()(synthetic_series("CT")).array).max() < 0.1
    assert result.files == {"note.txt": b"of TEST-1"}


def test_run_pipeline_gives_the_same_each_time(run_pipeline, synthetic_series):
    """UIDs and moments follow from the job's identity: results can be compared with a stored one."""
    first, again = (run_pipeline(Doubled, synthetic_series("CT")) for _ in range(2))
    assert first == again


def test_run_pipeline_gives_other_uids_under_other_settings(run_pipeline, synthetic_series):
    """A SOP Instance UID never names two contents."""

    class Scaled(Doubled):
        Settings = dict

    first, again, other = (
        {each.SOPInstanceUID for each in run_pipeline(Scaled, synthetic_series("CT"), settings=settings)}
        for settings in ({"by": 2}, {"by": 2}, {"by": 3})
    )
    assert first == again
    assert not first & other


def test_run_pipeline_tells_why_an_image_is_refused(run_pipeline, synthetic_series):
    """With the input and its rule."""
    with pytest.raises(ImageRefusedError, match="ct: Modality is MR, not CT"):
        run_pipeline(Doubled, synthetic_series("MR"))


def test_run_pipeline_tells_what_is_missing(run_pipeline, synthetic_series):
    """An image that was dropped leaves the patient incomplete; one that came twice counts once."""
    images = synthetic_series("CT")
    with pytest.raises(InputsIncompleteError, match="ct: 4 of 5"):
        run_pipeline(Doubled, Faults(drop=[2]).applied(images))
    assert len(run_pipeline(Doubled, Faults(duplicate=[2], reorder=3).applied(images))) == 5


def test_run_pipeline_tells_what_failed(run_pipeline, synthetic_series):
    """As the host's log does."""

    class Broken(Doubled):
        def process(self, inputs):
            raise RuntimeError("no model here")

    with pytest.raises(JobFailedError, match="no model here"):
        run_pipeline(Broken, synthetic_series("CT"))


def test_run_pipeline_asks_only_the_hooks_that_it_is_given(run_pipeline, synthetic_series):
    """A module or an object with hook implementations."""

    class Rules:
        @hookimpl
        def dicomnode_blueprint(self):
            return Blueprint([StaticElement("InstitutionName", "Example Hospital")])

    result = run_pipeline(Doubled, synthetic_series("CT"), hooks=[Rules()])
    assert {each.InstitutionName for each in result} == {"Example Hospital"}


@pytest.fixture
def installed(tmp_path):
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("invert", INVERT)
    with plugins.installed():
        yield


def test_run_pipeline_takes_an_installed_pipeline_by_name(installed, run_pipeline, synthetic_series):
    """By its entry point."""
    assert len(run_pipeline("invert", synthetic_series("MR"))) == 5


def test_a_host_runs_the_whole_route(installed, start_host, synthetic_series):
    """Sent over a real association, processed in a worker, delivered to a peer that kept it."""
    configured = start_host("invert")
    assert configured.send(synthetic_series("MR")) == [0x0000] * 5
    (job,) = configured.wait_for_jobs()
    assert job.pipeline == "invert"
    assert len(configured.peer.received) == 5
    assert any(event.station.value == "delivered" for event in configured.events)


def test_an_abort_completes_nothing(installed, start_host, synthetic_series):
    """Faults on request: the aborted association starts no job, the repeated one does."""
    configured = start_host({"invert": {}})
    assert configured.send(synthetic_series("MR"), faults=Faults(abort_after=3)) == [0x0000] * 3
    assert configured.send(synthetic_series("MR"), faults=Faults(duplicate=[0], reorder=1)) == [0x0000] * 6
    assert len(configured.wait_for_jobs()) == 1
    assert len(configured.peer.received) == 5


def test_images_are_sent_to_any_peer(receiving_peer, send, synthetic_series):
    """Sender and receiver without a host between."""
    assert (
        send(synthetic_series("PT"), ("127.0.0.1", receiving_peer.port), receiving_peer.ae_title) == [0] * 5
    )
    assert len(receiving_peer.wait_for(5)) == 5


def imported_with(*modules):
    """Return what is imported in a fresh process that imports some modules."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_pytest_plugin_imports_nothing_heavy():
    """Pytest loads it wherever dicomnode-host is installed, so it must cost nothing."""
    heavy = {"numpy", "pydicom", "pynetdicom", "pydantic"}
    assert not imported_with("dicomnode.testing.fixtures") & heavy


def test_the_host_does_not_import_it():
    """What tests need is no part of what runs."""
    running = imported_with("dicomnode.host.host", "dicomnode.cli.run")
    assert not [name for name in running if name.startswith("dicomnode.testing")]
