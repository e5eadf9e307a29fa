"""Images that no job gets, as they stand in the ledger: refused, discarded, held; by series and reason."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from dicomnode.host.ledger.ledger_writes import JoinableWrite, Write

_MOST_REASONS: Final = 16
"""Of one series: a reason may quote a value that is another one in each image."""
_OTHER_REASONS: Final = "other reasons"
_LONGEST_REASON: Final = 300
_MOST_SHOWN: Final = 200


class Outcome(StrEnum):
    """What became of images that no job gets."""

    REFUSED = "refused"
    """Their sender was told so."""
    DISCARDED = "discarded"
    """They were answered with Success, and no job gets them: no input takes them and the pipeline discards
    such, another series was chosen for the job, or what waited was given up or expired."""
    HELD = "held"
    """They wait, and a job of them is not started."""


class UnprocessedSeries(NamedTuple):
    """Images of a series that no job gets, for one reason.

    The time is in seconds since the epoch. Of what is older than the ledger remembers only the number is
    known: then series and reason are empty.
    """

    pipeline: str
    container_key: str
    SeriesInstanceUID: str
    outcome: Outcome
    reason: str
    images: int
    last: float


class NoteUnprocessed(JoinableWrite):
    """Counts an image that was refused or discarded; many of them go into a few statements.

    Parameters
    ----------
    pipeline, SeriesInstanceUID : str
    outcome : Outcome
        ``REFUSED`` or ``DISCARDED``.
    reason : str
        Why. It may quote values of the image.
    """

    __slots__ = ("key",)

    def __init__(self, pipeline: str, SeriesInstanceUID: str, outcome: Outcome, reason: str) -> None:  # noqa: N803 - DICOM's own spelling
        self.key = pipeline, SeriesInstanceUID, outcome, reason[:_LONGEST_REASON]

    @classmethod
    def write_all(cls, connection: sqlite3.Connection, writes: Sequence[Self]) -> None:
        """Count several images."""
        for key, images in Counter(each.key for each in writes).items():
            _count(connection, key, images)


def discard_images(pipeline: str, series: Mapping[str, int], reason: str) -> Write[None]:
    """Count images that waited, and that no job gets.

    Parameters
    ----------
    pipeline : str
    series : mapping of str to int
        Series Instance UID -> number of images.
    reason : str
        Why. It may name a patient.
    """

    def write(connection: sqlite3.Connection) -> None:
        for uid, images in series.items():
            _count(connection, (pipeline, uid, Outcome.DISCARDED, reason[:_LONGEST_REASON]), images)

    return write


def _count(connection: sqlite3.Connection, key: tuple[str, str, Outcome, str], images: int) -> None:
    """Add to what is counted of a series, under a reason of its own unless it has too many of them.

    The key is of pipeline, series, outcome and reason.
    """
    pipeline, series, outcome, reason = key
    reasons = connection.execute(
        "SELECT reason FROM unprocessed WHERE pipeline = ? AND outcome = ? AND SeriesInstanceUID = ?",
        (pipeline, outcome, series),
    ).fetchall()
    one_too_many = len(reasons) >= _MOST_REASONS and (reason,) not in reasons
    told = _OTHER_REASONS if one_too_many else reason
    connection.execute(_ADD, (pipeline, "", series, outcome, told, images, time.time()))


_ADD: Final = (
    "INSERT INTO unprocessed VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET images = images + excluded.images, last = excluded.last"
)


@dataclass(frozen=True, slots=True)
class HeldContainer:
    """A container that is held.

    Attributes
    ----------
    pipeline, container_key : str
    series : mapping of str to int
        Series Instance UID -> number of images.
    reason : str
        Why. It may name a patient.
    """

    pipeline: str
    container_key: str
    series: Mapping[str, int]
    reason: str


def hold_container(held: HeldContainer) -> Write[None]:
    """Enter why a container is held, in the place of what was the reason before."""
    now, reason = time.time(), held.reason[:_LONGEST_REASON]
    rows = [
        (held.pipeline, held.container_key, series, Outcome.HELD, reason, images, now)
        for series, images in held.series.items()
    ]

    def write(connection: sqlite3.Connection) -> None:
        no_longer_held(held.pipeline, held.container_key)(connection)
        connection.executemany("INSERT INTO unprocessed VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    return write


def no_longer_held(pipeline: str, container_key: str) -> Write[None]:
    """Enter that a container is held no more: its images are a job's, or were dropped."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM unprocessed WHERE outcome = ? AND pipeline = ? AND container_key = ?",
            (Outcome.HELD, pipeline, container_key),
        )

    return write


def forget_unprocessed_before(moment: float) -> Write[None]:
    """Forget the series and reasons of before a moment (seconds since the epoch); their number stays.

    What is held stays as long as it waits.
    """
    old = "FROM unprocessed WHERE last < ? AND outcome <> ? AND SeriesInstanceUID <> ''"

    def write(connection: sqlite3.Connection) -> None:
        sums = connection.execute(
            f"SELECT pipeline, outcome, sum(images), max(last) {old} GROUP BY pipeline, outcome",
            (moment, Outcome.HELD),
        ).fetchall()
        for pipeline, outcome, images, last in sums:
            connection.execute(_ADD, (pipeline, "", "", outcome, "", images, last))
        connection.execute(f"DELETE {old}", (moment, Outcome.HELD))
        connection.execute(
            "DELETE FROM unprocessed WHERE last < ? AND outcome = ? AND NOT EXISTS (SELECT 1 FROM instance"
            " WHERE state = 'waiting' AND instance.pipeline = unprocessed.pipeline"
            " AND instance.container_key = unprocessed.container_key)",
            (moment, Outcome.HELD),
        )

    return write


def unprocessed_counts(connection: sqlite3.Connection) -> dict[str, dict[Outcome, int]]:
    """Return pipeline -> outcome -> number of images, of every pipeline that has any."""
    found: dict[str, dict[Outcome, int]] = {}
    for pipeline, outcome, images in connection.execute(
        "SELECT pipeline, outcome, sum(images) FROM unprocessed GROUP BY pipeline, outcome"
    ):
        found.setdefault(pipeline, dict.fromkeys(Outcome, 0))[Outcome(outcome)] = images
    return found


def unprocessed_series(connection: sqlite3.Connection) -> list[UnprocessedSeries]:
    """Return the series of which no job gets images, the last two hundred, the newest first."""
    rows = connection.execute(
        "SELECT * FROM unprocessed WHERE SeriesInstanceUID <> '' ORDER BY last DESC LIMIT ?", (_MOST_SHOWN,)
    )
    return [
        UnprocessedSeries(pipeline, container_key, series, Outcome(outcome), reason, images, last)
        for pipeline, container_key, series, outcome, reason, images, last in rows
    ]
