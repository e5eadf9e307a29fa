"""Faults on request: what goes wrong between a scanner and a node, in the order of images."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

Image = TypeVar("Image")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong while images are sent.

    Attributes
    ----------
    drop : collection of int
        Indices of images that are never sent.
    duplicate : collection of int
        Indices of images that are sent twice.
    reorder : int, optional
        A seed; the images are shuffled by it.
    abort_after : int, optional
        The association is aborted after so many images were answered, instead of released at the end.
    """

    drop: Collection[int] = ()
    duplicate: Collection[int] = ()
    reorder: int | None = None
    abort_after: int | None = None

    def applied(self, images: Sequence[Image]) -> list[Image]:
        """Return the images as they are sent.

        Raises
        ------
        IndexError
            When an index names no image.
        """
        for index in (*self.drop, *self.duplicate):
            images[index]
        dropped = {range(len(images))[index] for index in self.drop}
        doubled = {range(len(images))[index] for index in self.duplicate}
        sent = [
            image
            for index, image in enumerate(images)
            if index not in dropped
            for _ in range(2 if index in doubled else 1)
        ]
        if self.reorder is not None:
            random.Random(self.reorder).shuffle(sent)  # noqa: S311 - a test's order, no secret
        return sent


__all__ = ["Faults"]
