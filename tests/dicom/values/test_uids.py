"""New UIDs: random, or derived from an identity."""

import pickle
import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID, UIDSource

names = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 99)), max_size=4).map(tuple)


@given(names)
def test_a_uid_is_that_of_a_uuid(name):
    """``2.25.`` and the number of a UUID of version 8 (PS3.5 section B.2, RFC 9562)."""
    made = UIDSource.derived("job").uid(*name)
    assert made.is_valid
    assert len(made) <= 64
    number = uuid.UUID(int=int(made.removeprefix("2.25.")))
    assert (number.version, number.variant) == (8, uuid.RFC_4122)


@given(names, names)
def test_two_names_never_share_a_uid(one, other):
    """Names are divided by their lengths, so that ("ab", "c") is not ("a", "bc"); 1 and "1" are one name."""
    source = UIDSource.derived("job")
    same = tuple(map(str, one)) == tuple(map(str, other))
    assert (source.uid(*one) == source.uid(*other)) is same


def test_the_same_identity_makes_the_same_uids():
    """In the order in which series are made, on any machine, after a pickle."""
    first, again = UIDSource.derived("job 7"), UIDSource.derived("job 7")
    assert [first.series().SeriesInstanceUID for _ in range(3)] == [
        again.series().SeriesInstanceUID for _ in range(3)
    ]
    travelled = pickle.loads(pickle.dumps(first))
    assert travelled.series().SeriesInstanceUID == first.series().SeriesInstanceUID
    assert UIDSource.derived("job 8").uid("x") != first.uid("x")


def test_what_is_derived_is_known_for_good():
    """Another release makes the UIDs of this one: a delivery that is repeated is the same instance."""
    series = UIDSource.derived("job 7").series("mask")
    assert series.SeriesInstanceUID == "2.25.112901846564013354067214483355768979918"
    assert series.SOPInstanceUID(0) == "2.25.283136453175569912789977583435764703032"


def test_random_uids_are_new():
    """Nobody meets those of another run."""
    assert UIDSource.random().series().SeriesInstanceUID != UIDSource.random().series().SeriesInstanceUID


def test_a_named_series_does_not_depend_on_what_was_made_before():
    """A key instead of a count."""
    source = UIDSource.derived("job")
    before = source.series("mask").SeriesInstanceUID
    counted = source.series().SeriesInstanceUID
    assert source.series("mask").SeriesInstanceUID == before != counted


def test_instances_of_a_series_have_uids_of_their_own():
    """Each index, and each series."""
    source = UIDSource.derived("job")
    first, second = source.series(), source.series()
    made = [series.SOPInstanceUID(index) for series in (first, second) for index in range(5)]
    assert len(set(made)) == 10
    assert first.SOPInstanceUID(3) == first.SOPInstanceUID(3)
    assert first.uid("tracking", "a") != first.uid("tracking", "b")


def test_threads_count_series_together():
    """No two threads are given the same series."""
    source, made = UIDSource.derived("job"), []
    threads = [
        threading.Thread(target=lambda: made.extend(source.series().SeriesInstanceUID for _ in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 400


def test_the_identity_is_not_given_away():
    """Neither by the source's text nor by a UID."""
    source = UIDSource.derived("patient 4711")
    assert "4711" not in repr(source)


def test_this_software_has_a_uid_of_its_own():
    """It is valid, of a UUID, and stays the same (PS3.7 section D.3.3.2)."""
    assert IMPLEMENTATION_CLASS_UID.is_valid
    assert IMPLEMENTATION_CLASS_UID == "2.25.302451193377921164920734381957420638547"
