"""How far the fetching of a patient's earlier images is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HistoryState(StrEnum):
    """Where the fetching of earlier images for one input is."""

    FETCHING = "fetching"
    """Asked for, and not all here yet."""
    FETCHED = "fetched"
    """All that was asked for is here."""
    NOTHING = "nothing"
    """The PACS has nothing earlier, or nothing that the author chose."""
    FAILED = "failed"
    """The PACS could not be asked, or did not send all, as often as it was tried."""
    OVER = "over"
    """The patient went into a job, or was given up."""


@dataclass(frozen=True, slots=True)
class HistoryStatus:
    """The fetching for one input of one patient, as it stands.

    Attributes
    ----------
    state : HistoryState
        Where it is.
    peer : str
        The name of the peer that is asked.
    reason : str
        Why it is there, in words that may name UIDs and no other patient data.
    PatientID : str
        The patient who was asked for.
    asked_for : frozenset of str
        The Study or Series Instance UIDs that were asked for.
    """

    state: HistoryState
    peer: str = ""
    reason: str = ""
    PatientID: str = ""
    asked_for: frozenset[str] = frozenset()
