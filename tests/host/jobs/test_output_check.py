"""What must hold of a result before it leaves: each fault on its own, and what is only worth a warning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.output_check import OutputCheck, check_outputs
from dicomnode.pipeline.destination import OutboxItem
from dicomnode.pipeline.outputs import DicomOutput
from receiving import small_dataset

SOURCE = small_dataset(SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2", StudyInstanceUID="1", PatientID="P1")
OTHER = small_dataset(SOPInstanceUID="9.3", SeriesInstanceUID="9.2", StudyInstanceUID="9", PatientID="P9")
SOURCES = [SOURCE, OTHER]

Write = Callable[..., OutboxItem]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a result (of the source's patient and study, in a series of its own)."""

    def written(**values: Any) -> OutboxItem:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        given = {"SeriesInstanceUID": "2.2", "StudyInstanceUID": "1", "PatientID": "P1", **values}
        (item,) = DicomOutput([small_dataset(**given)]).write(folder)
        return item

    return written


def checked(*items: OutboxItem, sources: Sequence[Dataset] = SOURCES, **options: Any) -> OutputCheck:
    given = {"iod_check": "off", "same_patient": True, "same_study": True, **options}
    check = OutputCheck(sources, **given)
    for item in items:
        check.check(item)
    check.finish()
    return check


def test_a_sound_result(write: Write) -> None:
    """Nothing is said of it, and the series of each instance is known."""
    items = [write(), write(SeriesInstanceUID="2.3", PatientID="P9 ", StudyInstanceUID="9")]
    check = checked(*items)
    assert (check.faults, check.warnings) == ([], [])
    assert check.series == {items[0].SOPInstanceUID: "2.2", items[1].SOPInstanceUID: "2.3"}


def test_what_is_no_dicom_is_not_read(tmp_path: Path) -> None:
    """An item without a SOP Instance UID passes, whatever is in its file."""
    check = checked(OutboxItem("file", tmp_path / "not there"))
    assert (check.faults, check.warnings, check.series) == ([], [], {})


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID"])
def test_an_item_says_what_its_file_says(write: Write, keyword: str) -> None:
    """What an output announces of a file must be true of it, or a peer would refuse it."""
    item = replace(write(), **{keyword: "1.2.840.1"})
    assert checked(item).faults == [f"{item.path.name} was announced with another {keyword} than it has"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b"text" * 100),
    ],
)
def test_a_file_that_cannot_be_read_back(write: Write, damage: Callable[[Path], object]) -> None:
    """A file that has gone, is cut off or no DICOM is a fault, and the next file is checked all the same."""
    broken, sound = write(), write(PatientID="other")
    damage(broken.path)
    check = checked(broken, sound)
    assert len(check.faults) == 2
    assert check.faults[0].startswith(f"{broken.path.name} cannot be read back: ")
    assert set(check.series) == {sound.SOPInstanceUID}


def test_a_file_that_pydicom_stumbles_over(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reading raises is a fault of that file."""

    def failing(*_arguments: object, **_options: object) -> Dataset:
        raise NotImplementedError("odd")

    item = write()
    monkeypatch.setattr("pydicom.dcmread", failing)
    assert checked(item).faults == [f"{item.path.name} cannot be read back: NotImplementedError: odd"]


def test_the_instance_of_an_input_is_not_made_again(write: Write) -> None:
    """A result needs a UID of its own."""
    (fault,) = checked(write(SOPInstanceUID="9.3")).faults
    assert "has the SOPInstanceUID of an input" in fault


def test_one_instance_is_one_result(write: Write) -> None:
    """Two files of one UID are a fault, unless they are one file for different destinations."""
    one, two = write(SOPInstanceUID="5"), write(SOPInstanceUID="5")
    (fault,) = checked(one, two).faults
    assert fault == f"{two.path.name} has the SOPInstanceUID of another output of this job"
    assert checked(one, replace(two, destinations=("ELSEWHERE",))).faults == []
    assert len(checked(one, replace(one, destinations=("ELSEWHERE",)), two).faults) == 1
    other = write(SOPInstanceUID="5", PatientComments="another content")
    assert len(checked(one, replace(other, destinations=("ELSEWHERE",))).faults) == 1


@pytest.mark.parametrize(
    ("keyword", "option", "what"),
    [("PatientID", "same_patient", "a patient"), ("StudyInstanceUID", "same_study", "a study")],
)
def test_a_result_is_of_its_sources(write: Write, keyword: str, option: str, what: str) -> None:
    """A result of another patient or study is a fault where it must be the same; its value is not shown."""
    item = write(**{keyword: "7.7"})
    said = f"has a {keyword} that no input has: it would be filed with {what} that it is not of"
    assert checked(item).faults == [f"{item.path.name} {said}"]
    assert checked(item, **{option: False}).faults == []


def test_a_result_in_a_series_of_its_inputs_is_warned_of_once(write: Write) -> None:
    """It may be sent, and the operator learns of it, however many instances it has."""
    check = checked(write(SeriesInstanceUID="1.2"), write(SeriesInstanceUID="9.2"))
    assert check.faults == []
    (warning,) = check.warnings
    assert "results are in a series of the inputs" in warning


@pytest.mark.parametrize(("iod_check", "where"), [("off", None), ("warn", "warnings"), ("block", "faults")])
def test_what_an_iod_asks_for(write: Write, iod_check: str, where: str | None) -> None:
    """What lacks is counted over all instances, and passed over, warned of or a fault."""
    items = [write(Modality=""), write(Modality=""), write()]
    check = checked(*items, iod_check=iod_check)
    told = "Modality (Type 1) is empty (in 2 of 3 instances)"
    assert (told in check.warnings, told in check.faults) == (where == "warnings", where == "faults")


def test_a_class_that_the_tables_do_not_know(write: Write) -> None:
    """Its attributes cannot be checked, which is said once; with "off" nothing is."""
    items = [write(SOPClassUID="1.2.3.4") for _ in range(2)]
    for item in items:
        assert item.SOPClassUID == "1.2.3.4"
    (warning,) = checked(*items, iod_check="warn").warnings
    assert "do not know the SOP class 1.2.3.4" in warning
    assert checked(*items, iod_check="off").warnings == []


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (6, "; and 1 more"), (8, "; and 3 more")])
def test_a_job_with_faults_fails(write: Write, count: int, more: str) -> None:
    """The reason names the first five and counts the rest; the log has all of them."""
    items = [write(PatientID="other") for _ in range(count)]
    with pytest.raises(JobFailedError, match="the result must not be sent out: ") as caught:
        check_outputs(items, SOURCES, iod_check="off", same_patient=True, same_study=True)
    assert caught.value.kind == Failure.OUTPUT
    assert str(caught.value).count("PatientID that no input has") == min(count, 5)
    assert str(caught.value).endswith("that it is not of" + more)
    assert len(caught.value.log_tail.splitlines()) == count


def test_a_job_without_faults_has_its_warnings(write: Write) -> None:
    """The check is returned, with what it saw."""
    items = [write(SeriesInstanceUID="1.2", PatientID="other", StudyInstanceUID="7")]
    check = check_outputs(items, SOURCES, iod_check="off", same_patient=False, same_study=False)
    assert len(check.warnings) == 1
    assert check.series == {items[0].SOPInstanceUID: "1.2"}
    assert check_outputs([], SOURCES, iod_check="block", same_patient=True, same_study=True).faults == []
