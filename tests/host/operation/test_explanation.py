"""What the node would do with a file: who takes it, and which rule refuses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicomnode.host.configuration.config import Config
from dicomnode.host.gathering.reception import wanted_tags
from dicomnode.host.operation.explanation import explain
from dicomnode.host.parsing.statuses import Status


def explained(bench: Any, file: Path, **tables: Any) -> dict[str, Any]:
    """Return what would become of a file."""
    return explain(file, [bench.tree], Config.model_validate(tables), wanted_tags([bench.tree]))


def test_an_image_that_is_wanted(make_bench: Callable[..., Any]) -> None:
    """The patient, the input, and what would still be missing; nothing is kept."""
    bench = make_bench()
    file = bench.file("1.1")
    report = explained(bench, file)
    assert (report["file"], report["opened"], report["taken"], report["refused"]) == (
        *(str(file), True, True, None),
    )
    assert report["SOPInstanceUID"] == "1.1"
    (pipeline,) = report["pipelines"]
    assert "fewer than two" in pipeline.pop("missing")
    assert pipeline.pop("rules")["open_association_wait"] == 120.0
    assert pipeline == {
        "pipeline": "two",
        "ae_title": "TWO",
        "gather_by": "patient",
        "taken": True,
        "status": Status.SUCCESS,
        "reason": None,
        "container_key": "P1",
        "inputs": {"images": None},
        "here": None,
    }
    assert bench.tree.keys() == []


def test_images_that_wait_count(make_bench: Callable[..., Any]) -> None:
    """With what waits already, nothing would be missing."""
    bench = make_bench()
    bench.insert("1.1")
    (pipeline,) = explained(bench, bench.file("1.2"))["pipelines"]
    assert (pipeline["taken"], pipeline["missing"], pipeline["here"]) == (True, None, None)
    assert bench.tree.counts() == {"P1": {"images": 1}}


def test_an_image_that_no_input_wants(make_bench: Callable[..., Any]) -> None:
    """Each input says why, and the status is that of the answer."""
    bench = make_bench()
    report = explained(bench, bench.file("1.1", "UNWANTED"))
    (pipeline,) = report["pipelines"]
    assert (report["taken"], pipeline["taken"]) == (False, False)
    assert pipeline["status"] == Status.NOT_AUTHORISED
    assert pipeline["reason"] == "images: it is unwanted"
    assert pipeline["inputs"] == {"images": "it is unwanted"}


def test_an_image_that_is_discarded_or_sorted_later_is_answered_with_success(
    make_bench: Callable[..., Any],
) -> None:
    """It is not taken all the same."""
    for table in ({"on_unwanted": "discard"}, {"sorts_before_answer": False}):
        bench = make_bench(**table)
        (pipeline,) = explained(bench, bench.file("1.1", "UNWANTED"))["pipelines"]
        assert (pipeline["taken"], pipeline["status"]) == (False, Status.SUCCESS)


def test_a_check_of_a_plugin_that_fails(make_bench: Callable[..., Any]) -> None:
    """Its error is told, and the status says that the node failed."""
    bench = make_bench()
    (pipeline,) = explained(bench, bench.file("1.1", "BROKEN"))["pipelines"]
    assert (pipeline["taken"], pipeline["status"]) == (False, Status.PROCESSING_FAILURE)
    assert pipeline["reason"].endswith("(KeyError: 'no such table')")


def test_an_image_without_the_identifier_of_its_patient(make_bench: Callable[..., Any]) -> None:
    """What the pipeline gathers images by is missing."""
    bench = make_bench()
    (pipeline,) = explained(bench, bench.file("1.1", ""))["pipelines"]
    assert (pipeline["taken"], pipeline["status"]) == (False, Status.IDENTIFIER_MISSING)
    assert pipeline["container_key"] is None


def test_an_image_that_is_here_already(make_bench: Callable[..., Any]) -> None:
    """The same content is taken again; other content is refused, or replaces it where that is configured."""
    bench = make_bench()
    bench.insert("1.1")
    same, other = bench.file("1.1"), bench.file("1.1", name="other", PatientComments="changed")
    (pipeline,) = explained(bench, same)["pipelines"]
    assert (pipeline["taken"], pipeline["here"]) == (True, "waiting")
    (pipeline,) = explained(bench, other)["pipelines"]
    assert (pipeline["taken"], pipeline["status"]) == (False, Status.CONFLICT)
    assert pipeline["reason"] == "SOP instance is here with other content"
    replacing = make_bench(on_conflict="replace")
    replacing.insert("1.1")
    (pipeline,) = explained(replacing, other)["pipelines"]
    assert (pipeline["taken"], pipeline["here"]) == (True, "waiting")


def test_a_file_that_is_not_there(make_bench: Callable[..., Any], tmp_path: Path) -> None:
    """It was not opened, and the reason is the system's."""
    report = explained(make_bench(), tmp_path / "none.dcm")
    assert (report["opened"], report["taken"], report["pipelines"]) == (False, False, [])
    assert report["refused"] == {
        "status": None,
        "reason": "it cannot be opened: No such file or directory",
    }


def test_a_file_that_is_no_dicom(make_bench: Callable[..., Any], tmp_path: Path) -> None:
    """It cannot be sent at all."""
    file = tmp_path / "text.dcm"
    file.write_text("some words " * 50)
    report = explained(make_bench(), file)
    assert (report["opened"], report["taken"], report["pipelines"]) == (True, False, [])
    assert report["refused"]["reason"]


def test_a_file_that_is_too_large(make_bench: Callable[..., Any]) -> None:
    """The receiver would end the association; no pipeline is asked."""
    bench = make_bench()
    file = bench.file("1.1")
    size = file.stat().st_size
    report = explained(bench, file, receiver={"max_object_size": size - 1})
    assert report["pipelines"] == []
    assert report["refused"] == {
        "status": None,
        "reason": f"it has {size} bytes; the association is ended at receiver.max_object_size",
    }


def test_a_class_that_is_not_known(make_bench: Callable[..., Any]) -> None:
    """No presentation context can be agreed upon; the keys that would change it are named."""
    bench, uid = make_bench(), "1.2.3.4.5"
    file = bench.file("1.1", SOPClassUID=uid)
    report = explained(bench, file)
    assert report["pipelines"] == []
    assert f"({uid}) is no storage class that is known" in report["refused"]["reason"]
    assert "receiver.extra_sop_classes" in report["refused"]["reason"]
    assert explained(bench, file, receiver={"extra_sop_classes": [uid]})["refused"] is None
