"""Which instances are here: stored by one thread at a time, in one file, waiting or in a job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicomnode.host.gathering.known_instances import KnownInstances

A, B = "/spool/a.dcm", "/spool/b.dcm"


@pytest.fixture
def known() -> KnownInstances:
    """Return an empty one."""
    return KnownInstances()


def test_an_instance_that_is_not_here(known: KnownInstances) -> None:
    """Nothing is known of it, and nothing held while it is stored."""
    with known.storing("1.1") as held:
        assert held is None
    assert (known.file_of("1.1"), known.where("1.1"), known.is_waiting("1.1"), len(known)) == (
        None,
        None,
        False,
        0,
    )


def test_the_same_instance_is_stored_by_one_thread_at_a_time(known: KnownInstances) -> None:
    """Another thread that brings it waits, and finds what the first one has stored."""
    entered, found = threading.Event(), []

    def bring() -> None:
        entered.set()
        with known.storing("1.1") as held:
            found.append(held)

    with ThreadPoolExecutor(1) as pool:
        with known.storing("1.1"):
            other = pool.submit(bring)
            assert entered.wait(10)
            known.add("1.1", A)
        other.result(10)
    assert found == [Path(A)]


def test_another_instance_is_stored_meanwhile(known: KnownInstances) -> None:
    """Only the same instance waits."""
    with ThreadPoolExecutor(1) as pool, known.storing("1.1"):

        def bring() -> Path | None:
            with known.storing("1.2") as held:
                return held

        assert pool.submit(bring).result(10) is None


def test_storing_that_fails_keeps_nobody_out(known: KnownInstances) -> None:
    """The next one that brings the instance finds nothing held."""
    with pytest.raises(OSError, match="full"), known.storing("1.1"):
        raise OSError("full")
    with known.storing("1.1") as held:
        assert held is None


def test_an_instance_goes_from_waiting_into_a_job(known: KnownInstances) -> None:
    """It stays known, under its file."""
    known.add("1.1", A)
    assert (known.where("1.1"), known.is_waiting("1.1")) == ("waiting", True)
    known.not_waiting(["1.1", "never seen"])
    assert (known.where("1.1"), known.is_waiting("1.1")) == ("in a job", False)
    assert known.file_of("1.1") == Path(A)
    assert known.is_file_of("1.1", Path(A))
    assert not known.is_file_of("1.1", Path(B))


def test_the_file_of_an_instance_is_replaced(known: KnownInstances) -> None:
    """The newer file counts, and whether it waits is as said."""
    known.add("1.1", A)
    known.add("1.1", B, waiting=False)
    assert (known.file_of("1.1"), known.where("1.1")) == (Path(B), "in a job")


def test_the_input_of_a_job_does_not_take_the_place_of_what_waits(known: KnownInstances) -> None:
    """After a restart the order of rows is any: what waits stays, and the first file of a job does."""
    known.add("1.1", A)
    known.add_of_job("1.1", B)
    assert (known.file_of("1.1"), known.where("1.1")) == (Path(A), "waiting")
    known.add_of_job("1.2", A)
    known.add_of_job("1.2", B)
    assert (known.file_of("1.2"), known.where("1.2")) == (Path(A), "in a job")


def test_only_the_same_file_is_forgotten(known: KnownInstances) -> None:
    """The end of a job does not take away the instance that has come anew since."""
    known.add("1.1", B)
    known.forget([("1.1", A), ("1.2", A)])
    assert known.where("1.1") == "waiting"
    known.forget([("1.1", B)])
    assert (known.where("1.1"), known.is_waiting("1.1"), len(known)) == (None, False, 0)
