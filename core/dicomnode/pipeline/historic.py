"""An input that fetches the patient's earlier images from a PACS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput, CheckResult

Level = Literal["study", "series"]
"""What is looked for and fetched as a whole."""

Choice = Literal["required", "optional"]
"""Whether a job waits for want of earlier images (``"required"``), or starts without (``"optional"``)."""


class HistoricAbstractInput(AbstractInput):
    """The earlier images of a patient, fetched by the host when the patient is first seen.

    The host asks the pipeline's PACS (``history`` in the configuration) with C-FIND, at the level of studies
    or series, and has what :meth:`choose` chooses sent to the pipeline by C-MOVE (PS3.4 annex C). The images
    come in like any others and must pass the input's rules; what was asked for goes to this input and no
    other. How far it is survives a restart.

    Attributes
    ----------
    level : {"study", "series"}
        What is looked for and fetched.
    when_nothing : {"required", "optional"}
        What when the PACS has nothing, or nothing that was chosen: the patient waits, or the job starts
        without.
    when_failed : {"required", "optional"}
        What when the PACS could not be asked or did not send, as often as it was tried. For a patient that
        waits it is tried again from time to time. When only some of the images came, the patient waits in any
        case.
    fetch_timeout : float
        Seconds that one attempt may take.
    fetch_attempts : int
        How many attempts there are before the fetching counts as failed.
    fetch_retry : float
        Seconds after the first failed attempt; the wait doubles, to ten minutes.
    several_series, several_studies : bool
        Set here, as earlier images are as a rule of several series and studies.

    Examples
    --------
    >>> class EarlierCT(HistoricAbstractInput):
    ...     level = "series"
    ...     required_values = {"Modality": "CT"}
    ...
    ...     def query(self, image):
    ...         return {"ModalitiesInStudy": "CT", "Modality": "CT"}
    ...
    ...     def choose(self, found, image):
    ...         return sorted(super().choose(found, image), key=lambda each: each.StudyDate)[-1:]
    """

    level: ClassVar[Level] = "study"
    when_nothing: ClassVar[Choice] = "optional"
    when_failed: ClassVar[Choice] = "required"
    fetch_timeout: ClassVar[float] = 600.0
    fetch_attempts: ClassVar[int] = 5
    fetch_retry: ClassVar[float] = 30.0
    several_series: ClassVar[bool] = True
    several_studies: ClassVar[bool] = True

    def __init__(self, name: str = "", copied_tags: Collection[int] = ()) -> None:
        super().__init__(name, copied_tags)
        self.history: HistoryStatus | None = None
        """How far the fetching is; ``None`` before it has begun. Set by the host."""
        self.refused: set[str] = set()

    # -- what an author overrides -------------------------------------------------------------------------

    def query(self, image: Dataset) -> Mapping[str, Any]:  # noqa: ARG002 - the author's argument
        """Return what the PACS is asked with, besides the patient.

        Parameters
        ----------
        image : pydicom.Dataset
            The patient's first image.

        Returns
        -------
        mapping of str to Any
            Keyword -> value that must match (PS3.4 section C.2.2.2), such as ``{"StudyDate": "20200101-"}``;
            an empty value asks for the attribute to be returned. At series level the attributes of studies
            narrow down the studies, all others the series.
        """
        return {}

    def choose(self, found: Sequence[Dataset], image: Dataset) -> Iterable[Dataset]:
        """Choose what is fetched.

        Parameters
        ----------
        found : sequence of pydicom.Dataset
            The PACS's answers; at series level each with the attributes of its study, too.
        image : pydicom.Dataset
            The patient's first image.

        Returns
        -------
        iterable of pydicom.Dataset
            Those of the answers that are to be fetched. The default takes all but the image's own study and
            later ones.
        """
        date = str(image.get("StudyDate", "") or "")
        return [
            each
            for each in found
            if each.StudyInstanceUID != image.StudyInstanceUID
            and not (date and str(each.get("StudyDate", "") or "") > date)
        ]

    def validate(self) -> CheckResult:
        """Say whether the earlier images are here, or the author's choice is to go on without.

        Returns
        -------
        bool, str or None
            As :meth:`AbstractInput.validate`, which is asked when all has been fetched. It never waits.
        """
        status = self.history
        if status is None or status.state in (HistoryState.FETCHING, HistoryState.OVER):
            return _with_reason("earlier images are being fetched", status)
        if status.state is HistoryState.FAILED:
            missing = self.when_failed == "required" or len(self) > 0
            return _with_reason("earlier images could not be fetched", status) if missing else None
        if not self:
            return (
                _with_reason("there are no earlier images", status)
                if self.when_nothing == "required"
                else None
            )
        return super().validate()

    # -- what the host asks -------------------------------------------------------------------------------

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the rules and the default choice look at."""
        return super().indexed_tags() | {Tag("StudyDate")}

    def claims(self, image: Dataset) -> bool:
        """Say whether an image was asked for by this input."""
        status = self.history
        return (
            status is not None
            and image.get("PatientID") == status.PatientID
            and not status.asked_for.isdisjoint((image.StudyInstanceUID, image.SeriesInstanceUID))
        )

    def was_refused(self, image: Dataset) -> None:
        """Remember an image that was asked for and refused by a rule, so that it is not missed."""
        if self.claims(image):
            self.refused.add(str(image.SOPInstanceUID))


def _with_reason(what: str, status: HistoryStatus | None) -> str:
    return f"{what}: {status.reason}" if status is not None and status.reason else what
