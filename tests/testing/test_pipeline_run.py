"""Running a pipeline on images: sorted, processed, written and read again, without network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydicom.dataset import Dataset

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
from dicomnode.errors import (
    ImageRefusedError,
    InputsIncompleteError,
    JobFailedError,
    PluginError,
    SettingsError,
)
from dicomnode.testing import Faults, synthetic_series
from dicomnode.testing.pipeline_run import PipelineResult, run_pipeline
from plugin_factory import INVERT, PluginFactory


class CT(AbstractInput):
    """CT images, five of them."""

    required_values: ClassVar = {"Modality": "CT"}
    image_grinder = NumpyGrinder()
    expected_images = 5


class Doubled(AbstractPipeline):
    """Twice the values, and a note."""

    inputs: ClassVar = {"ct": CT}

    def process(self, inputs: Any) -> Any:
        doubled = np.asarray(inputs["ct"]) * 2
        series = NumpyFactory().build_series(inputs.header, doubled)
        return [DicomOutput(series), FileOutput({"note.txt": f"of {inputs.patient.PatientID}"})]


def test_run_pipeline_gives_what_a_peer_would_receive() -> None:
    """Sorted, ground, processed, written and read again: datasets in order, and files by name."""
    result = run_pipeline(Doubled, synthetic_series("CT"))
    assert len(result) == 5
    values = np.stack(
        [each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept) for each in result]
    )
    assert np.abs(values - 2 * NumpyGrinder()(synthetic_series("CT")).array).max() < 0.1
    assert result.files == {"note.txt": b"of TEST-1"}


def test_run_pipeline_gives_the_same_each_time() -> None:
    """UIDs and moments follow from the job's identity: results can be compared with a stored one."""
    first, again = (run_pipeline(Doubled, synthetic_series("CT")) for _ in range(2))
    assert first == again


def test_run_pipeline_gives_other_uids_under_other_settings() -> None:
    """A SOP Instance UID never names two contents."""

    class Scaled(Doubled):
        Settings = dict

    first, again, other = (
        {each.SOPInstanceUID for each in run_pipeline(Scaled, synthetic_series("CT"), settings=settings)}
        for settings in ({"by": 2}, {"by": 2}, {"by": 3})
    )
    assert first == again
    assert not first & other


def test_run_pipeline_tells_why_an_image_is_refused() -> None:
    """With the input and its rule."""
    with pytest.raises(ImageRefusedError, match="ct: Modality is MR, not CT"):
        run_pipeline(Doubled, synthetic_series("MR"))


def test_run_pipeline_tells_what_is_missing() -> None:
    """An image that was dropped leaves the patient incomplete; one that came twice counts once."""
    images = synthetic_series("CT")
    with pytest.raises(InputsIncompleteError, match="ct: 4 of 5"):
        run_pipeline(Doubled, Faults(drop=[2]).applied(images))
    assert len(run_pipeline(Doubled, Faults(duplicate=[2], reorder=3).applied(images))) == 5


def test_run_pipeline_tells_what_failed() -> None:
    """As the host's log does."""

    class Broken(Doubled):
        def process(self, inputs: Any) -> Any:
            raise RuntimeError("no model here")

    with pytest.raises(JobFailedError, match="no model here"):
        run_pipeline(Broken, synthetic_series("CT"))


def test_run_pipeline_asks_only_the_hooks_that_it_is_given() -> None:
    """A module or an object with hook implementations."""

    class Rules:
        @hookimpl
        def dicomnode_blueprint(self) -> Blueprint:
            return Blueprint([StaticElement("InstitutionName", "Example Hospital")])

    result = run_pipeline(Doubled, synthetic_series("CT"), hooks=[Rules()])
    assert {each.InstitutionName for each in result} == {"Example Hospital"}


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    """Have the pipeline ``invert`` installed."""
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("invert", INVERT)
    with plugins.installed():
        yield


@pytest.mark.usefixtures("installed")
def test_run_pipeline_takes_an_installed_pipeline_by_name() -> None:
    """By its entry point."""
    assert len(run_pipeline("invert", synthetic_series("MR"))) == 5


def test_no_installed_pipeline_of_the_name_is_an_error() -> None:
    """With the name."""
    with pytest.raises(PluginError, match="no installed plugin registers 'nothing'"):
        run_pipeline("nothing", synthetic_series("CT"))


def test_images_of_several_patients_are_an_error() -> None:
    """As are no images at all; it says how many patients there are."""
    two = [*synthetic_series("CT"), *synthetic_series("CT", patient="TEST-2")]
    with pytest.raises(ValueError, match="run_pipeline runs one patient; the images are of 2"):
        run_pipeline(Doubled, two)
    with pytest.raises(ValueError, match="run_pipeline runs one patient; the images are of 0"):
        run_pipeline(Doubled, [])


def test_settings_that_are_wrong_are_an_error() -> None:
    """As in the configuration, with their key."""

    class Scaled(Doubled):
        """With one setting."""

        @dataclass(frozen=True)
        class Settings:
            """How much."""

            by: float = 2.0

    with pytest.raises(SettingsError, match="by"):
        run_pipeline(Scaled, synthetic_series("CT"), settings={"by": "much"})


def test_the_pipeline_is_set_up_before_it_processes() -> None:
    """As a worker sets it up."""

    class Prepared(Doubled):
        """Says what it was told at the beginning."""

        def setup(self) -> None:
            """Load the model."""
            self.model = "loaded"

        def process(self, inputs: Any) -> Any:
            """Write what was loaded."""
            return FileOutput({"model.txt": self.model})

    result = run_pipeline(Prepared, synthetic_series("CT"))
    assert (list(result), result.files) == ([], {"model.txt": b"loaded"})


def test_what_the_configuration_declares_changes_the_pipeline() -> None:
    """The inputs of a table replace those of the class."""
    declared = {"inputs": {"ct": {"expected_images": 4, "grinder": "volume"}}}
    result = run_pipeline(Doubled, synthetic_series("CT", (4, 8, 8)), declared=declared)
    assert len(result) == 4


def test_a_result_is_a_list_with_files_and_warnings() -> None:
    """The files are a copy of what it is given."""
    files = {"note.txt": b"x"}
    dataset = Dataset()
    result = PipelineResult([dataset], files, ("a warning",))
    files.clear()
    assert result == [dataset]
    assert (result.files, result.warnings) == ({"note.txt": b"x"}, ("a warning",))
