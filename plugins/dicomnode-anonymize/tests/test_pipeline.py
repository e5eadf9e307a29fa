"""The pipeline: settings, what it refuses, what it makes of a patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicomnode_anonymize import hooks
from dicomnode_anonymize.pipeline import AnonymizePipeline
from instances import bare, ct

from dicomnode import DicomOutput, IdentityMapping, InputContainer, Job, LazyDataset, errors

KEY = "a key for the tests"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def pipeline(**settings: object) -> AnonymizePipeline:
    """Return the pipeline with settings as the host gives them."""
    return AnonymizePipeline(AnonymizePipeline.validated_settings({"key": {"env": "THE_KEY"}, **settings}))


def container(made: AnonymizePipeline, images: list[object], workdir: Path) -> InputContainer:
    """Return what ``process`` receives."""
    held = made.inputs["instances"]("instances")
    for image in images:
        held.insert(image)
    return InputContainer(
        {"instances": held},
        blueprint=made.blueprint,
        filling_strategy=made.filling_strategy,
        header_input="instances",
        job=Job("1", "the job", workdir),
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"options": ["retain-all"]}, "no option 'retain-all'"),
        ({"options": ["retain-uids"]}, "de-identified instance one UID"),
        ({"key": "in the file"}, "key"),
        ({"key": {}}, "where the key is"),
        ({"key": {"env": "A", "file": "b"}}, "where the key is"),
        ({"safe_private": ["x"]}, "write it as"),
        ({"burned_in": "ignore"}, "burned_in"),
        ({"optoins": []}, "optoins"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, object], told: str) -> None:
    """Each is told when the configuration is read, not when a patient comes."""
    AnonymizePipeline.check_definition()
    with pytest.raises(errors.ConfigurationError, match=told):
        AnonymizePipeline.validated_settings(settings)


def test_the_key_is_no_setting() -> None:
    """What the settings show of the key is where it is."""
    assert KEY not in repr(pipeline().settings)
    assert pipeline().settings.model_dump(mode="json")["key"] == {"env": "THE_KEY", "file": None}


def test_a_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every instance comes out de-identified; the images that were given are not changed."""
    monkeypatch.setenv("THE_KEY", KEY)
    ct().save_as(tmp_path / "1.dcm")
    on_disk = LazyDataset(tmp_path / "1.dcm")
    in_memory = ct(SOPInstanceUID="1.2.3")
    made = pipeline(table=str(tmp_path / "table"))
    output = made.process(container(made, [on_disk, in_memory], tmp_path))
    assert isinstance(output, DicomOutput)
    assert {dataset.PatientID for dataset in output.datasets} == {IdentityMapping(KEY).patient_id("1CT1")}
    assert on_disk.PatientID == in_memory.PatientID == "1CT1"
    table = IdentityMapping.load(tmp_path / "table")
    assert table.original("UID", output.datasets[1].SOPInstanceUID) == "1.2.3"
    assert made.changes_identity
    (tmp_path / "outbox").mkdir()
    items = output.write(tmp_path / "outbox")
    assert [item.SOPInstanceUID for item in items] == [dataset.SOPInstanceUID for dataset in output.datasets]


def test_images_are_refused_when_they_arrive() -> None:
    """The hook tells the sender why; with flag it takes them; other pipelines are none of its business."""
    capture = bare(CAPTURE, Rows=1)
    assert "may hold text" in str(hooks.dicomnode_validate_image(pipeline=pipeline(), image=capture))
    assert hooks.dicomnode_validate_image(pipeline=pipeline(burned_in="flag"), image=capture) is None
    assert hooks.dicomnode_validate_image(pipeline=pipeline(), image=ct()) is None
    assert hooks.dicomnode_validate_image(pipeline=object(), image=capture) is None


def test_a_whole_job(monkeypatch: pytest.MonkeyPatch, synthetic_study, run_pipeline) -> None:
    """Run as the host runs it, results of another patient pass the host's checks, and IODs stay whole."""
    monkeypatch.setenv("THE_KEY", KEY)
    images = synthetic_study(["CT", "MR"], patient="SECRET-4711")
    result = run_pipeline("anonymize", images, settings={"key": {"env": "THE_KEY"}}, hooks=[hooks])
    assert len(result) == len(images)
    assert {image.PatientID for image in result} == {IdentityMapping(KEY).patient_id("SECRET-4711")}
    assert {image.SOPInstanceUID for image in result}.isdisjoint(image.SOPInstanceUID for image in images)
    assert {image.PixelData for image in result} == {image.PixelData for image in images}
    assert len({image.SeriesInstanceUID for image in result}) == 2
    assert result.warnings == ()


def test_over_the_network(tmp_path: Path, synthetic_study, start_host) -> None:
    """A CT is taken and delivered de-identified, a capture is refused with the reason."""
    key = tmp_path / "key"
    host = start_host("anonymize", key={"file": str(key)})
    assert set(host.send(synthetic_study(["OT"], patient="SECRET-4711"))).isdisjoint({0})
    assert set(host.send(synthetic_study(["CT"], patient="SECRET-4711"))) == {0}
    host.wait_for_jobs()
    pseudonym = IdentityMapping(key.read_text().strip()).patient_id("SECRET-4711")
    assert {image.PatientID for image in host.peer.received} == {pseudonym}
    assert {image.PatientIdentityRemoved for image in host.peer.received} == {"YES"}
