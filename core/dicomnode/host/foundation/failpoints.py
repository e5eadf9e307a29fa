"""Named points of the route at which a test has the host killed, to see what is left and how it goes on.

With ``DICOMNODE_KILL_POINT=renamed`` in its environment the host kills itself (SIGKILL) when it passes that
point for the first time, with ``renamed:3`` when it passes it for the third time. Without it, passing a point
costs one empty call: five of them for an instance that takes a thousand times as long.

The points, in the order in which an instance passes them:

================= ==================================================================================
written           all bytes are in the file under its temporary name, none need be on the disk
synced            the file is synced, still under its temporary name
renamed           it has its final name; the directory is not synced
kept              the directory is synced: the instance is durable
indexed           it is in its tree, and its row was posted to the ledger
answered          the sender has been told
release answered  an association was released, and its requestor has been told
job entered       the job is in the ledger, and its images are out of the tree
job claimed       the job is entered as running, and no worker has it
output built      the result is in the outbox, and the ledger does not know
job built         the ledger knows what is to be delivered
before send       a destination is about to be given items
sent              a destination has told what became of an item, and the ledger does not know
marked            the ledger knows what became of all that the destination was given at once
before release    everything is delivered, and the job is not ended
release noted     where inputs are kept, a note beside them says that their job is over; the ledger does not
released          the job is ended in the ledger; its files are still there
================= ==================================================================================
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Final, Literal, get_args

VARIABLE: Final = "DICOMNODE_KILL_POINT"

KillPoint = Literal[
    "written",
    "synced",
    "renamed",
    "kept",
    "indexed",
    "answered",
    "release answered",
    "job entered",
    "job claimed",
    "output built",
    "job built",
    "before send",
    "sent",
    "marked",
    "before release",
    "release noted",
    "released",
]
"""A point, by its name."""

KILL_POINTS: Final[tuple[str, ...]] = get_args(KillPoint)


def _killing(wanted: str) -> Callable[[KillPoint], None]:
    name, _, count = wanted.partition(":")
    passages = itertools.count(1)

    def failpoint(point: KillPoint) -> None:
        if point == name and next(passages) == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


def _going_on(point: KillPoint) -> None:
    pass


_asked = os.environ.get(VARIABLE)
failpoint: Final[Callable[[KillPoint], None]] = _going_on if _asked is None else _killing(_asked)
"""Tell that a point is passed. Returns, unless a test wants the host killed here."""
