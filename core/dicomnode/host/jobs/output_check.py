"""What must hold of a result before it leaves: whose it is, that it can be read, that its UIDs are new."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset

from dicomnode.dicom.values.iod import iod_of, missing_attributes
from dicomnode.errors import JobFailedError, StructureError
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.parsing.file_meta import FileMeta, decode_prefix
from dicomnode.host.parsing.inspection import InspectionLimits, inspect
from dicomnode.host.parsing.structure import WalkLimits
from dicomnode.host.spool.spool_writer import DescriptorSource
from dicomnode.pipeline.destination import OutboxItem

if TYPE_CHECKING:
    from dicomnode.pipeline.pipelines import IODCheck

_HEAD = 16_384
_SHOWN = 5
# Our own results: no bound but the standard's own lengths.
_LIMITS = InspectionLimits(walk=WalkLimits(), inflated=2**31)


class OutputCheck:
    """Checks the DICOM files of one job.

    Parameters
    ----------
    sources : sequence of Dataset
        The images that the job was given.
    iod_check : {"off", "warn", "block"}
        Whether attributes that an IOD asks for (Type 1 and 2 of its mandatory modules, PS3.3) may be missing.
    same_patient : bool
        Whether results must be of a patient of the sources.
    same_study : bool
        Whether results must be of a study of the sources.

    Attributes
    ----------
    faults : list of str
        Why the result must not be sent out, without values of patients.
    warnings : list of str
        What may be wrong with it.
    series : dict of str to str
        SOP Instance UID -> Series Instance UID of what was checked.
    """

    def __init__(
        self, sources: Sequence[Dataset], *, iod_check: IODCheck, same_patient: bool, same_study: bool
    ) -> None:
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.series: dict[str, str] = {}
        self._iod_check = iod_check
        self._known = {
            keyword: {_text(source, keyword) for source in sources}
            for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        self._same = [("PatientID", "a patient")] * same_patient + [
            ("StudyInstanceUID", "a study")
        ] * same_study
        self._seen: dict[str, OutboxItem] = {}
        self._iod_faults: dict[str, int] = {}

    def check(self, item: OutboxItem) -> None:
        """Check one file; items without a SOP Instance UID are no DICOM and pass."""
        if not item.SOPInstanceUID:
            return
        try:
            meta = _readable(item.path)
            dataset = pydicom.dcmread(item.path, stop_before_pixels=True)
        except (StructureError, OSError) as error:
            self.faults.append(f"{item.path.name} cannot be read back: {error}")
            return
        except Exception as error:
            self.faults.append(f"{item.path.name} cannot be read back: {type(error).__name__}: {error}")
            return
        self.faults.extend(f"{item.path.name} {fault}" for fault in self._faults(item, meta, dataset))
        self.series[item.SOPInstanceUID] = _text(dataset, "SeriesInstanceUID")
        self._note_iod(dataset)

    def _faults(self, item: OutboxItem, meta: FileMeta, dataset: Dataset) -> Iterator[str]:
        for keyword, said, found in (
            ("SOPInstanceUID", item.SOPInstanceUID, meta.MediaStorageSOPInstanceUID),
            ("SOPClassUID", item.SOPClassUID, meta.MediaStorageSOPClassUID),
            ("TransferSyntaxUID", item.TransferSyntaxUID, meta.TransferSyntaxUID),
        ):
            if said != found:
                yield f"was announced with another {keyword} than it has"
        uid = meta.MediaStorageSOPInstanceUID
        if uid in self._known["SOPInstanceUID"]:
            yield "has the SOPInstanceUID of an input: a result needs a new one"
        other = self._seen.setdefault(uid, item)
        if other is not item and not _is_copy_for_others(item, other):
            yield "has the SOPInstanceUID of another output of this job"
        for keyword, what in self._same:
            if _text(dataset, keyword) not in self._known[keyword]:
                yield f"has a {keyword} that no input has: it would be filed with {what} that it is not of"
        if _text(dataset, "SeriesInstanceUID") in self._known["SeriesInstanceUID"]:
            self._warn(
                "results are in a series of the inputs; they need one of their own (PS3.3 section A.1.2.3)"
            )

    def _note_iod(self, dataset: Dataset) -> None:
        if self._iod_check == "off":
            return
        if iod_of(str(dataset.SOPClassUID)) is None:
            self._warn(
                f"the tables do not know the SOP class {dataset.SOPClassUID}: its attributes were not checked"
            )
        for fault in missing_attributes(dataset):
            self._iod_faults[fault] = self._iod_faults.get(fault, 0) + 1

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def finish(self) -> None:
        """Count what the IODs lack, once all files have been seen."""
        lacking = [
            f"{fault} (in {count} of {len(self._seen)} instances)"
            for fault, count in self._iod_faults.items()
        ]
        (self.faults if self._iod_check == "block" else self.warnings).extend(lacking)


def check_outputs(
    items: Sequence[OutboxItem],
    sources: Sequence[Dataset],
    *,
    iod_check: IODCheck,
    same_patient: bool,
    same_study: bool,
) -> OutputCheck:
    """Check everything that a job wrote; return the check, with its warnings and what it saw.

    Parameters
    ----------
    items, sources, iod_check, same_patient, same_study
        As in :class:`OutputCheck`.

    Raises
    ------
    JobFailedError
        When something must not be sent out; the message names the first faults, the log tail all of them.
    """
    check = OutputCheck(sources, iod_check=iod_check, same_patient=same_patient, same_study=same_study)
    for item in items:
        check.check(item)
    check.finish()
    if check.faults:
        more = f"; and {len(check.faults) - _SHOWN} more" if len(check.faults) > _SHOWN else ""
        msg = "the result must not be sent out: " + "; ".join(check.faults[:_SHOWN]) + more
        raise JobFailedError(msg, Failure.OUTPUT, "\n".join(check.faults))
    return check


def _readable(path: Path) -> FileMeta:
    """Read a file to its end and return its meta information.

    Raises
    ------
    StructureError
        When it cannot be read, or is not what its meta information says.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(descriptor, _HEAD, 0)
        meta, offset = decode_prefix(head)
        expected = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        source, end = DescriptorSource(descriptor, head), os.fstat(descriptor).st_size
        inspect(source, offset, end, meta.TransferSyntaxUID, frozenset(), _LIMITS, expected=expected)
    finally:
        os.close(descriptor)
    return meta


def _is_copy_for_others(item: OutboxItem, other: OutboxItem) -> bool:
    """Say whether two items are one instance that goes to different destinations (a hook's copy, say)."""
    return item.destinations != other.destinations and filecmp.cmp(item.path, other.path, shallow=False)


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword, None) or "").strip()
