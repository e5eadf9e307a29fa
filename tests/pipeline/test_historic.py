"""An input that fetches earlier images: what it claims, when it is complete, what it asks for."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydicom.dataset import Dataset

from bounded_steps import bounded_steps
from dicomnode import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus

FETCHED = HistoryStatus(HistoryState.FETCHED, "PACS", "1 images", "P1", frozenset({"1.2", "1.3.1"}))


class Earlier(HistoricAbstractInput):
    """Takes MR."""

    required_values: ClassVar = {"Modality": "MR"}


class Required(Earlier):
    """Does not go without."""

    when_nothing: ClassVar = "required"


class Optional(Earlier):
    """Goes without, whatever happened."""

    when_failed: ClassVar = "optional"


def image(study: str = "1.2", series: str = "1.2.1", patient: str = "P1", **values: str) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID = f"{series}.1", study, series
    made.PatientID, made.Modality = patient, "MR"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def held(
    kind: type[HistoricAbstractInput], state: HistoryState | None, *images: Dataset
) -> HistoricAbstractInput:
    """Return an input in some state with some images."""
    made = kind("earlier")
    if state is not None:
        made.history = HistoryStatus(state, "PACS", "why", "P1", FETCHED.asked_for)
    for each in images:
        made.insert(each)
    return made


@pytest.mark.parametrize(
    ("kind", "state", "images", "missing"),
    [
        (Earlier, None, 0, "earlier images are being fetched"),
        (Earlier, HistoryState.FETCHING, 0, "earlier images are being fetched: why"),
        (Earlier, HistoryState.FETCHING, 1, "earlier images are being fetched: why"),
        (Earlier, HistoryState.FETCHED, 1, None),
        (Earlier, HistoryState.FETCHED, 0, None),
        (Required, HistoryState.FETCHED, 0, "there are no earlier images: why"),
        (Earlier, HistoryState.NOTHING, 0, None),
        (Required, HistoryState.NOTHING, 0, "there are no earlier images: why"),
        (Earlier, HistoryState.FAILED, 0, "earlier images could not be fetched: why"),
        (Optional, HistoryState.FAILED, 0, None),
        (Optional, HistoryState.FAILED, 1, "earlier images could not be fetched: why"),
        (Required, HistoryState.FAILED, 0, "earlier images could not be fetched: why"),
    ],
)
def test_when_it_is_complete(
    kind: type[HistoricAbstractInput], state: HistoryState | None, images: int, missing: str | None
) -> None:
    """Each state holds the patient back as the author chose; half a set always does."""
    assert held(kind, state, *[image()][:images]).missing() == missing


def test_validate_never_blocks() -> None:
    """Asked in every state it answers after the same small number of steps, whatever else goes on."""
    for state in (None, *HistoryState):
        asked = held(Earlier, state)
        with bounded_steps(200):
            asked.missing()


def test_what_was_asked_for_belongs_here() -> None:
    """Images of the studies and series that were asked for are claimed, of this patient only."""
    earlier = held(Earlier, HistoryState.FETCHING)
    assert earlier.claims(image())
    assert earlier.claims(image(study="1.3", series="1.3.1"))
    assert not earlier.claims(image(study="1.3", series="1.3.2"))
    assert not earlier.claims(image(patient="P2"))
    assert earlier.why_not(image()) is None
    assert earlier.why_not(image(Modality="OT")) == "Modality is OT, not MR"
    assert not held(Earlier, None).claims(image())


def test_refused_images_are_remembered() -> None:
    """An image that was asked for and refused is counted once; one that was not asked for is not counted."""
    earlier = held(Earlier, HistoryState.FETCHING)
    for each in (image(Modality="OT"), image(Modality="OT"), image(patient="P2")):
        earlier.was_refused(each)
    assert earlier.refused == {"1.2.1.1"}


def test_the_default_choice() -> None:
    """All studies but the image's own and later ones; a study without a date is taken."""
    now = image(study="1.9", StudyDate="20240101")
    found = [
        image(study="1.9", StudyDate="20240101"),
        image(study="1.8", StudyDate="20240101"),
        image(study="1.7", StudyDate="20200101"),
        image(study="1.6", StudyDate="20250101"),
        image(study="1.5", StudyDate=""),
    ]
    chosen = Earlier("earlier").choose(found, now)
    assert [each.StudyInstanceUID for each in chosen] == ["1.8", "1.7", "1.5"]
    assert Earlier("earlier").query(now) == {}
