"""How a simulated sender sends a folder: over which associations, in which order, with which faults."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

Order = Literal["name", "reverse", "shuffle"]
Grouping = Literal["one", "series", "image"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the folder, and the series that it is of."""

    path: Path
    series: str


@dataclass(frozen=True, slots=True)
class SendingOptions:
    """What a simulated sender does.

    Attributes
    ----------
    order : {"name", "reverse", "shuffle"}
        In which order the images are sent.
    associations : {"one", "series", "image"}
        Whether all images go over one association, those of a series over one each, or each alone.
    interleave : bool
        Whether the associations are open at the same time, and the images sent in turn.
    duplicate : int
        Every so many-th image is sent twice; 0 for none.
    abort : int
        The first association is aborted after so many images; 0 for none.
    resend : bool
        Whether an association that was aborted is sent again, whole, as senders do.
    gap : float
        Seconds between one association and the next.
    seed : int
        Of what is shuffled.
    """

    order: Order = "name"
    associations: Grouping = "series"
    interleave: bool = False
    duplicate: int = 0
    abort: int = 0
    resend: bool = True
    gap: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class SimulatedAssociation:
    """The images of one association, and whether it is aborted after them."""

    number: int
    files: list[Found] = field(default_factory=list)
    aborted: bool = False


Step = tuple[SimulatedAssociation, Found | None]
"""An image on an association; ``None`` for its end."""


def steps(found: Sequence[Found], options: SendingOptions) -> Iterator[Step]:
    """Yield what a sender does, step by step."""
    associations = _associations(_ordered(found, options), options)
    if not options.interleave:
        for association in associations:
            yield from ((association, file) for file in association.files)
            yield association, None
        return
    for files in zip_longest(*(association.files for association in associations)):
        turns = [turn for turn in zip(associations, files, strict=True) if turn[1] is not None]
        yield from turns
        # Only now, so that associations of one image each are open at the same time, too.
        yield from ((association, None) for association, file in turns if file is association.files[-1])


def _ordered(found: Sequence[Found], options: SendingOptions) -> list[Found]:
    files = sorted(found, key=lambda each: each.path)
    if options.order == "reverse":
        files.reverse()
    elif options.order == "shuffle":
        random.Random(options.seed).shuffle(files)  # noqa: S311 - no secret
    return files


def _associations(files: list[Found], options: SendingOptions) -> list[SimulatedAssociation]:
    groups: dict[str, list[Found]] = {}
    for file in files:
        key = {"one": "", "series": file.series, "image": str(file.path)}[options.associations]
        groups.setdefault(key, []).append(file)
    associations = [
        SimulatedAssociation(number, list(_doubled(group, options.duplicate)))
        for number, group in enumerate(groups.values(), 1)
    ]
    if options.abort and associations:
        first = associations[0]
        again = SimulatedAssociation(len(associations) + 1, first.files)
        associations[0] = SimulatedAssociation(1, first.files[: options.abort], aborted=True)
        if options.resend:
            associations.append(again)
    return associations


def _doubled(files: Iterable[Found], every: int) -> Iterator[Found]:
    for number, file in enumerate(files, 1):
        yield file
        if every and number % every == 0:
            yield Found(file.path, file.series)
