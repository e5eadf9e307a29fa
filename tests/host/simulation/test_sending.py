"""How a simulated sender sends a folder: associations, order and faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.simulation.sending import Found, Grouping, Order, SendingOptions, steps

OPTIONS = st.builds(
    SendingOptions,
    order=st.sampled_from(["name", "reverse", "shuffle"]),
    associations=st.sampled_from(["one", "series", "image"]),
    interleave=st.booleans(),
    duplicate=st.integers(0, 4),
    abort=st.integers(0, 5),
    resend=st.booleans(),
    seed=st.integers(0, 9),
)


def told(series: str, options: SendingOptions) -> list[str]:
    """Return the steps in short: association, then the file's name, ``end`` or ``abort``."""
    found = [Found(Path(str(number)), each) for number, each in enumerate(series)]
    ends = {False: "end", True: "abort"}
    return [
        f"{association.number} {ends[association.aborted] if file is None else file.path}"
        for association, file in steps(found, options)
    ]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), OPTIONS)
def test_everything_is_sent_and_every_association_ends_once(
    series: list[str], options: SendingOptions
) -> None:
    """After its last image; only what an abort cut off and nobody sends again is missing."""
    found = [Found(Path(f"{number:02}"), each) for number, each in enumerate(series)]
    done = list(steps(found, options))
    numbers = [association.number for association, file in done if file is None]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == {association.number for association, _ in done}
    for number in numbers:
        own = [file for association, file in done if association.number == number]
        assert own[-1] is None
        assert None not in own[:-1]
    sent = {file.path for _, file in done if file is not None}
    if options.resend or not options.abort:
        assert sent == {each.path for each in found}
    assert sum(association.aborted for association, file in done if file is None) == bool(options.abort)
    assert [file and file.path for _, file in done] == [
        file and file.path for _, file in steps(found, options)
    ]


def test_nothing_found_is_no_step() -> None:
    """An empty folder opens no association, also where one would be aborted."""
    assert not told("", SendingOptions(abort=2))


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [
        ("one", ["1 0", "1 1", "1 2", "1 end"]),
        ("series", ["1 0", "1 2", "1 end", "2 1", "2 end"]),
        ("image", ["1 0", "1 end", "2 1", "2 end", "3 2", "3 end"]),
    ],
)
def test_images_are_grouped_into_associations(grouping: Grouping, expected: list[str]) -> None:
    """All over one association, a series over one each, or each image alone."""
    assert told("aba", SendingOptions(associations=grouping)) == expected


@pytest.mark.parametrize(("order", "expected"), [("name", ["1 0", "1 1"]), ("reverse", ["1 1", "1 0"])])
def test_images_are_ordered_by_their_paths(order: Order, expected: list[str]) -> None:
    """Forwards or backwards."""
    assert told("aa", SendingOptions(order=order)) == [*expected, "1 end"]


def test_a_shuffle_follows_from_its_seed() -> None:
    """The same seed gives the same order, another seed another one."""
    first, again, other = (told("a" * 10, SendingOptions(order="shuffle", seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other) == sorted(told("a" * 10, SendingOptions()))


def test_interleaved_associations_send_in_turn() -> None:
    """Each ends after the turn in which its own last image is sent, also where another goes on."""
    options = SendingOptions(interleave=True)
    assert told("aaab", options) == ["1 0", "2 3", "2 end", "1 1", "1 2", "1 end"]


def test_interleaved_associations_of_one_image_are_open_at_once() -> None:
    """Every image is sent before the first association ends."""
    options = SendingOptions(associations="image", interleave=True)
    assert told("aab", options) == ["1 0", "2 1", "3 2", "1 end", "2 end", "3 end"]


def test_an_interleaved_association_that_ends_with_a_duplicate_ends_once() -> None:
    """The second copy of the last image is not taken for the first."""
    options = SendingOptions(interleave=True, duplicate=1)
    assert told("ab", options) == ["1 0", "2 1", "1 0", "2 1", "1 end", "2 end"]


def test_every_so_many_th_image_is_sent_twice() -> None:
    """Counted within an association."""
    assert told("aaa", SendingOptions(duplicate=2)) == ["1 0", "1 1", "1 1", "1 2", "1 end"]


@pytest.mark.parametrize(
    ("resend", "again"), [(False, []), (True, ["3 0", "3 1", "3 2", "3 end"])], ids=["not again", "again"]
)
def test_the_first_association_is_aborted(resend: bool, again: list[str]) -> None:
    """After so many images; where it is sent again, it is sent whole, after all others."""
    options = SendingOptions(abort=2, resend=resend)
    assert told("aaab", options) == ["1 0", "1 1", "1 abort", "2 3", "2 end", *again]
