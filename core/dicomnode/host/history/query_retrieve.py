"""C-FIND, C-MOVE and C-GET in the Study Root model (PS3.4 annex C)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.dimse_scu import DimseMessage
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.history.get_scu import (
    STUDY_ROOT_GET,
    GetAssociation,
    RetrieveReception,
    association_info,
    storage_contexts,
)
from dicomnode.host.parsing.statuses import (
    DESTINATION_UNKNOWN,
    SUB_OPERATIONS_FAILED,
    Service,
    Status,
    status_text,
)

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
_C_GET_RQ, _C_FIND_RQ, _C_MOVE_RQ = 0x0010, 0x0020, 0x0021
_MEDIUM: Final = 0
_MOST_MATCHES: Final = 10_000
# What narrows down studies in the Study Root model (PS3.4 table C.6-5); all else is asked of series.
STUDY_KEYWORDS: Final = frozenset(
    {
        "SpecificCharacterSet",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "StudyInstanceUID",
        "StudyDescription",
        "AccessionNumber",
        "ReferringPhysicianName",
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    }
)
_ASKED_OF_STUDIES: Final = (
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ModalitiesInStudy",
    "SOPClassesInStudy",
    "NumberOfStudyRelatedInstances",
)
_ASKED_OF_SERIES: Final = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
)


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """What became of the sub-operations of a C-MOVE or C-GET.

    Attributes
    ----------
    completed : int
        Instances that the peer sent, and that were stored.
    failed : int
        Instances that it could not send, or that were refused.
    """

    completed: int
    failed: int


class PatientSearch:
    """Finds the studies or series of a patient.

    Parameters
    ----------
    peer : Peer
        To which the query goes.
    PatientID : str
        Whose.
    keys : mapping of str to Any
        What must match, and what else a match must have, by keyword.
    """

    def __init__(self, peer: Peer, PatientID: str, keys: Mapping[str, Any]) -> None:  # noqa: N803 - DICOM's own
        self._peer, self._patient = peer, PatientID
        of_studies = {key: value for key, value in keys.items() if key in STUDY_KEYWORDS}
        self._of_series = {key: value for key, value in keys.items() if key not in STUDY_KEYWORDS}
        self._of_studies = {**dict.fromkeys(_ASKED_OF_STUDIES, ""), **of_studies}

    def studies(self, deadline: float) -> list[Dataset]:
        """Return the patient's studies.

        Parameters
        ----------
        deadline : float
            When it must be done, in terms of :func:`time.monotonic`.

        Raises
        ------
        DeliveryError
            When the peer does not answer the query.
        """
        keys = {"StudyInstanceUID": "", **self._of_studies, "PatientID": self._patient}
        found = self._find(_identifier("STUDY", keys), deadline)
        # A Patient ID may hold what the query takes for a wildcard (PS3.4 section C.2.2.2.4).
        return [each for each in found if str(each.get("PatientID", "")) == self._patient and _uid(each)]

    def series(self, deadline: float) -> list[Dataset]:
        """Return the series of the patient's studies, each with the attributes of its study.

        Raises
        ------
        DeliveryError
            As :meth:`studies`.
        """
        found = []
        for study in self.studies(deadline):
            keys = {**dict.fromkeys(_ASKED_OF_SERIES, ""), **self._of_series}
            keys["StudyInstanceUID"] = _uid(study)
            for each in self._find(_identifier("SERIES", keys), deadline):
                if not str(each.get("SeriesInstanceUID", "") or "") or _uid(each) not in ("", _uid(study)):
                    continue
                whole = Dataset()
                whole.update(study)
                whole.update(each)
                whole.StudyInstanceUID = _uid(study)
                found.append(whole)
        return found

    def _find(self, identifier: Dataset, deadline: float) -> list[Dataset]:
        return _found(self._peer, identifier, deadline)


def find_series(
    peer: Peer,
    StudyInstanceUID: str,  # noqa: N803 - DICOM's own spelling
    SeriesInstanceUID: str,  # noqa: N803 - DICOM's own spelling
    deadline: float,
) -> Dataset | None:
    """Return what a peer says of a series, with how many instances it has; ``None`` where it knows none.

    Parameters
    ----------
    peer : Peer
        Who is asked.
    StudyInstanceUID, SeriesInstanceUID : str
        Which series.
    deadline : float
        When it must be done, in terms of :func:`time.monotonic`.

    Raises
    ------
    DeliveryError
        When the peer cannot be asked.
    """
    keys = {
        "StudyInstanceUID": StudyInstanceUID,
        "SeriesInstanceUID": SeriesInstanceUID,
        "NumberOfSeriesRelatedInstances": None,
    }
    found = _found(peer, _identifier("SERIES", keys), deadline)
    return next((each for each in found if each.get("SeriesInstanceUID") == SeriesInstanceUID), None)


def _found(peer: Peer, identifier: Dataset, deadline: float) -> list[Dataset]:
    command = {"CommandField": _C_FIND_RQ, "AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": _MEDIUM}
    found: list[Dataset] = []
    with peer.service_association(STUDY_ROOT_FIND) as association:
        wait = min(peer.table.timeout, max(deadline - time.monotonic(), 0.0))
        for answer in association.request(command, identifier, wait):
            if answer.pending:
                found.append(answer.dataset())
                if len(found) > _MOST_MATCHES or time.monotonic() > deadline:
                    association.abort()
                    raise DeliveryError("the query was ended: too many matches, or too slow")
            elif answer.status:
                raise _failure("the query failed", answer)
    return found


def c_move(peer: Peer, match: Dataset, destination: str, deadline: float) -> RetrieveResult:
    """Have a study or series sent.

    Parameters
    ----------
    peer : Peer
        Which sends.
    match : pydicom.Dataset
        A match of :class:`PatientSearch`: with a Series Instance UID that series is sent, else the study.
    destination : str
        The AE title that it is sent to, which the peer must know.
    deadline : float
        When it must be done, in terms of :func:`time.monotonic`.

    Raises
    ------
    DeliveryError
        When the peer cannot, or it takes too long.
    """
    command = {
        "CommandField": _C_MOVE_RQ,
        "AffectedSOPClassUID": STUDY_ROOT_MOVE,
        "Priority": _MEDIUM,
        "MoveDestination": destination,
    }
    with peer.service_association(STUDY_ROOT_MOVE) as association:
        wait = max(deadline - time.monotonic(), 0.0)
        for answer in association.request(command, _retrieve_identifier(match), wait):
            if answer.pending:
                if time.monotonic() > deadline:
                    association.abort()
                    raise DeliveryError("it took too long to send")
            elif answer.status == DESTINATION_UNKNOWN:
                msg = (
                    f"the peer does not know where to send: enter the AE title {destination!r} there, with"
                    " this host's address and port"
                )
                raise DeliveryError(msg)
            elif answer.status not in (Status.SUCCESS, SUB_OPERATIONS_FAILED):
                raise _failure("the peer does not send", answer)
            else:
                return _retrieve_result(answer)
    raise DeliveryError("the peer did not say what it sent")


def c_get(
    peer: Peer, match: Dataset, title: str, deadline: float, reception: RetrieveReception
) -> RetrieveResult:
    """Have a study or series sent on the association of the request, as if to an AE title of this node.

    Parameters
    ----------
    peer, match, deadline
        As in :func:`c_move`.
    title : str
        The AE title that chooses the pipeline.
    reception : RetrieveReception
        Where the images go.

    Raises
    ------
    DeliveryError
        As in :func:`c_move`.
    """
    command = {"CommandField": _C_GET_RQ, "AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": _MEDIUM}
    address = "" if peer.table.address is None else peer.table.address.host
    info = association_info(peer.table.ae_title, address, title)
    with peer.association(GetAssociation, STUDY_ROOT_GET, received=storage_contexts(match)) as association:
        answer = association.retrieve(command, _retrieve_identifier(match), info, reception, deadline)
    if answer.status not in (Status.SUCCESS, SUB_OPERATIONS_FAILED):
        raise _failure("the peer does not send", answer)
    return _retrieve_result(answer)


def _retrieve_identifier(match: Dataset) -> Dataset:
    keys = {"StudyInstanceUID": _uid(match)}
    if "SeriesInstanceUID" in match:
        keys["SeriesInstanceUID"] = str(match.SeriesInstanceUID)
    return _identifier("SERIES" if "SeriesInstanceUID" in keys else "STUDY", keys)


def _retrieve_result(answer: DimseMessage) -> RetrieveResult:
    command = answer.command
    sent = sum(int(command.get(f"NumberOf{kind}Suboperations", 0) or 0) for kind in ("Completed", "Warning"))
    return RetrieveResult(sent, int(command.get("NumberOfFailedSuboperations", 0) or 0))


def _identifier(level: str, keys: Mapping[str, Any]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    if not all(str(value).isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _uid(dataset: Dataset) -> str:
    return str(dataset.get("StudyInstanceUID", "") or "")


def _failure(what: str, answer: DimseMessage) -> DeliveryError:
    status = status_text(answer.status, Service.RETRIEVE)
    return DeliveryError(f"{what}: {status}", safe_text(answer.comment, longest=64))
