"""The walk ends: a data set of any nesting, cut at any byte, is answered in a bounded number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounded_steps import TooManyStepsError, bounded_steps
from dicomnode.errors import StructureError
from dicomnode.host.parsing.structure import BytesSource, Findings, WalkLimits, walk, walk_and_mark
from encoded_data_sets import BIG, EXPLICIT, IMPLICIT, SYNTAXES, Element, Item, Nested, data_sets

WANTED = frozenset({0x00080060})
# The walk takes some 60 lines for a header; the shortest is of eight bytes.
STEPS_AT_ALL, STEPS_PER_BYTE = 1000, 20


class CountedSource:
    """Gives no byte more than it is asked for, and counts how often it is asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    def window(self, position: int, at_least: int) -> bytes:
        """Return what was asked for, no more."""
        self.reads += 1
        return self.data[position : position + at_least]


def outcome(data: bytes, syntax: str) -> Findings | None:
    """Walk in every way; return what all of them say: findings, or None where the data set is refused."""
    source = CountedSource(data)
    walks = [
        lambda: walk(BytesSource(data), 0, len(data), syntax, WANTED, WalkLimits()),
        lambda: walk(source, 0, len(data), syntax, WANTED, WalkLimits()),
        lambda: walk_and_mark(BytesSource(data), 0, len(data), syntax, WANTED, WalkLimits())[0],
    ]
    said: list[Findings | None] = []
    for one in walks:
        with bounded_steps(STEPS_AT_ALL + STEPS_PER_BYTE * len(data)):
            try:
                said.append(one())
            except StructureError as error:
                assert str(error)  # noqa: PT017 - passing is right for some
                said.append(None)
    assert source.reads <= 2 + len(data) // 4  # a header takes eight bytes, and two reads at most
    assert said[1:] == said[:-1]
    return said[0]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_truncation_is_answered(syntax: str) -> None:
    """Cut at any byte, a data set is refused, but where a top-level element ends: there it is a whole one."""

    @settings(max_examples=12, deadline=None)
    @given(data_sets(syntax))
    def check(elements: list[Element]) -> None:
        pieces = [element.encoded(syntax) for element in {each.tag: each for each in elements}.values()]
        data, whole = b"".join(pieces), _ends(pieces)
        for cut in range(len(data) + 1):
            assert (outcome(data[:cut], syntax) is not None) == (cut in whole), cut

    check()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_every_truncation_within_a_container_is_answered(syntax: str, undefined: bool) -> None:
    """The same within an item whose length says that it ends at the cut: it is not the end of the data."""

    @settings(max_examples=6, deadline=None)
    @given(data_sets(EXPLICIT if syntax not in {IMPLICIT, BIG} else syntax))
    def check(elements: list[Element]) -> None:
        pieces = [element.encoded(syntax) for element in elements]
        content, whole = b"".join(pieces), _ends(pieces)
        for cut in range(len(content) + 1):
            data = _enclosed(content[:cut], syntax, undefined=undefined)
            assert (outcome(data, syntax) is not None) == (cut in whole), cut

    check()


def _ends(pieces: Sequence[bytes]) -> set[int]:
    """Return where the pieces end."""
    return {0, *accumulate(map(len, pieces))}


def _enclosed(content: bytes, syntax: str, *, undefined: bool) -> bytes:
    """Return a sequence with an item of defined length around `content`."""

    class Content:
        def encoded(self, _syntax: str) -> bytes:
            return content

    inner = Item((Content(),), defined=True)  # type: ignore[arg-type]  # it is bytes already
    return Nested(0x00081140, "SQ", (inner,), defined=not undefined).encoded(syntax)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SYNTAXES), st.data())
def test_damage_is_answered(syntax: str, data: st.DataObject) -> None:
    """A data set with any of its bytes overwritten is answered, whatever the answer is."""
    encoded = bytearray(b"".join(each.encoded(syntax) for each in data.draw(data_sets(syntax))))
    for _ in range(data.draw(st.integers(1, 4)) if encoded else 0):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.sampled_from((0, 1, 8, 255)))
    outcome(bytes(encoded), syntax)


def test_a_step_that_passes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop does not rely on its steps: one that leaves the position where it is ends the walk."""
    monkeypatch.setattr("dicomnode.host.parsing.structure._Walk._dataset", lambda *_: None)
    with bounded_steps(1000), pytest.raises(StructureError, match="nothing that can be passed"):
        walk(BytesSource(bytes(8)), 0, 8, EXPLICIT, WANTED, WalkLimits())


def test_a_loop_without_an_end_is_noticed() -> None:
    """What the tests above rely on: too many steps raise, and the tracing is over afterwards."""

    def forever() -> None:
        while True:
            pass

    with pytest.raises(TooManyStepsError), bounded_steps(1000, __file__):
        forever()
    with bounded_steps(0, __file__ + "else"):
        assert sum(range(10)) == 45
