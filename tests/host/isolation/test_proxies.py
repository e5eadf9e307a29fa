"""Classes in place of those of another environment: data are copied, overridden methods run in a worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import JobFailedError, PluginError
from dicomnode.host.configuration.configured_pipeline import InstalledPipeline
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.pipeline_tree import AdmissionRules, NoContainerKeyError
from isolated_plugins import Environments, on_disk
from own_processes import started_here
from plugin_factory import PRELUDE, PluginFactory
from sources import mr_slices


def test_data_need_no_worker_and_methods_do(
    installed: InstalledPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that are data refuse without a worker; predicates and methods are called in the environment."""
    good, wide, wrong, thirteen = mr_slices(4)
    wide.Rows = 128
    wrong.Modality = "PT"
    thirteen.InstanceNumber = 13
    good, wide, wrong, thirteen = on_disk(tmp_path, [good, wide, wrong, thirteen])
    held = installed.pipeline.inputs["images"]("images")
    assert held.why_not(good) is None
    assert "Rows is 128" in str(held.why_not(wide))
    assert held.why_not(thirteen) == "number 13 is not wanted beside 0 others"
    held.insert(good)  # an image is judged by itself, whatever is held
    assert held.why_not(thirteen) == "number 13 is not wanted beside 0 others"
    monkeypatch.setattr(type(held), "remote", None)
    assert "Modality is PT" in str(held.why_not(wrong))


def test_one_job_is_what_the_configuration_says(
    installed: InstalledPipeline, images: list[LazyDataset]
) -> None:
    """Where the class makes no keys of its own; and what an image lacks is named, as for any pipeline."""
    (image,) = images[:1]
    for gather_by, key in (
        (None, f"4MR1/{image.StudyInstanceUID}/{image.SeriesInstanceUID}"),
        ("study", f"4MR1/{image.StudyInstanceUID}"),
        (("Modality",), "MR"),
    ):
        assert AdmissionRules(installed.pipeline, gather_by).container_key(image) == key
    with pytest.raises(NoContainerKeyError, match=r"PatientID \(0010,0020\) is missing or empty"):
        AdmissionRules(installed.pipeline, "patient").container_key(Dataset())


def test_the_worker_sees_what_the_host_holds(installed: InstalledPipeline, images: list[LazyDataset]) -> None:
    """Completeness is asked of the same images: as they come and go, and after the worker was lost."""
    held = installed.pipeline.inputs["images"]("images")
    assert held.missing() == "0 of 4"
    for count, image in enumerate(images[:3], 1):
        held.insert(image)
        assert held.missing() == f"{count} of 4"
    held.remove(images[0].SOPInstanceUID)
    assert held.missing() == "2 of 4"
    bad = mr_slices(1)[0]
    bad.InstanceNumber = 100
    with pytest.raises(JobFailedError, match="exit code 1"):
        held.why_not(on_disk(images[0].path.parent / "bad", [bad])[0])
    held.insert(images[3])
    held.insert(images[0])
    assert held.missing() is None
    other = installed.pipeline.inputs["images"]("images")
    assert other.missing() == "0 of 4"


def test_what_code_raises_costs_no_worker(installed: InstalledPipeline, tmp_path: Path) -> None:
    """An exception of a rule is an answer: the same worker is asked on."""
    bad = mr_slices(1)[0]
    bad.InstanceNumber = 99
    held = installed.pipeline.inputs["images"]("images")
    assert held.missing() == "0 of 4"
    before = started_here()
    with pytest.raises(PluginError, match="raised ValueError: number 99"):
        held.why_not(on_disk(tmp_path, [bad])[0])
    assert held.missing() == "0 of 4"
    assert started_here() == before


def test_the_host_cannot_process(installed: InstalledPipeline) -> None:
    """The class that stands for a pipeline in the host never processes."""
    with pytest.raises(PluginError, match="its own environment"):
        installed.pipeline.process(None)  # type: ignore[arg-type]  # it is never looked at


MANY_RULES = (
    PRELUDE
    + """
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import Not
from dicomnode.plugins.hookspecs import hookimpl

class Plain(AbstractInput):
    optional = True
    expected_images = "NumberOfSlices"
    required_tags = (0x00100020,)

class Careful(AbstractInput):
    several_series = False
    required_values = {"ImageType": Not("LOCALIZER")}
    expected_images = lambda images: 2
    def choose_series(self, candidates):
        return min(candidates, key=lambda each: str(each.key))

class Earlier(HistoricAbstractInput):
    level = "series"
    fetch_attempts = 2
    def query(self, image):
        return {"Modality": image.Modality}
    def choose(self, found, image):
        return sorted(super().choose(found, image), key=lambda each: each.StudyDate)[-1:]

class Pipeline(AbstractPipeline):
    inputs = {"plain": Plain, "careful": Careful, "earlier": Earlier}
    alternatives = (("plain", "careful"),)
    resources = {"gpu": 1}
    def container_key(self, image):
        return f"{image.PatientID}-{image.Modality}"
    def process(self, inputs):
        return NoOutput()

@hookimpl
def dicomnode_validate_input(container_key, patient_id, input_name):
    return f"{input_name} of {container_key} of {patient_id} waits" if input_name == "careful" else None
"""
)


def test_other_rules(environments: Environments, isolation: Isolation, images: list[LazyDataset]) -> None:
    """Keys, proofs, choices of series and earlier images, and the environment's hooks are asked, too."""
    path = environments.make("many", "1.0")
    PluginFactory(path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages").add(
        "many", MANY_RULES, pipelines={"many": "Pipeline"}, hooks={"many": ""}
    )
    pipeline = isolation.pipeline("many", path, settings={}).pipeline
    assert pipeline.resources == {"gpu": 1}
    assert pipeline.container_key(images[0]) == "4MR1-MR"
    assert AdmissionRules(pipeline, "study").container_key(images[0]) == "4MR1-MR"
    plain, careful, earlier = (kind(name) for name, kind in pipeline.inputs.items())
    assert (plain.optional, plain.expected_images) == (True, "NumberOfSlices")
    expected = {name: (kind.expectation(), kind.chooses_series()) for name, kind in pipeline.inputs.items()}
    assert expected == {
        "plain": ("NumberOfSlices", False),
        "careful": ("function", True),
        "earlier": (None, False),
    }
    for image in images[:2]:
        careful.insert(image)
    assert careful.proof() == "2 of 2 images (expected_images)"
    chosen = careful.choose_series([])
    assert chosen == min(str(image.SeriesInstanceUID) for image in images[:2])
    part = careful.filter(lambda image: image is images[0])
    assert (part.proof(), careful.proof()) == ("", "2 of 2 images (expected_images)")
    localizer = Dataset()
    localizer.ImageType, localizer.PatientID = ["ORIGINAL", "LOCALIZER"], "4MR1"
    assert careful.why_not(localizer) == "ImageType is LOCALIZER, which is not taken"
    assert careful.missing() == "careful of 4MR1-MR of 4MR1 waits"
    assert isinstance(earlier, HistoricAbstractInput)
    assert (earlier.level, earlier.fetch_attempts, earlier.when_failed) == ("series", 2, "required")
    assert earlier.query(images[0]) == {"Modality": "MR"}
    found = []
    for date in ("20010101", "20030101", "20020101"):
        answer = Dataset()
        answer.StudyInstanceUID, answer.SeriesInstanceUID, answer.StudyDate = f"1.{date}", f"2.{date}", date
        found.append(answer)
    assert list(earlier.choose(found, images[0])) == [found[1]]
    status = HistoryStatus(HistoryState.FETCHED, "PACS", PatientID="4MR1", asked_for=frozenset({"1.5"}))
    earlier.history = status
    earlier.history = HistoryStatus(
        **{**_fields(status), "asked_for": frozenset({images[0].StudyInstanceUID})}
    )
    assert earlier.why_not(images[0]) is None
    assert "many" not in sys.modules


def _fields(status: HistoryStatus) -> dict[str, Any]:
    return {name: getattr(status, name) for name in status.__slots__}
