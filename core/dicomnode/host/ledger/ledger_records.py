"""What the ledger holds, as it travels between the stations."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState

_encoded = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=256)
def _names(inputs: tuple[str, ...]) -> str:
    return json.dumps(inputs)


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """A received instance.

    Attributes
    ----------
    path : str
        Its file, relative to the spool.
    pipeline : str
        The configured pipeline that was called.
    container_key : str
        The patient container it belongs to; empty while it is not sorted.
    inputs : tuple of str
        The inputs that hold it.
    SOPInstanceUID : str
        What it is.
    index : mapping of int to IndexedValue
        The tags that the receiver read.
    received : float
        When, in seconds since the epoch.
    association : str
        The id of the association that brought it.
    state : InstanceState
        Where it is.
    job : int, optional
        The job whose input it is.
    reason : str
        Why it is where it is.
    sha256 : str
        The checksum of its file, in hexadecimal; empty until it has been taken.
    """

    path: str
    pipeline: str
    container_key: str
    inputs: tuple[str, ...]
    SOPInstanceUID: str
    index: Mapping[int, Any]
    received: float
    association: str
    state: InstanceState = InstanceState.WAITING
    job: int | None = None
    reason: str = ""
    sha256: str = ""

    def row(self) -> tuple[Any, ...]:
        """Return the values of a row, in the order of the table's columns."""
        index = _encoded(self.index)
        return (
            self.path,
            self.pipeline,
            self.container_key,
            _names(self.inputs),
            self.SOPInstanceUID,
            index,
            self.received,
            self.association,
            self.state,
            self.job,
            self.reason,
            self.sha256,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | sqlite3.Row) -> InstanceRecord:
        """Return the record of a row."""
        plain = dict(row)
        plain["inputs"] = tuple(json.loads(plain["inputs"]))
        plain["index"] = {int(tag): value for tag, value in json.loads(plain["index"]).items()}
        plain["state"] = InstanceState(plain["state"])
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job: one patient container, once complete.

    Attributes
    ----------
    id : int
        Its number.
    identity : str
        What the UIDs of its result derive from.
    pipeline : str
        The configured pipeline.
    container_key : str
        The key of the patient container.
    state : JobState
        Where it is.
    reason : str
        Why it is there. It may quote a plugin or the operator, and name a patient by that.
    attempts : int
        How many runs it has had.
    not_before : float
        When it may run (again), in seconds since the epoch.
    created, changed : float
        When it was made, and last changed.
    folder : str
        The folder of its result, relative to the outbox; empty before there is one.
    log : str
        The end of what its last failed run wrote.
    summary : str
        The reason in the host's own words, which name no patient; empty where there are none.
    """

    id: int
    identity: str
    pipeline: str
    container_key: str
    state: JobState
    reason: str
    attempts: int
    not_before: float
    created: float
    changed: float
    folder: str = ""
    log: str = ""
    summary: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | sqlite3.Row) -> JobRecord:
        """Return the record of a row."""
        plain = dict(row)
        plain["state"] = JobState(plain["state"])
        return cls(**plain)


class WaitingPatient(NamedTuple):
    """A patient whose images wait: how many there are, in each input, and when the first and last came."""

    pipeline: str
    container_key: str
    images: int
    inputs: Counter[str]
    first: float
    last: float


class AssociationRecord(NamedTuple):
    """When an association that brought something began and ended, and how.

    The outcome is ``open``, or what :class:`~dicomnode.host.dimse.store_handler.AssociationEnd` says;
    what is open has not ended, so its time is infinite. The calling AE title is empty where it is not known.
    """

    started: float
    outcome: str
    ended: float
    calling: str = ""


class UnsettledDelivery(NamedTuple):
    """What the outbox plans with: a delivery that is not over, without its item."""

    id: int
    job: int
    attempts: int
    not_before: float


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The delivery of one thing of a job's output to one destination.

    Attributes
    ----------
    id, job : int
        Its number, and the job's.
    destination : str
        The name of a peer, or ``file:`` and a folder.
    item : mapping
        The :class:`~dicomnode.OutboxItem` as plain data, its path relative to the outbox.
    state : DeliveryState
        Where it is.
    reason : str
        What the last attempt gave.
    status : int, optional
        The C-STORE status of the last attempt.
    attempts : int
        How many there were.
    not_before : float
        When it may be tried (again), in seconds since the epoch.
    """

    id: int
    job: int
    destination: str
    item: Mapping[str, Any]
    state: DeliveryState
    reason: str
    status: int | None
    attempts: int
    not_before: float
    changed: float = 0.0

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | sqlite3.Row) -> DeliveryRecord:
        """Return the record of a row."""
        plain = dict(row)
        plain["item"] = json.loads(plain["item"])
        plain["state"] = DeliveryState(plain["state"])
        return cls(**plain)


class AskedDelivery(NamedTuple):
    """A delivery that a peer was asked to commit to, and whether no later request was about it, too."""

    last: bool
    record: DeliveryRecord
