"""Whatever is done to a tree, in whatever order, it holds and counts what a plain dictionary would."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from pydicom.dataset import Dataset

from dicomnode.dicom.tree.dicom_tree import DicomTree, SeriesTree, StudyTree
from dicomnode.errors import DuplicateImageError, ImageTreeError

FEW = st.integers(0, 2)


def _image(number: int, series: int, study: int, patient: int) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID, made.PatientID = f"1.{number}", f"P{patient}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"2.{patient}.{study}", f"3.{patient}.{study}.{series}"
    return made


class TreeMachine(RuleBasedStateMachine):
    """A DicomTree beside a dictionary of SOP Instance UID to image."""

    seen = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.tree = DicomTree()
        self.model: dict[str, Dataset] = {}

    @rule(target=seen, number=st.integers(0, 9), series=FEW, study=FEW, patient=FEW)
    def add(self, number: int, series: int, study: int, patient: int) -> str:
        """Add an image at the root: new, or a duplicate, here or elsewhere in the tree."""
        image = _image(number, series, study, patient)
        if image.SOPInstanceUID in self.model:
            with pytest.raises(DuplicateImageError):
                self.tree.add_image(image)
        else:
            self.tree.add_image(image)
            self.model[image.SOPInstanceUID] = image
        return str(image.SOPInstanceUID)

    @rule(
        target=seen, number=st.integers(0, 9), data=st.data(), level=st.integers(1, 3), foreign=st.booleans()
    )
    def add_below(self, number: int, data: st.DataObject, level: int, foreign: bool) -> str:
        """Add an image through a branch, sometimes one that does not belong there."""
        uid = f"1.{number}"
        if not self.model:
            return uid
        held = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        patient = self.tree.patients[held.PatientID]
        study = patient.studies[held.StudyInstanceUID]
        configured = (patient, study, study.series[held.SeriesInstanceUID])[level - 1]
        image = Dataset()
        image.update(held)
        image.add_new("SOPInstanceUID", "UI", uid)
        if foreign:
            image.add_new("PatientID", "LO", "another")
        if foreign or uid in self.model:
            with pytest.raises(ImageTreeError):
                configured.add_image(image)
        else:
            configured.add_image(image)
            self.model[uid] = image
        return uid

    @rule(uid=consumes(seen))
    def remove(self, uid: str) -> None:
        """Remove an image, or fail to where it is not there."""
        if uid in self.model:
            self.tree.remove(uid)
            del self.model[uid]
        else:
            with pytest.raises(ImageTreeError):
                self.tree.remove(uid)

    @rule(uid=seen)
    def remove_below(self, uid: str) -> None:
        """Remove an image through its series."""
        held = self.model.pop(uid, None)
        if held is not None:
            study = self.tree.patients[held.PatientID].studies[held.StudyInstanceUID]
            study.series[held.SeriesInstanceUID].remove(uid)

    @rule(patient=FEW)
    def filter(self, patient: int) -> None:
        """Go on with a filtered tree."""
        self.tree = self.tree.filter(lambda image: image.PatientID != f"P{patient}")
        self.model = {uid: image for uid, image in self.model.items() if image.PatientID != f"P{patient}"}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Compare counts, content and look-ups, at the root and at every level; no level is empty."""
        assert len(self.tree) == len(self.model) == len(list(self.tree))
        assert bool(self.tree) == bool(self.model)
        assert {str(image.SOPInstanceUID): image for image in self.tree} == self.model
        assert all(uid in self.tree and self.tree.get(uid) is image for uid, image in self.model.items())
        assert all((f"1.{number}" in self.tree) == (f"1.{number}" in self.model) for number in range(10))
        for patient in self.tree.patients.values():
            assert len(patient) == sum(len(study) for study in patient.studies.values()) > 0
            for study in patient.studies.values():
                assert isinstance(study, StudyTree)
                assert len(study) == sum(len(series) for series in study.series.values()) > 0
                assert all(
                    isinstance(series, SeriesTree) and len(series) > 0 for series in study.series.values()
                )


TreeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTree = TreeMachine.TestCase
