"""The machines driven: containers become jobs when it is time, in ledger and tree, and say why not."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.errors import DataDirectoryError, JobStateError
from dicomnode.host.gathering.messages import HoldKind
from dicomnode.host.ledger.ledger_writes import job_built, transition_job
from dicomnode.host.ledger.states import JobState
from gathering import OPEN_WAIT, SETTLE, Node, series, uids


class Images(AbstractInput):
    """Images of one series; their validation may be told to raise, or to ask for more."""

    least = 1
    raises: Exception | None = None

    def validate(self) -> str | None:
        if Images.raises is not None:
            raise Images.raises
        return super().validate() or (None if len(self) >= Images.least else "fewer than there must be")


class Single(AbstractPipeline):
    """A job a series."""

    inputs = {"images": Images}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class Counting(Single):
    """One that knows how many images there are."""

    inputs = {"images": type("Three", (AbstractInput,), {"expected_images": 3})}


class Whole(Single):
    """A job a study, of which one series is taken."""

    gather_by = "study"


class Most(AbstractInput):
    """Takes the series of most images."""

    def choose_series(self, candidates: Any) -> Any:
        return max(candidates, key=len)


class Thin(Whole):
    """A job a study, of which the series of most images is taken."""

    inputs = {"images": Most}


Made = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Yield a maker of nodes; they are closed at the end."""
    monkeypatch.setattr(Images, "least", 1)
    monkeypatch.setattr(Images, "raises", None)
    nodes: list[Node] = []

    def make(kind: type[AbstractPipeline] = Single, **table: Any) -> Node:
        nodes.append(Node(tmp_path / str(len(nodes)), kind, **table))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()


def no_ledger(made: Node, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the ledger take nothing that is waited for; return what lets it again."""
    write = made.ledger.write

    def failing(_write: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(made.ledger, "write", failing)
    return lambda: monkeypatch.setattr(made.ledger, "write", write)


# -- when a job starts ---------------------------------------------------------------------------------------


def test_a_series_becomes_a_job_when_its_sender_has_gone(node: Made) -> None:
    """So many seconds after the release, and not before; the job has all of it, and says why."""
    made, images = node(), series(3)
    made.send(*images)
    made.let_pass(OPEN_WAIT / 2)
    made.release()
    made.let_pass(SETTLE - 1)
    assert made.job_images() == []
    made.let_pass(1)
    assert made.job_images() == [uids(images)]
    assert made.waiting.keys() == []
    (job,) = made.ledger.jobs()
    assert job.reason == "every input is complete and nothing more comes"


def test_series_over_several_associations(node: Made) -> None:
    """A sender that opens several, or one an image, is waited for: one job a series."""
    made, first, second = node(), series(4), series(3, "1.2.4")
    made.send(*first[:2], association="a")
    made.send(*first[2:], association="b")
    made.release("a")
    made.let_pass(SETTLE)
    assert made.job_images() == []
    made.release("b")
    for image in second:
        made.send(image, association=f"c{image.InstanceNumber}")
        made.release(f"c{image.InstanceNumber}")
        made.let_pass(SETTLE - 0.1)
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(first), uids(second)]


def test_an_association_that_stays_open(node: Made) -> None:
    """It is waited for only so long after the last image that it brought."""
    made, images = node(), series(3)
    for image in images:
        made.send(image)
        made.let_pass(OPEN_WAIT - 1)
    assert made.job_images() == []
    made.let_pass(1)
    assert made.job_images() == [uids(images)]


def test_the_settings_of_a_site(node: Made) -> None:
    """`settle` and `open_association_wait` of the pipeline's table hold."""
    made = node(settle=60.0, open_association_wait=10.0)
    made.send(*series(2))
    made.release()
    made.let_pass(59)
    assert made.job_images() == []
    made.let_pass(1)
    made.send(*series(2, "1.2.4"), association="open")
    made.let_pass(10)
    assert len(made.job_images()) == 2


def test_a_proof_ends_the_waiting(node: Made) -> None:
    """The third of three images starts the job, with the association open; what proved it is kept."""
    made, images = node(Counting), series(3)
    made.send(*images[:2])
    made.let_pass()
    assert made.job_images() == []
    made.send(images[2])
    made.let_pass()
    assert made.job_images() == [uids(images)]
    (job,) = made.ledger.jobs()
    assert job.reason == "images: 3 of 3 images (expected_images)"


def test_an_abort_completes_nothing(node: Made) -> None:
    """Time alone starts no job of what came before it; one that is sent again and released does."""
    made, images = node(), series(4)
    made.send(*images[:2], association="aborted")
    made.abort("aborted")
    made.let_pass(10 * OPEN_WAIT)
    assert made.job_images() == []
    assert "aborted or cut off" in made.held()[made.key]
    made.send(*images, association="again")
    made.release("again")
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


def test_only_known_images_come_again(node: Made) -> None:
    """A resent image counts for the association that brings it, so that its release makes up for an abort."""
    made, images = node(), series(2)
    made.send(*images, association="aborted")
    made.abort("aborted")
    made.send(images[0], association="again")
    made.release("again")
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


def test_what_was_fetched_completes_nothing(node: Made) -> None:
    """Images that the host itself has asked for say nothing about what others still send."""
    made = node()
    (image,) = series(1)
    made.send(image, association="get")
    made.let_pass()
    key = made.key
    made.gatherer.images_removed(made.waiting, key, uids([image]))
    made.let_pass()
    made.gatherer.image_stored(
        made.waiting,
        key,
        made.waiting.first_image(key),
        "get",
        asked_for=True,  # type: ignore[arg-type]  # it waits
    )
    made.gatherer.association_ended("get", released=True)
    made.let_pass(10 * OPEN_WAIT)
    assert made.job_images() == []
    assert made.held() == {}


def test_who_is_told_of_images(node: Made) -> None:
    """Each image of a sender may have earlier ones fetched; a start of the host may, too."""
    made = node()
    made.send(*series(2))
    made.let_pass()
    key = made.key
    assert made.came == [key, key]
    made.came.clear()
    made.restart()
    assert made.came == [key]


# -- what came since the decision ----------------------------------------------------------------------------


def test_an_image_whose_event_is_still_to_come(node: Made) -> None:
    """It is in the tree already when its container is looked at: it is not split from its association."""
    made, images = node(), series(4)
    made.send(*images[:2], association="a")
    made.release("a")
    made.now += SETTLE  # it is time to look, and nobody has looked yet
    made.send(images[2], association="b")
    made.timer.run_due()
    assert made.job_images() == []
    made.send(images[3], association="b")
    made.release("b")
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


# -- the same again, a part, late ----------------------------------------------------------------------------


def delivered(made: Node, images: list[Dataset]) -> int:
    """Send a series, and have its job delivered."""
    made.send(*images, association="first")
    made.release("first")
    made.let_pass(SETTLE)
    number = made.ledger.jobs()[-1].id
    made.deliver(number)
    return number


def sent(made: Node, *images: Dataset, association: str = "next") -> None:
    """Send images over one association, and wait until its container is looked at."""
    made.send(*images, association=association)
    made.release(association)
    made.let_pass(SETTLE)


def test_the_same_series_again(node: Made) -> None:
    """The job runs again, as the same one."""
    made, images = node(), series(3)
    number = delivered(made, images)
    sent(made, *images)
    (job,) = made.ledger.jobs()
    assert (job.id, job.state, job.reason) == (
        number,
        JobState.QUEUED,
        f"the images of job {number} came again",
    )
    assert made.job_images() == [uids(images)]
    assert set(made.states().values()) == {"in_job"}


def test_a_failed_job_runs_again(node: Made) -> None:
    """Its series sent again is known, and yet not without effect."""
    made, images = node(), series(3)
    sent(made, *images)
    made.fail(1)
    sent(made, *images, association="again")
    (job,) = made.ledger.jobs()
    assert (job.id, job.state) == (1, JobState.QUEUED)
    assert made.gatherer.views(made.waiting) == {}


def test_a_part_of_a_failed_job_runs_nothing(node: Made) -> None:
    """It says of which job it is a part; with `expires` the container goes, and not the job's images."""
    made, images = node(expires=600.0), series(3)
    sent(made, *images)
    made.fail(1)
    sent(made, images[0], association="again")
    (why,) = made.held().values()
    assert why == "it is a part of job 1: 1 of its 3 images"
    made.let_pass(600)
    assert made.gatherer.views(made.waiting) == {}
    assert set(made.states().values()) == {"in_job"}
    made.let_pass(20)
    assert made.timer.run_due() is None  # it is not tried again and again


def test_sent_again_across_the_delivery(node: Made) -> None:
    """What came after it is a part of the job's, and makes no job of the rest."""
    made, images = node(), series(8)
    sent(made, *images)
    made.send(*images[:4], association="again")
    made.deliver(1)
    made.send(*images[4:], association="again")
    made.release("again")
    made.let_pass(10 * OPEN_WAIT)
    assert len(made.ledger.jobs()) == 1
    assert list(made.held().values()) == ["it is a part of job 1: 4 of its 8 images"]
    told = "a container is held: it is a part of job 1: 4 of its 8 images; 4 images wait"
    assert told in made.messages(logging.INFO)


@pytest.mark.parametrize(
    ("late_images", "jobs"),
    [("hold", [{0, 1}]), ("new", [{0, 1}, {2}]), ("join", [set(), {0, 1, 2}])],
)
def test_late_images(node: Made, late_images: str, jobs: list[set[int]]) -> None:
    """They wait, make a job of their own, or join the one that has no result yet."""
    made, images = node(late_images=late_images), series(3)
    sent(made, *images[:2])
    sent(made, images[2], association="late")
    assert made.job_images() == [{f"1.2.3.{number}" for number in each} for each in jobs]
    if late_images == "hold":
        (why,) = made.held().values()
        assert why == "they came after job 1 of the same container had started"
        assert f"a container is held: {why}; 1 image waits" in made.messages(logging.WARNING)
    if late_images == "join":
        assert [job.state for job in made.ledger.jobs()] == [JobState.DISCARDED, JobState.QUEUED]


def test_late_images_that_cannot_join(node: Made) -> None:
    """A job that takes one series goes on when another one comes late: it is held."""
    made, first, second = node(Whole, late_images="join"), series(2), series(3, "1.2.4")
    sent(made, *first)
    sent(made, *second, association="late")
    assert made.job_images() == [uids(first)]
    assert made.held() == {
        "P1/1.2": "they came after job 1 of the same container had started, and cannot go into one job with"
        " its images"
    }


def test_late_images_of_which_the_author_chooses(node: Made) -> None:
    """They join where a series of theirs is the choice; else the job goes on."""
    made, first, second = node(Thin, late_images="join"), series(2), series(3, "1.2.4")
    sent(made, *first)
    sent(made, *second, association="late")
    sent(made, *series(1, "1.2.5"), association="later")
    assert [job.state for job in made.ledger.jobs()] == [JobState.DISCARDED, JobState.QUEUED]
    assert made.job_images()[1:] == [uids(second)]
    assert list(made.held()) == ["P1/1.2"]


def test_a_part_of_a_job_that_was_replayed(node: Made) -> None:
    """What came again while it had failed is its own again: no run is on what came after the delivery."""
    made, images = node(), series(3)
    sent(made, *images)
    made.fail(1)
    sent(made, images[0], association="again")
    made.jobs.replay(1)
    made.deliver(1)
    sent(made, *images[1:], association="rest")
    assert [(job.id, job.state) for job in made.ledger.jobs()] == [(1, JobState.DELIVERED)]
    assert list(made.held().values()) == ["it is a part of job 1: 2 of its 3 images"]


def test_an_undeliverable_job_and_more(node: Made) -> None:
    """All of its images and one more make a new job of all; the result that no peer took is not kept."""
    made, images = node(), series(4)
    sent(made, *images[:3])
    result = made.data.outbox / "result"
    result.mkdir(parents=True)
    made.ledger.write(transition_job(1, JobState.RUNNING, ""))
    made.ledger.write(job_built(1, "result", []))
    made.ledger.write(transition_job(1, JobState.UNDELIVERABLE, "refused"))
    sent(made, *images, association="again")
    assert made.job_images() == [set(), uids(images)]
    assert [job.state for job in made.ledger.jobs()] == [JobState.DISCARDED, JobState.QUEUED]
    assert not result.exists()


# -- what cannot be done now ---------------------------------------------------------------------------------


def test_a_job_that_cannot_be_entered_is_tried_again(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images wait, the reason is told once, and the job is made when the ledger takes it."""
    made, images = node(), series(3)
    made.send(*images)
    made.release()
    mend = no_ledger(made, monkeypatch)
    made.let_pass(60)
    assert made.waiting.counts() == {made.key: {"images": 3}}
    view = made.gatherer.views(made.waiting)[made.key]
    assert view.hold is not None
    assert view.hold.kind is HoldKind.FAILED
    assert [each for each in made.messages(logging.WARNING) if "no job could be made" in each] == [
        "a container is held: no job could be made: the ledger cannot be written: database or disk is full;"
        " 3 images wait"
    ]
    mend()
    made.let_pass(10)
    assert made.job_images() == [uids(images)]
    assert made.counted() == {}


def test_expiry_counts_on_while_a_job_cannot_be_entered(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Being put back makes a container no younger: it expires so long after its last image."""
    made = node(expires=100.0)
    made.send(*series(2))
    made.release()
    mend = no_ledger(made, monkeypatch)
    made.let_pass(95)
    assert made.waiting.quiet_for(made.key) == 95
    mend()
    Images.least = 9  # and now something is missing
    made.let_pass(4.9)
    assert len(made.waiting.keys()) == 1
    made.let_pass(10)
    assert made.waiting.keys() == []
    assert set(made.states().values()) == {"expired"}


def test_what_is_held_names_its_associations(node: Made) -> None:
    """Those that brought an image since it was held last, the newest last: for who reads the log."""
    made, images = node(), series(20)
    Images.least = 30
    for number in range(3):
        made.send(images[number], association=f"a{number}")
    made.send(images[0], association="a0")
    made.release("a0", "a1", "a2")
    made.let_pass(SETTLE)
    sent(made, images[3], association="b")
    for number in range(4, 20):
        made.send(images[number], association=f"c{number}")
    made.release(*(f"c{number}" for number in range(4, 20)))
    made.let_pass(SETTLE)
    held = [event for event in made.events if "is held" in event.message]
    assert [(event.association, event.message.rpartition("; ")[2]) for event in held] == [
        ("a1,a2,a0", "3 images wait"),
        ("b", "4 images wait"),
        (",".join(f"c{number}" for number in range(12, 20)), "20 images wait"),
    ]


def test_the_code_of_an_input_that_raises(node: Made) -> None:
    """Its container is held, and the log has the type of it only; the next image asks again."""
    made, images = node(), series(3)
    Images.raises = ValueError("Doe^John")
    sent(made, *images[:2])
    assert made.held() == {made.key: "images: its validation raised ValueError: Doe^John"}
    assert made.messages(logging.WARNING) == [
        "a container is held: the code of input 'images' raised ValueError; 2 images wait"
    ]
    Images.raises = None
    sent(made, images[2])
    assert made.job_images() == [uids(images)]


# -- the operator --------------------------------------------------------------------------------------------


def test_a_container_is_started_as_it_is(node: Made) -> None:
    """Whatever is missing, and also where a check raises."""
    made, images = node(), series(2)
    Images.raises = ValueError("Doe^John")
    made.send(*images)
    made.abort()
    made.gatherer.process(made.waiting, made.key, "the scanner is broken")
    assert made.job_images() == [uids(images)]
    (job,) = made.ledger.jobs()
    assert (job.reason, job.summary) == ("the scanner is broken", "started as it is by the operator")
    assert made.gatherer.views(made.waiting) == {}


def test_one_of_several_series_must_be_named(node: Made) -> None:
    """Where a job takes one, the operator says which."""
    made, first, second = node(Whole), series(2), series(3, "1.2.4")
    sent(made, *first, *second)
    key = made.key
    with pytest.raises(JobStateError, match=r"2 series fit.*name the one to process with --series"):
        made.gatherer.process(made.waiting, key, "why")
    made.waiting.choose_series(key, "1.2.4")
    made.gatherer.process(made.waiting, key, "the thin one")
    assert made.job_images() == [uids(second)]
    assert set(made.states().values()) == {"in_job", "expired"}


def test_a_container_is_given_up(node: Made) -> None:
    """Its images are released, and how many they were is told."""
    made = node()
    made.send(*series(3))
    made.let_pass()
    assert made.gatherer.release_container(made.waiting, made.key, "a phantom") == 3
    assert set(made.states().values()) == {"expired"}
    assert made.gatherer.views(made.waiting) == {}


def test_orders_for_what_does_not_wait(node: Made) -> None:
    """Nothing is done, and how to see what waits is said."""
    made = node()
    for order in (made.gatherer.process, made.gatherer.release_container):
        with pytest.raises(JobStateError, match=r"nothing waits as 'P9' .* status --patients"):
            order(made.waiting, "P9", "why")


def test_an_order_that_cannot_be_entered(node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave it is told, and the container waits as before."""
    made, images = node(), series(2)
    made.send(*images)
    made.let_pass()
    key = made.key
    no_ledger(made, monkeypatch)
    for order in (made.gatherer.process, made.gatherer.release_container):
        with pytest.raises(DataDirectoryError, match="disk is full"):
            order(made.waiting, key, "why")
    assert made.waiting.counts() == {key: {"images": 2}}


# -- a restart -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "jobs"), [("released", 1), ("aborted", 0), ("open", 0)])
def test_a_container_that_waited_at_the_start(node: Made, how: str, jobs: int) -> None:
    """It becomes a job after a while if it was released; else it waits for its sender, or the operator."""
    made, images = node(), series(3)
    made.send(*images)
    if how != "open":
        {"released": made.release, "aborted": made.abort}[how]()
    made.restart()
    made.let_pass(SETTLE - 1)
    assert made.job_images() == []
    made.let_pass(10 * OPEN_WAIT)
    assert len(made.job_images()) == jobs
    if not jobs:
        sent(made, images[1])
        assert made.job_images() == [uids(images)]


@pytest.mark.parametrize(
    ("age", "expires_after"),
    [(0.0, 600.0), (400.0, 200.0), (599.0, OPEN_WAIT), (600.0, OPEN_WAIT), (9000.0, OPEN_WAIT)],
)
def test_expiry_goes_on_counting_over_a_restart(node: Made, age: float, expires_after: float) -> None:
    """A container expires so long after its last image, also over a restart; but senders get a while."""
    made = node(expires=600.0)
    made.send(*series(1))
    made.abort()
    made.restart()
    made = restarted_with_age(made, age)
    made.let_pass(expires_after - 20)  # the age is by the wall clock, which goes on meanwhile
    assert len(made.waiting.keys()) == 1
    made.let_pass(20)
    assert made.waiting.keys() == []
    assert set(made.states().values()) == {"expired"}


def restarted_with_age(made: Node, age: float) -> Node:
    """Restart once more, with the last image so old."""
    made.ledger.write(
        lambda connection: connection.execute("UPDATE instance SET received = received - ?", (age,)).rowcount
    )
    made.ledger.write(
        lambda connection: connection.execute("UPDATE association SET started = started - ?", (age,)).rowcount
    )
    made.restart()
    return made


def test_an_image_after_the_restart(node: Made) -> None:
    """Expiry counts anew from it."""
    made, images = node(expires=600.0), series(2)
    made.send(images[0])
    made.abort()
    made = restarted_with_age(made, 500)
    made.send(images[1], association="open")
    made.let_pass(599)
    assert len(made.waiting.keys()) == 1
    made.let_pass(1)
    assert made.waiting.keys() == []


def test_a_complete_container_goes_first(node: Made) -> None:
    """One that is too old by the time of the restart, but released and complete, becomes a job."""
    made = node(expires=600.0)
    images = series(2)
    made.send(*images)
    made.release()
    made = restarted_with_age(made, 9000)
    made.let_pass(SETTLE)
    assert made.job_images() == [uids(images)]


# -- looking -------------------------------------------------------------------------------------------------


def test_what_is_known_of_a_container(node: Made) -> None:
    """How many images, which associations are waited for, how long, and why it is held."""
    made = node()
    Images.least = 9
    made.send(*series(3))
    made.let_pass(1)
    view = made.gatherer.views(made.waiting)[made.key]
    assert (view.images, view.open_associations, view.interrupted, view.quiet) == (3, 1, False, 1)
    assert view.hold is None
    made.release()
    view = made.gatherer.views(made.waiting)[made.key]
    assert (view.open_associations, view.settled_in) == (0, SETTLE)
    made.let_pass(SETTLE)
    view = made.gatherer.views(made.waiting)[made.key]
    assert view.hold is not None
    assert (view.hold.kind, view.hold.summary) == (HoldKind.INCOMPLETE, "its inputs are not complete yet")
    assert view.hold.why == "images: fewer than there must be"


# -- what is counted -----------------------------------------------------------------------------------------


def test_what_is_held_stands_in_the_ledger(node: Made) -> None:
    """By series, with the number of images and the reason, once, over a restart; until it is held no more."""
    made, images = node(), series(3)
    made.send(*images[:2])
    made.abort()
    made.let_pass(SETTLE)
    (held,) = made.unprocessed()
    assert (held.container_key, held.SeriesInstanceUID, held.outcome, held.images) == (
        made.key,
        "1.2.3",
        "held",
        2,
    )
    assert "aborted or cut off" in held.reason
    made.restart()
    made.let_pass(SETTLE)
    assert made.counted() == {"held": 2}
    made.send(images[2], association="b")
    made.abort("b")
    made.let_pass(SETTLE)
    assert made.counted() == {"held": 3}
    sent(made, *images, association="c")
    assert (made.counted(), len(made.ledger.jobs())) == ({}, 1)


@pytest.mark.parametrize("end", ["given up", "expired", "run again"])
def test_what_is_held_no_more(node: Made, end: str) -> None:
    """However a container goes, it does not count as held any more: what makes no job is discarded."""
    made, images = node(expires=600.0), series(2)
    number = delivered(made, images)
    sent(made, images[0])
    assert made.counted() == {"held": 1}
    assert made.unprocessed()[0].reason == f"it is a part of job {number}: 1 of its 2 images"
    if end == "given up":
        made.gatherer.release_container(made.waiting, made.key, "why")
    elif end == "expired":
        made.let_pass(600)
    else:
        sent(made, images[1], association="rest")
        assert made.ledger.jobs()[0].state is JobState.QUEUED
    assert made.counted() == ({} if end == "run again" else {"discarded": 1})
