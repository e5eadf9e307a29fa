"""What has gathered, and earlier jobs: the same again, a part of one, more than one, late for one."""

from __future__ import annotations

import pytest

from dicomnode.host.gathering.messages import (
    EarlierState,
    HoldKind,
    ImageStored,
    InputsChanged,
    LateImages,
    Member,
    Policy,
    ProcessOrdered,
)
from pretended_host import SETTLE, UNLIMITED, WAIT, PretendedHost, names, send

FAILED, ENDED = EarlierState.FAILED, EarlierState.ENDED


def test_the_same_images_again_run_the_job_again() -> None:
    """After a delivery, the same set runs the same job again."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    send(host, "a", names("a", 4), "2")
    host.advance(SETTLE)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 2)]


def test_a_failed_job_runs_again_when_its_images_come_again() -> None:
    """The images of a job that failed for good are known; sent again, they run it again."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = FAILED
    send(host, "a", names("a", 4), "2")
    host.advance(SETTLE)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 2)]


def test_a_failed_job_and_more() -> None:
    """All images of a failed job and one more make a new job of all of them."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = FAILED
    send(host, "a", names("a", 5), "2")
    host.advance(SETTLE)
    assert [(job.number, len(job.uids), job.superseded) for job in host.jobs] == [(1, 4, True), (2, 5, False)]


def test_a_failed_job_and_what_cannot_join_it() -> None:
    """The job runs again by itself, and what came with its images is late for it."""
    host = PretendedHost(one_series=True)
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = FAILED
    host.store("a", "a.9", "2", "another series")
    send(host, "a", names("a", 4), "2")
    host.advance(SETTLE)
    assert [(job.number, job.runs, job.superseded) for job in host.jobs] == [(1, 2, False)]
    assert (host.hold_of("a"), list(host.waiting["a"])) == (HoldKind.LATE, ["a.9"])


@pytest.mark.parametrize("state", [EarlierState.UNBUILT, EarlierState.BUILT, ENDED])
def test_a_part_of_a_failed_job_that_is_failed_no_more(state: EarlierState) -> None:
    """Replayed, the job has its images; discarded or delivered, they are gone: none waits any more."""
    host = PretendedHost()
    send(host, "a", names("a", 3), "1")
    host.advance(SETTLE)
    host.jobs[0].state = FAILED
    send(host, "a", ["a.0"], "2")
    host.advance(SETTLE)
    assert host.hold_of("a") is HoldKind.PART
    host.jobs[0].state = state
    send(host, "a", names("a", 3)[1:], "3")
    host.advance(UNLIMITED)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 1)]
    if state is ENDED:
        assert host.holds[-1].why == "it is a part of job 1: 2 of its 3 images"
    else:  # the others were the job's
        host.tell(InputsChanged("a"))
        assert (host.machine.keys(), host.dropped[-1].uids) == ([], frozenset())


def test_a_part_of_a_failed_job_is_no_image_of_another() -> None:
    """What waits beside it is started without it, by the operator or as a series of its own."""
    host = PretendedHost(Policy(SETTLE, WAIT, one_group_a_container=False))
    send(host, "a", names("a", 3), "1")
    host.advance(SETTLE)
    host.jobs[0].state = FAILED
    host.store("a", "a.9", "2", "another series")
    send(host, "a", ["a.0"], "2")
    host.advance(SETTLE)
    assert [sorted(job.uids) for job in host.jobs] == [names("a", 3), ["a.9"]]
    assert host.hold_of("a") is HoldKind.PART
    host.store("a", "a.4", "3")
    host.tell(ProcessOrdered("a", "they belong together"))
    assert sorted(host.jobs[-1].uids) == ["a.4"]


def test_a_part_runs_nothing() -> None:
    """What is a part of an earlier job is held, with that job's number."""
    host = PretendedHost()
    send(host, "a", names("a", 8), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    send(host, "a", names("a", 8)[4:], "2")
    host.advance(UNLIMITED)
    assert len(host.jobs) == 1
    assert host.hold_of("a") is HoldKind.PART
    assert "job 1" in host.holds[-1].why


def test_sent_again_across_the_delivery() -> None:
    """Half of a resend comes before its job is delivered, half after: nothing runs on the half."""
    host, uids = PretendedHost(), names("a", 8)
    send(host, "a", uids, "1")
    host.advance(SETTLE)
    for uid in uids[:4]:
        host.store("a", uid, "2")
    host.jobs[0].state = ENDED
    send(host, "a", uids[4:], "2")
    host.advance(UNLIMITED)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 1)]


def test_more_than_before_is_a_new_job() -> None:
    """All of an earlier job and more is a new job."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    send(host, "a", names("a", 5), "2")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [4, 5]


def test_late_images_are_held() -> None:
    """New images after the job has started are held with its number; the operator can start them."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    send(host, "a", names("a", 6)[4:], "2")
    host.advance(UNLIMITED)
    assert len(host.jobs) == 1
    assert host.hold_of("a") is HoldKind.LATE
    host.tell(ProcessOrdered("a", "they are a series of their own"))
    assert [len(job.uids) for job in host.jobs] == [4, 2]


def test_late_images_make_a_job_of_their_own() -> None:
    """With late_images = "new" they do."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="new"))
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    send(host, "a", names("a", 6)[4:], "2")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [4, 2]


def test_late_images_join() -> None:
    """With late_images = "join" the images of the job and the late ones make a new job."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join"))
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    send(host, "a", names("a", 6)[4:], "2")
    host.advance(SETTLE)
    assert [(len(job.uids), job.superseded) for job in host.jobs] == [(4, True), (6, False)]


def test_late_images_that_are_too_few_by_themselves_join() -> None:
    """What they lack the job has: only what both make together is asked whether it is complete."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join"), expected={"a": 4})
    send(host, "a", names("a", 4), "1")
    host.expected["a"] = 5
    send(host, "a", names("a", 5)[4:], "2")
    host.advance(SETTLE)
    assert [(len(job.uids), job.superseded) for job in host.jobs] == [(4, True), (5, False)]


@pytest.mark.parametrize("expected", [{}, {"a": 4}], ids=["complete", "incomplete"])
def test_late_images_that_cannot_join_end_no_job(expected: dict[str, int]) -> None:
    """Another series where a job takes one: the job goes on, and what is late is held."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join"), one_series=True)
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.expected = expected
    host.store("a", "a.9", "2", "another series")
    host.end("2", released=True)
    host.advance(UNLIMITED)
    assert [(job.state, job.superseded) for job in host.jobs] == [(EarlierState.UNBUILT, False)]
    if expected:
        assert host.hold_of("a") is HoldKind.INCOMPLETE
    else:
        assert host.holds[-1].why == (
            "they came after job 1 of the same container had started,"
            " and cannot go into one job with its images"
        )


@pytest.mark.parametrize("expected", [{}, {"a": 9}], ids=["complete", "incomplete"])
def test_late_images_do_not_join_where_both_would_be_late(expected: dict[str, int]) -> None:
    """A job that the operator has started of late images goes on: with more of them it would not start."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join"))
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    send(host, "a", ["a.5"], "2")
    host.tell(ProcessOrdered("a", "it belongs to nothing else"))
    host.expected = expected
    send(host, "a", ["a.6"], "3")
    host.advance(UNLIMITED)
    assert [(sorted(job.uids), job.superseded) for job in host.jobs] == [
        (names("a", 4), False),
        (["a.5"], False),
    ]
    assert host.hold_of("a") is (HoldKind.INCOMPLETE if expected else HoldKind.LATE)


@pytest.mark.parametrize("late_images", ["hold", "new", "join"])
def test_a_part_and_late_images(late_images: LateImages) -> None:
    """Images of a delivered job are no part of a job with others, until all of them have come again."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images=late_images))
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    send(host, "a", ["a.2", "a.3", "a.4"], "2")
    host.advance(UNLIMITED)
    assert len(host.jobs) == 1
    assert host.holds[-1].why == "2 of the 4 images of job 1 came again, with others"
    assert host.hold_of("a") is HoldKind.PART
    send(host, "a", ["a.0", "a.1"], "3")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [4, 5]


def test_late_images_do_not_join_with_a_part_of_another_job() -> None:
    """The job that they would join goes on: one of both would have a part of a delivered one's images."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join", one_group_a_container=False))
    send(host, "a", names("a", 2), "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    host.store("a", "a.5", "2", "another series")
    host.end("2", released=True)
    host.advance(SETTLE)
    host.incomplete = {"a"}
    host.store("a", "a.6", "3", "another series")
    send(host, "a", ["a.0"], "3")
    host.advance(UNLIMITED)
    assert [(sorted(job.uids), job.superseded) for job in host.jobs] == [
        (names("a", 2), False),
        (["a.5"], False),
    ]
    assert host.hold_of("a") is HoldKind.INCOMPLETE


def test_late_images_do_not_join_what_is_built() -> None:
    """A job that has a result is not undone: they are held."""
    host = PretendedHost(Policy(SETTLE, WAIT, late_images="join"))
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = EarlierState.BUILT
    send(host, "a", names("a", 6)[4:], "2")
    host.advance(UNLIMITED)
    assert [len(job.uids) for job in host.jobs] == [4]
    assert host.hold_of("a") is HoldKind.LATE


def test_another_study_of_a_patient_is_not_late() -> None:
    """Where a container holds several series, images of a series that no job had are new."""
    host = PretendedHost(Policy(SETTLE, WAIT, one_group_a_container=False))
    send(host, "a", ["a.0"], "1")
    host.advance(SETTLE)
    host.jobs[0].state = ENDED
    host.waiting["a"]["a.9"] = "a"
    host.tell(ImageStored("a", Member("a.9", "another series"), "2"))
    host.end("2", released=True)
    host.advance(SETTLE)
    assert [sorted(job.uids) for job in host.jobs] == [["a.0"], ["a.9"]]


def test_earlier_images_make_nothing_late() -> None:
    """What the host has fetched may be of a series that an earlier job had: jobs share it."""
    policy = Policy(SETTLE, WAIT, one_group_a_container=False)
    host = PretendedHost(policy, fetched=frozenset({"prior.0"}))
    for uid, association in (("a.0", "1"), ("a.1", "2")):
        host.store("a", uid, association, series=uid)
        host.store("a", "prior.0", "", series="prior")
        host.end(association, released=True)
        host.advance(SETTLE)
        host.jobs[-1].state = ENDED
    assert [sorted(job.uids) for job in host.jobs] == [["a.0", "prior.0"], ["a.1", "prior.0"]]
