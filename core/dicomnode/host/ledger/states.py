"""The states of instances, jobs and deliveries, and which transition is legal: one table each."""

from __future__ import annotations

from enum import StrEnum

from dicomnode.pipeline.history_state import HistoryState


class InstanceState(StrEnum):
    """Where an instance is."""

    RECEIVED = "received"
    """Durable, and not yet sorted into its inputs."""
    WAITING = "waiting"
    """In its tree, until the patient's inputs are complete."""
    IN_JOB = "in_job"
    """An input of a job that has not been delivered."""
    RELEASED = "released"
    """Its job is over (delivered, or discarded by the operator); the file may be removed. As long as it is
    there, the job can be run again."""
    EXPIRED = "expired"
    """Waited longer than the pipeline allows; the file may be removed."""
    QUARANTINED = "quarantined"
    """Quarantined for the operator."""
    REMOVED = "removed"
    """Was quarantined, and was removed since: by the operator, or when its time had come."""
    LOST = "lost"
    """The ledger knows it, but its file has gone."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    BUILT = "built"
    """The result is durable in the outbox and being delivered."""
    DELIVERED = "delivered"
    """Every destination confirmed; the inputs are released."""
    FAILED = "failed"
    """No attempt gave a result: a dead letter. The inputs are kept."""
    UNDELIVERABLE = "undeliverable"
    """A destination refused an instance for good: a dead letter. Result and inputs are kept."""
    DISCARDED = "discarded"
    """Given up by the operator."""


class DeliveryState(StrEnum):
    """Where the delivery of one thing to one destination is."""

    PENDING = "pending"
    STORED = "stored"
    """The peer took it and was asked to commit to it (PS3.4 annex J); its answer is awaited."""
    CONFIRMED = "confirmed"
    DEAD = "dead"
    """Refused for good: a dead letter."""
    DISCARDED = "discarded"
    """Given up by the operator."""


TRANSITIONS: dict[type[StrEnum], dict[StrEnum, frozenset[StrEnum]]] = {
    InstanceState: {
        InstanceState.RECEIVED: frozenset(
            {InstanceState.WAITING, InstanceState.QUARANTINED, InstanceState.LOST}
        ),
        InstanceState.WAITING: frozenset(
            {
                InstanceState.IN_JOB,
                InstanceState.EXPIRED,
                InstanceState.QUARANTINED,
                InstanceState.LOST,
            }
        ),
        InstanceState.IN_JOB: frozenset({InstanceState.RELEASED, InstanceState.WAITING, InstanceState.LOST}),
        InstanceState.RELEASED: frozenset({InstanceState.IN_JOB}),
        InstanceState.EXPIRED: frozenset(),
        InstanceState.QUARANTINED: frozenset({InstanceState.REMOVED}),
        InstanceState.REMOVED: frozenset(),
        InstanceState.LOST: frozenset(),
    },
    JobState: {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.DISCARDED, JobState.FAILED}),
        JobState.RUNNING: frozenset({JobState.BUILT, JobState.QUEUED, JobState.FAILED, JobState.DISCARDED}),
        JobState.BUILT: frozenset(
            {JobState.DELIVERED, JobState.UNDELIVERABLE, JobState.QUEUED, JobState.DISCARDED}
        ),
        JobState.DELIVERED: frozenset({JobState.QUEUED}),
        JobState.FAILED: frozenset({JobState.QUEUED, JobState.DISCARDED}),
        JobState.UNDELIVERABLE: frozenset({JobState.BUILT, JobState.QUEUED, JobState.DISCARDED}),
        JobState.DISCARDED: frozenset({JobState.QUEUED}),
    },
    DeliveryState: {
        DeliveryState.PENDING: frozenset(
            {DeliveryState.STORED, DeliveryState.CONFIRMED, DeliveryState.DEAD, DeliveryState.DISCARDED}
        ),
        DeliveryState.STORED: frozenset(
            {DeliveryState.PENDING, DeliveryState.CONFIRMED, DeliveryState.DEAD, DeliveryState.DISCARDED}
        ),
        DeliveryState.CONFIRMED: frozenset(),
        DeliveryState.DEAD: frozenset({DeliveryState.PENDING, DeliveryState.DISCARDED}),
        DeliveryState.DISCARDED: frozenset(),
    },
    HistoryState: {
        HistoryState.FETCHING: frozenset(
            {HistoryState.FETCHED, HistoryState.NOTHING, HistoryState.FAILED, HistoryState.OVER}
        ),
        HistoryState.FETCHED: frozenset({HistoryState.OVER}),
        HistoryState.NOTHING: frozenset({HistoryState.OVER}),
        HistoryState.FAILED: frozenset({HistoryState.FETCHED, HistoryState.NOTHING, HistoryState.OVER}),
        HistoryState.OVER: frozenset(),
    },
}
"""From each state, the states that may follow."""

UNSETTLED = (DeliveryState.PENDING, DeliveryState.STORED)
"""The states in which a delivery is not over. A built job is settled once no delivery of it is in them."""

UNBUILT = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
"""The states in which a job has no result yet, and may have one."""

OVER = frozenset({JobState.DELIVERED, JobState.DISCARDED})
"""The states in which a job needs nothing any more."""

DEAD_LETTERS = frozenset({JobState.FAILED, JobState.UNDELIVERABLE})
"""The states in which a job waits for the operator."""


def check_transition(old: StrEnum, new: StrEnum) -> None:
    """Check that a change of state is legal.

    Raises
    ------
    ValueError
        When the table does not have it.
    """
    if new not in TRANSITIONS[type(old)][old]:
        msg = f"{type(old).__name__} may not go from {old.value} to {new.value}"
        raise ValueError(msg)
