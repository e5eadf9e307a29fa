"""Faults on request, applied to the order of images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.testing.faults import Faults


def test_no_faults_change_nothing() -> None:
    """The images in their order, in a list of its own."""
    images = ["a", "b"]
    sent = Faults().applied(images)
    assert sent == images
    assert sent is not images


def test_images_are_dropped_and_doubled() -> None:
    """By their indices in what is given; a double follows its image."""
    assert Faults(drop=[0, 3], duplicate=[1]).applied("abcd") == ["b", "b", "c"]


def test_indices_count_from_the_end_too() -> None:
    """As those of a list do; one that is named twice counts once."""
    assert Faults(drop=[-1, 3], duplicate=[-4, 0]).applied("abcd") == ["a", "a", "b", "c"]


def test_what_is_dropped_is_not_doubled() -> None:
    """Dropped is never sent, even if it is also to be sent twice."""
    assert Faults(drop=[1], duplicate=[1]).applied("abc") == ["a", "c"]


@pytest.mark.parametrize("faults", [Faults(drop=[3]), Faults(duplicate=[3]), Faults(drop=[-4])])
def test_an_index_that_names_no_image_is_an_error(faults: Faults) -> None:
    """A fault that would do nothing is not passed over."""
    with pytest.raises(IndexError, match="list index out of range"):
        faults.applied(["a", "b", "c"])


def test_a_seed_gives_an_order() -> None:
    """The same one each time, and another seed another one."""
    images = list(range(20))
    first, again, other = (Faults(reorder=seed).applied(images) for seed in (0, 0, 1))
    assert first == again
    assert len({tuple(first), tuple(other), tuple(images)}) == 3


def test_where_it_is_aborted_cuts_nothing_off() -> None:
    """Whoever sends ends the association; the order of the images knows nothing of it."""
    assert Faults(abort_after=1).applied("abc") == ["a", "b", "c"]


@given(st.lists(st.integers(), min_size=1, max_size=9, unique=True), st.data())
def test_every_image_is_sent_as_often_as_the_faults_say(images: list[int], data: st.DataObject) -> None:
    """Never where it is dropped, twice where it is doubled, else once; in any order."""
    indices = st.sets(st.integers(0, len(images) - 1))
    drop, duplicate = data.draw(indices), data.draw(indices)
    sent = Faults(drop, duplicate, reorder=data.draw(st.none() | st.integers(0, 9))).applied(images)
    expected = [0 if index in drop else 1 + (index in duplicate) for index in range(len(images))]
    assert [sent.count(each) for each in images] == expected
