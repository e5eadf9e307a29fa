"""The state machine of gathering: when a job starts, what expires, and what the operator does."""

from __future__ import annotations

from dicomnode.host.gathering.messages import (
    EarlierState,
    HoldKind,
    Member,
    Policy,
    ReleaseOrdered,
    Restored,
)
from pretended_host import SETTLE, UNLIMITED, WAIT, PretendedHost, names, send

FAILED, ENDED = EarlierState.FAILED, EarlierState.ENDED


def test_one_association_one_job() -> None:
    """A released association makes a job once the time to settle has passed, and not before."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE - 0.1)
    assert not host.jobs
    host.advance(0.1)
    assert [job.uids for job in host.jobs] == [frozenset(names("a", 4))]


def test_overlapping_associations_are_one_job() -> None:
    """Eleven images over a first association, nine over a second that was open when it ended: one job."""
    host, uids = PretendedHost(), names("a", 20)
    host.store("a", uids[11], "2")
    send(host, "a", uids[:11], "1")
    host.advance(60)
    send(host, "a", uids[12:], "2")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [20]


def test_one_association_an_image() -> None:
    """A sender that opens an association for each image is waited for."""
    host = PretendedHost()
    for number, uid in enumerate(names("a", 10)):
        send(host, "a", [uid], str(number))
        host.advance(SETTLE - 0.2)
    assert not host.jobs
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [10]


def test_an_image_whose_event_is_still_to_come() -> None:
    """The inputs hold it already: it is not started without its association being waited for."""
    host = PretendedHost()
    send(host, "a", ["a.0"], "1")
    host.waiting["a"]["a.1"] = "a"
    host.advance(SETTLE)
    assert not host.jobs
    send(host, "a", ["a.1", "a.2"], "2")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [3]


def test_how_many_are_waited_for() -> None:
    """An open association is, for so long after its last image; a released one is not."""
    host = PretendedHost()
    host.store("a", "a.0", "1")
    host.store("a", "a.1", "2")
    host.end("2", released=True)
    view = host.machine.view("a", host.now)
    assert view is not None
    assert (view.images, view.open_associations, view.settled_in) == (2, 1, WAIT)
    host.advance(WAIT - 1)
    view = host.machine.view("a", host.now)
    assert view is not None
    assert (view.open_associations, view.settled_in) == (1, 1)


def test_a_pause_on_an_open_association() -> None:
    """A pause on an association that stays open starts nothing."""
    host = PretendedHost()
    for uid in names("a", 5):
        host.store("a", uid, "1")
        host.advance(WAIT - 1)
    assert not host.jobs
    host.end("1", released=True)
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [5]


def test_an_association_that_stays_open() -> None:
    """An open association that has brought nothing for long holds a container back no more."""
    host = PretendedHost()
    host.store("a", "a.0", "1")
    host.advance(WAIT - 0.1)
    assert not host.jobs
    host.advance(0.1)
    assert len(host.jobs) == 1


def test_an_abort_completes_nothing() -> None:
    """After an abort time alone starts nothing; another association that is released does."""
    host = PretendedHost()
    send(host, "a", names("a", 3), "1", released=False)
    host.advance(UNLIMITED)
    assert not host.jobs
    assert host.hold_of("a") is HoldKind.INTERRUPTED
    send(host, "a", names("a", 8), "2")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [8]


def test_a_release_before_an_abort_does_not_make_up_for_it() -> None:
    """Of two associations one is released, then the other aborted: the container waits."""
    host = PretendedHost()
    host.store("a", "a.0", "1")
    send(host, "a", names("a", 3)[1:], "2")
    host.end("1", released=False)
    host.advance(UNLIMITED)
    assert not host.jobs


def test_a_release_of_what_brought_nothing_since_does_not_make_up_for_an_abort() -> None:
    """An association that brought its images before another was aborted says nothing of what that lacked."""
    host = PretendedHost()
    host.store("a", "a.0", "1")
    send(host, "a", ["a.1"], "2", released=False)
    host.end("1", released=True)
    host.advance(UNLIMITED)
    assert not host.jobs


def test_a_restart_in_the_middle() -> None:
    """What a stop of the host cut off waits for the sender; known images count when they come again."""
    host = PretendedHost()
    host.waiting["a"] = {"a.0": "a"}
    host.tell(Restored("a", (Member("a.0", "a"),), interrupted=frozenset({"a"})))
    host.advance(UNLIMITED)
    assert not host.jobs
    send(host, "a", names("a", 8), "1")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [8]


def test_a_restart_after_the_release() -> None:
    """What had been released before the stop starts after it."""
    host = PretendedHost()
    host.waiting["a"] = {"a.0": "a"}
    host.tell(Restored("a", (Member("a.0", "a"),)))
    host.advance(SETTLE)
    assert len(host.jobs) == 1


def test_a_proof_ends_the_waiting() -> None:
    """The image that makes the expected number starts the job, whatever the associations do."""
    host = PretendedHost(expected={"a": 3})
    host.store("a", "a.0", "1")
    send(host, "a", ["a.1"], "2", released=False)
    assert not host.jobs
    host.store("a", "a.2", "1")
    assert [len(job.uids) for job in host.jobs] == [3]


def test_the_operator_gives_up() -> None:
    """What waits is dropped on the operator's word."""
    host = PretendedHost(incomplete={"a"})
    send(host, "a", names("a", 2), "1")
    host.advance(SETTLE)
    assert host.hold_of("a") is HoldKind.INCOMPLETE
    host.tell(ReleaseOrdered("a", "the scanner is gone"))
    assert [(drop.uids, drop.ordered) for drop in host.dropped] == [(frozenset(names("a", 2)), True)]
    assert host.machine.keys() == []


def test_what_waits_expires() -> None:
    """Without an image for that long, what waits is dropped; every image counts anew."""
    host = PretendedHost(Policy(SETTLE, WAIT, expires=1000.0), incomplete={"a"})
    send(host, "a", ["a.0"], "1")
    host.advance(900)
    send(host, "a", ["a.1"], "2")
    host.advance(900)
    assert not host.dropped
    host.advance(200)
    assert [len(drop.uids) for drop in host.dropped] == [2]


def test_the_age_of_before_a_restart_counts() -> None:
    """A container expires by its last image, also where that came before the start; senders get a while."""
    host = PretendedHost(Policy(SETTLE, WAIT, expires=1000.0), incomplete={"a", "b"})
    for key, age in (("a", 5000.0), ("b", 700.0)):
        host.waiting[key] = {f"{key}.0": key}
        host.tell(Restored(key, (Member(f"{key}.0", key),), age=age))
    host.advance(WAIT - 1)
    assert not host.dropped
    host.advance(1)
    assert [drop.container_key for drop in host.dropped] == ["a"]
    host.advance(180)
    assert [drop.container_key for drop in host.dropped] == ["a", "b"]


def test_what_is_complete_does_not_expire() -> None:
    """When both are due at once, as after a long stop of the host, a job is made of it."""
    host = PretendedHost(Policy(SETTLE, WAIT, expires=3.0))
    host.waiting["a"] = {"a.0": "a"}
    host.tell(Restored("a", (Member("a.0", "a"),), age=5000.0))
    host.advance(SETTLE)
    assert (len(host.jobs), host.dropped) == (1, [])


def test_nothing_expires_while_it_is_waited_for() -> None:
    """An association that is open, and may bring more, keeps what it brought; so does the settling."""
    host = PretendedHost(Policy(SETTLE, WAIT, expires=3.0), incomplete={"a"})
    host.store("a", "a.0", "1")
    host.advance(60)
    host.end("1", released=True)
    host.advance(SETTLE - 1)
    assert not host.dropped
    host.advance(1)
    assert len(host.dropped) == 1


def test_another_series_does_not_make_up_for_an_abort() -> None:
    """Of a CT and a PET in one container the PET says nothing of the CT that was cut off."""
    host = PretendedHost()
    host.store("a", "pet.0", "2", "pet")
    host.store("a", "ct.0", "1", "ct")
    host.end("1", released=False)
    host.store("a", "pet.1", "2", "pet")
    host.end("2", released=True)
    host.advance(UNLIMITED)
    assert not host.jobs
    assert host.hold_of("a") is HoldKind.INTERRUPTED
    host.store("a", "ct.1", "3", "ct")
    host.end("3", released=True)
    host.advance(SETTLE)
    assert [job.uids for job in host.jobs] == [{"ct.0", "ct.1", "pet.0", "pet.1"}]


def test_all_series_of_an_association_that_was_cut_off_are_waited_for() -> None:
    """One that another association has completed was interrupted again by the end of this one."""
    host = PretendedHost()
    for series in ("ct", "pet"):
        host.store("a", f"{series}.0", "1", series)
    host.end("1", released=False)
    host.store("a", "ct.1", "2", "ct")
    host.end("2", released=True)
    host.advance(UNLIMITED)
    assert host.hold_of("a") is HoldKind.INTERRUPTED
    host.store("a", "pet.0", "3", "pet")
    host.end("3", released=True)
    host.advance(SETTLE)
    assert len(host.jobs) == 1


def test_a_series_that_was_cut_off_twice() -> None:
    """Which series an association brought counts at its abort, also what it brought before another's."""
    host = PretendedHost()
    host.store("a", "ct.0", "1", "ct")
    host.store("a", "ct.1", "2", "ct")
    host.end("1", released=False)
    host.store("a", "ct.2", "3", "ct")
    host.end("2", released=False)
    host.end("3", released=True)
    host.advance(UNLIMITED)
    assert host.hold_of("a") is HoldKind.INTERRUPTED


def test_a_restart_knows_which_series_was_cut_off() -> None:
    """What had been released before the stop need not come again."""
    host = PretendedHost()
    host.waiting["a"] = {"ct.0": "ct", "pet.0": "pet"}
    members = (Member("ct.0", "ct"), Member("pet.0", "pet"))
    host.tell(Restored("a", members, interrupted=frozenset({"pet"})))
    host.advance(UNLIMITED)
    assert host.hold_of("a") is HoldKind.INTERRUPTED
    host.store("a", "pet.1", "1", "pet")
    host.end("1", released=True)
    host.advance(SETTLE)
    assert len(host.jobs) == 1
