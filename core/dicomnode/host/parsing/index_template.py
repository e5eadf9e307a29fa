"""An instance that differs from the one before in a few values only.

The slices of a series differ in their SOP Instance UID, their number, their position, hardly more. Where
everything else is the very same bytes, what was found out about the instance before holds for this one too:
that it can be read, that it is whole, and what most of its index says. What differs is decoded, nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.host.parsing.index_values import STORED, decoded_value

_SOP_INSTANCE: Final = 0x00080018
_MOST_VARYING: Final = 48

Place = tuple[int, int]
"""Start and end within the data set's first bytes."""


@dataclass(frozen=True, slots=True)
class WantedValue:
    """A value of the index: where it lies and how it is decoded."""

    tag: int
    vr: str
    start: int
    end: int


@dataclass(slots=True)
class IndexTemplate:
    """What holds as long as only certain values vary."""

    constant: tuple[tuple[int, int, bytes], ...]
    """Start, end and bytes of all that stays: headers and values."""
    varying: tuple[WantedValue, ...]
    index: dict[int, IndexedValue]
    lists: tuple[int, ...]
    """Tags whose value is a list: every index gets a copy."""
    sop_class: str
    uid: Place
    encodings: tuple[str, ...]
    little_endian: bool

    def recall(self, data: bytes, expected: tuple[str, str]) -> dict[int, IndexedValue] | None:
        """Return the index of a data set, None if more than the varying values is different.

        Parameters
        ----------
        data : bytes
            The beginning of the data set.
        expected : (str, str)
            The SOP class and instance that it must hold.
        """
        for start, end, same in self.constant:
            if data[start:end] != same:
                return None
        start, end = self.uid
        uid = data[start:end].decode("ascii", "replace").strip(" \0")
        if expected[1] != uid or expected[0] != self.sop_class:
            return None
        index = self.index.copy()
        for tag in self.lists:
            index[tag] = index[tag].copy()  # type: ignore[union-attr]  # a value of each of these tags is a list
        for wanted in self.varying:
            index[wanted.tag] = decoded_value(
                wanted.vr, data[wanted.start : wanted.end], self.encodings, self.little_endian
            )
        index[_SOP_INSTANCE] = uid
        return index


class IndexTemplateCache:
    """Learns from data sets of one layout, as they come one after the other.

    Parameters
    ----------
    gaps : tuple of (int, int)
        Where values lie between the headers.
    reach : int
        How many of the first bytes hold all headers.
    wanted : iterable of WantedValue
        The values of the index, and those that the checks look at.
    checked : frozenset of int
        The tags that the checks look at: a change of these is looked at anew each time.
    """

    def __init__(
        self, gaps: tuple[Place, ...], reach: int, wanted: Iterable[WantedValue], checked: frozenset[int]
    ) -> None:
        self._gaps, self._reach, self._wanted, self._checked = gaps, reach, tuple(wanted), checked
        self._checked_places = {(value.start, value.end) for value in self._wanted if value.tag in checked}
        self._varying: set[Place] = {
            (value.start, value.end) for value in self._wanted if value.tag == _SOP_INSTANCE
        }
        self._previous: bytes | None = None
        self._learning_budget = 32
        self.template: IndexTemplate | None = None

    def recall(self, data: bytes, expected: tuple[str, str]) -> dict[int, IndexedValue] | None:
        """Return the index of a data set that the template fits."""
        if self.template is None:
            return None
        index = self.template.recall(data, expected)
        if index is not None and self._learning_budget < 1024:  # noqa: PLR2004 - it only bounds the effort
            self._learning_budget += 1
        return index

    def learn(
        self,
        data: bytes,
        index: Mapping[int, IndexedValue],
        sop_class: str,
        encodings: tuple[str, ...],
        *,
        little_endian: bool,
    ) -> None:
        """Learn from a data set of this layout that was looked at as a whole and found to be sound."""
        previous, self._previous = self._previous, data[: self._reach]
        if previous is None or self._learning_budget <= 0 or len(self._varying) > _MOST_VARYING:
            self.template = None
            return
        self._learning_budget -= 4  # learning costs about as much as four recalls save
        changed = {(start, end) for start, end in self._gaps if previous[start:end] != data[start:end]}
        self._varying |= changed - self._checked_places
        varying = [
            value
            for value in self._wanted
            if (value.start, value.end) in self._varying
            and value.tag in index
            and value.tag not in self._checked
            and value.tag != _SOP_INSTANCE
        ]
        varying += [
            replace(value, tag=value.tag | STORED_BYTES, vr=STORED)
            for value in self._wanted
            if (value.start, value.end) in self._varying and value.tag | STORED_BYTES in index
        ]
        uid = next(value for value in self._wanted if value.tag == _SOP_INSTANCE)
        differing = {value.tag for value in varying}
        self.template = IndexTemplate(
            constant=tuple(self._constant_parts(data)),
            varying=tuple(varying),
            index={tag: value.copy() if isinstance(value, list) else value for tag, value in index.items()},
            lists=tuple(t for t, v in index.items() if isinstance(v, list) and t not in differing),
            sop_class=sop_class,
            uid=(uid.start, uid.end),
            encodings=encodings,
            little_endian=little_endian,
        )

    def _constant_parts(self, data: bytes) -> Iterable[tuple[int, int, bytes]]:
        at = 0
        for start, end in sorted(self._varying):
            if start > at:
                yield at, start, data[at:start]
            at = end
        if at < self._reach:
            yield at, self._reach, data[at : self._reach]
