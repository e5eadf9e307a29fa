"""Data sets that are laid out alike need only one walk.

The slices of a series have the same elements with values of the same lengths, but for a few. What a walk
finds depends on nothing but the headers it passes: if a data set of the same length has the very same bytes
wherever another one had a header, it has the same structure, and its values lie in the same places. That is
one comparison of two big integers instead of a loop over the elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from dicomnode.dicom.reading.header_mask import HeaderMask
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.parsing.index_template import IndexTemplateCache, Place, WantedValue
from dicomnode.host.parsing.index_values import encodings_of, indexed_vr
from dicomnode.host.parsing.structure import ByteSource, Findings, RawValue, WalkLimits, walk, walk_and_mark

_MOST_KEYS: Final = 64
_MOST_ALIKE: Final = 4


class _Key(NamedTuple):
    transfer_syntax_uid: str
    length: int
    wanted: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Layout:
    headers: HeaderMask
    """Of the first bytes, as many as hold all headers."""
    values: tuple[tuple[int, str | None, int, int], ...]
    """Tag, VR, start, end."""
    gaps: tuple[Place, ...]
    """Where values lie between the headers."""
    example: Findings

    def findings(self, data: bytes) -> Findings | None:
        """Return what a walk over `data` would find, None if it is laid out differently."""
        if not self.headers.matches(data, 0):
            return None
        example = self.example
        return Findings(
            {tag: RawValue(vr, data[start:end]) for tag, vr, start, end in self.values},
            example.little_endian,
            example.pixel_data_length,
            example.fragments,
            example.too_long,
            example.sequences,
            example.elements,
        )

    def templates(self, checked: frozenset[int]) -> IndexTemplateCache:
        values = [WantedValue(tag, indexed_vr(vr, tag), start, end) for tag, vr, start, end in self.values]
        return IndexTemplateCache(self.gaps, self.headers.size, values, checked)


class LayoutCache:
    """Remembers the layouts of one association's data sets, a bounded number of them. For one thread.

    Attributes
    ----------
    hits : int
        How often a walk was saved.
    recalled : int
        How often even looking at the values was.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, list[tuple[_Layout, IndexTemplateCache]]] = {}
        self._unlearnable: set[_Key] = set()
        self._last_walked: tuple[IndexTemplateCache, bytes] | None = None
        self.hits = self.recalled = 0

    def recall(  # noqa: PLR0917 - as walk
        self,
        source: ByteSource,
        start: int,
        end: int,
        transfer_syntax_uid: str,
        wanted: frozenset[int],
        expected: tuple[str, str],
    ) -> dict[int, IndexedValue] | None:
        """Return the index of a data set that differs from one before in a few values only."""
        self._last_walked = None
        known = self._known.get(_Key(transfer_syntax_uid, end - start, wanted))
        if known:
            data = source.window(start, 0)
            for _layout, templates in known:
                index = templates.recall(data, expected)
                if index is not None:
                    self.recalled += 1
                    return index
        return None

    def learn(self, findings: Findings, index: dict[int, IndexedValue], sop_class: str) -> None:
        """Learn from the data set that was walked over last, which was found to be sound."""
        if self._last_walked is not None:
            templates, data = self._last_walked
            encodings = encodings_of(findings)
            templates.learn(data, index, sop_class, encodings, little_endian=findings.little_endian)

    def walk(  # noqa: PLR0917 - as walk
        self,
        source: ByteSource,
        start: int,
        end: int,
        transfer_syntax_uid: str,
        wanted: frozenset[int],
        limits: WalkLimits,
        checked: frozenset[int] = frozenset(),
    ) -> Findings:
        """Do what :func:`~.structure.walk` does, faster for one that is laid out alike.

        `checked` are the tags whose values decide whether a data set is sound.
        """
        key = _Key(transfer_syntax_uid, end - start, wanted)
        self._last_walked = None
        known = self._known.get(key)
        if known is None:
            # One of its kind, so far: remembering it would cost more than it may bring.
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
                self._unlearnable.clear()
            self._known[key] = []
            return walk(source, start, end, transfer_syntax_uid, wanted, limits)
        data = source.window(start, 0)
        for layout, templates in known:
            recalled = layout.findings(data)
            if recalled is not None:
                self.hits += 1
                self._last_walked = templates, data
                return recalled
        if len(known) >= _MOST_ALIKE or key in self._unlearnable:
            return walk(source, start, end, transfer_syntax_uid, wanted, limits)
        findings, marks, places = walk_and_mark(source, start, end, transfer_syntax_uid, wanted, limits)
        learnt = _layout(findings, marks, places, start, data)
        if learnt is not None:
            templates = learnt.templates(checked)
            known.append((learnt, templates))
            self._last_walked = templates, data
        else:
            self._unlearnable.add(key)
        return findings


def _layout(
    findings: Findings,
    marks: list[tuple[int, int]],
    places: dict[int, tuple[int, int]],
    start: int,
    data: bytes,
) -> _Layout | None:
    reach = max((at + length for at, length in marks), default=start) - start
    if reach > len(data) or len(places) != len(findings.values):
        return None  # some of it lies beyond the bytes at hand
    headers = HeaderMask.of(data, 0, reach, ((at - start, length) for at, length in marks))
    return _Layout(
        headers,
        tuple((tag, raw.vr, *places[tag]) for tag, raw in findings.values.items()),
        tuple(headers.gaps()),
        findings,
    )
