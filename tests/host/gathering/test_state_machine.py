"""The state machine of gathering, under random senders: a job is exactly one whole group, or nothing runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    Done,
    Drop,
    EarlierJob,
    EarlierState,
    Event,
    Hold,
    HoldKind,
    ImageStored,
    Join,
    Joined,
    Member,
    ProcessOrdered,
    ReleaseOrdered,
    Restored,
    RunAgain,
    StartJob,
)
from dicomnode.host.gathering.state_machine import Gathering, Policy

SETTLE, WAIT = 5.0, 120.0
UNLIMITED = 10_000.0


@dataclass
class Job:
    """A job of the pretended host."""

    number: int
    key: str
    uids: frozenset[str]
    state: EarlierState = EarlierState.UNBUILT
    runs: int = 1
    failed: bool = False
    superseded: bool = False


@dataclass
class PretendedHost:
    """Carries out what the machine decides, as the host does, in memory."""

    policy: Policy = field(default_factory=lambda: Policy(SETTLE, WAIT))
    incomplete: set[str] = field(default_factory=set)
    """Keys of containers whose inputs say that they are not complete."""
    expected: dict[str, int] = field(default_factory=dict)
    """Key -> the number of images that proves that a container is whole."""
    now: float = 0.0

    def __post_init__(self) -> None:
        self.waiting: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.jobs: list[Job] = []
        self.holds: list[Hold] = []
        self.dropped: list[Drop] = []
        self.start()

    def start(self) -> None:
        """Make the machine anew, as a start of the host does."""
        self.machine = Gathering(self.policy, self.assess, self.earlier, can_join=lambda key, job: True)

    def assess(self, key: str) -> Assessment:
        """Return what the inputs say."""
        held = tuple(self.waiting[key])
        proven = self.expected.get(key) == len(held)
        missing = "not complete" if key in self.incomplete else ""
        if key in self.expected and not proven:
            missing = f"{len(held)} of {self.expected[key]} images"
        return Assessment({"images": held}, missing, "counted" if proven else "")

    def earlier(self, key: str) -> list[EarlierJob]:
        """Return the jobs of a container, the newest first."""
        return [
            EarlierJob(job.number, job.state, job.uids, frozenset({key}))
            for job in reversed(self.jobs)
            if job.key == key and not job.superseded
        ]

    def tell(self, event: Event) -> None:
        """Hand an event to the machine, and carry out what it decides."""
        self.carry_out(self.machine.handle(event, self.now))

    def carry_out(self, decisions: Collection[object]) -> None:
        """Do what was decided."""
        for decision in decisions:
            match decision:
                case StartJob(key, inputs):
                    uids = frozenset(inputs["images"])
                    self.jobs.append(Job(len(self.jobs) + 1, key, uids))
                    self.gone(key, decision.uids)
                case RunAgain(key, number, uids):
                    job = self.jobs[number - 1]
                    assert job.state is EarlierState.ENDED
                    job.runs, job.state, job.failed = job.runs + 1, EarlierState.UNBUILT, False
                    self.gone(key, uids)
                case Join(key, number):
                    job = self.jobs[number - 1]
                    job.superseded = True
                    self.waiting[key].update(dict.fromkeys(job.uids, key))
                    self.tell(Joined(key, tuple(Member(uid, key) for uid in job.uids)))
                case Drop(key, uids):
                    self.dropped.append(decision)
                    self.gone(key, uids)
                case Hold():
                    self.holds.append(decision)

    def gone(self, key: str, uids: Collection[str]) -> None:
        """Take images out of the tree, and say so."""
        for uid in uids:
            self.waiting[key].pop(uid, None)
        self.tell(Done(key, frozenset(uids)))

    def store(self, key: str, uid: str, association: str) -> None:
        """Take an image as the host does: known ones of a job that is not over are nothing new."""
        job = next((each for each in self.jobs if uid in each.uids and not each.superseded), None)
        in_hand = job is not None and (job.state is not EarlierState.ENDED or job.failed)
        if job is not None and in_hand and not job.failed:
            return
        number = job.number if job is not None and job.failed else None
        if number is None:
            self.waiting[key][uid] = key
        self.tell(ImageStored(key, Member(uid, key, number), association))

    def end(self, association: str, *, released: bool) -> None:
        """End an association."""
        self.tell(AssociationEnded(association, released))

    def advance(self, seconds: float) -> None:
        """Let time pass, with a look at each moment that the machine has asked for."""
        until = self.now + seconds
        while (due := self.machine.due()) is not None and due <= until:
            self.now = max(self.now, due)
            before = self.machine.due()
            self.carry_out(self.machine.tick(self.now))
            assert self.machine.due() != before or self.machine.due() is None or before > self.now
        self.now = until

    def hold_of(self, key: str) -> HoldKind | None:
        """Return why a container is held."""
        view = self.machine.view(key, self.now)
        return None if view is None or view.hold is None else view.hold.kind


# -- one behaviour each --------------------------------------------------------------------------------------


def send(
    host: PretendedHost, key: str, uids: Collection[str], association: str, *, released: bool = True
) -> None:
    """Send images over one association, a tenth of a second apart."""
    for uid in uids:
        host.store(key, uid, association)
        host.advance(0.1)
    host.end(association, released=released)


def names(key: str, count: int) -> list[str]:
    """Return SOP Instance UIDs."""
    return [f"{key}.{number}" for number in range(count)]


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
    host.tell(Restored("a", (Member("a.0", "a"),), released=False))
    host.advance(UNLIMITED)
    assert not host.jobs
    send(host, "a", names("a", 8), "1")
    host.advance(SETTLE)
    assert [len(job.uids) for job in host.jobs] == [8]


def test_a_restart_after_the_release() -> None:
    """What had been released before the stop starts after it."""
    host = PretendedHost()
    host.waiting["a"] = {"a.0": "a"}
    host.tell(Restored("a", (Member("a.0", "a"),), released=True))
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


def test_the_same_images_again_run_the_job_again() -> None:
    """After a delivery, the same set runs the same job again."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = EarlierState.ENDED
    send(host, "a", names("a", 4), "2")
    host.advance(SETTLE)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 2)]


def test_a_failed_job_runs_again_when_its_images_come_again() -> None:
    """The images of a job that failed for good are known; sent again, they run it again."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state, host.jobs[0].failed = EarlierState.ENDED, True
    send(host, "a", names("a", 4), "2")
    host.advance(SETTLE)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 2)]


def test_a_failed_job_and_more() -> None:
    """All images of a failed job and one more make a new job of all of them."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state, host.jobs[0].failed = EarlierState.ENDED, True
    send(host, "a", names("a", 5), "2")
    host.advance(SETTLE)
    assert [(job.number, len(job.uids), job.superseded) for job in host.jobs] == [(1, 4, True), (2, 5, False)]


def test_a_part_runs_nothing() -> None:
    """What is a part of an earlier job is held, with that job's number."""
    host = PretendedHost()
    send(host, "a", names("a", 8), "1")
    host.advance(SETTLE)
    host.jobs[0].state = EarlierState.ENDED
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
    host.jobs[0].state = EarlierState.ENDED
    send(host, "a", uids[4:], "2")
    host.advance(UNLIMITED)
    assert [(job.number, job.runs) for job in host.jobs] == [(1, 1)]


def test_more_than_before_is_a_new_job() -> None:
    """All of an earlier job and more is a new job."""
    host = PretendedHost()
    send(host, "a", names("a", 4), "1")
    host.advance(SETTLE)
    host.jobs[0].state = EarlierState.ENDED
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
    host.jobs[0].state = EarlierState.ENDED
    host.waiting["a"]["a.9"] = "a"
    host.tell(ImageStored("a", Member("a.9", "another series"), "2"))
    host.end("2", released=True)
    host.advance(SETTLE)
    assert [sorted(job.uids) for job in host.jobs] == [["a.0"], ["a.9"]]


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
        host.tell(Restored(key, (Member(f"{key}.0", key),), released=True, age=age))
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
    host.tell(Restored("a", (Member("a.0", "a"),), released=True, age=5000.0))
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


# -- any senders ---------------------------------------------------------------------------------------------


@dataclass
class Transmission:
    """A group that is being sent: what is still to be sent, and over which associations."""

    rest: list[str]
    open: dict[str, bool] = field(default_factory=dict)
    """Open association -> whether it has brought an image since the last abort."""
    brought: set[str] = field(default_factory=set)
    """The open associations that have brought an image at all."""
    aborted: bool = False
    """Whether an association was cut off since something was released that made up for it."""
    last_end: float = 0.0


class Senders(RuleBasedStateMachine):
    """Senders of groups, in any interleaving that a sender may produce, and a host that is killed at times.

    A sender sends all images of its group, over associations of which one is open or follows within the time
    to settle; after an abort, or a kill of the host, it takes what time it likes and sends again what was
    not acknowledged, or everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.host = PretendedHost()
        self.groups: dict[str, list[str]] = {}
        self.sending: dict[str, Transmission] = {}
        self.whole: set[str] = set()
        self.released_last: dict[str, bool] = {}
        self.count = 0

    @initialize()
    def begin(self) -> None:
        """Nothing has been sent."""

    @rule(size=st.integers(1, 6))
    def new_group(self, size: int) -> None:
        """Somebody begins to send a group."""
        key = f"g{len(self.groups)}"
        self.groups[key] = names(key, size)
        self.sending[key] = Transmission(list(self.groups[key]), last_end=self.host.now)

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def open_association(self, data: st.DataObject) -> None:
        """Let a sender open an association, and send one image over it at once."""
        key = data.draw(st.sampled_from(sorted(self.sending)))
        if self.sending[key].rest:
            self.count += 1
            self._store(key, f"a{self.count}")

    @precondition(lambda self: any(each.open for each in self.sending.values()))
    @rule(data=st.data(), again=st.booleans())
    def send_image(self, data: st.DataObject, again: bool) -> None:
        """Let an open association bring the next image, or one that came before."""
        key = data.draw(st.sampled_from(sorted(key for key, each in self.sending.items() if each.open)))
        association = data.draw(st.sampled_from(sorted(self.sending[key].open)))
        sent = [uid for uid in self.groups[key] if uid not in self.sending[key].rest]
        if again and sent:
            self.host.store(key, data.draw(st.sampled_from(sent)), association)
            self.sending[key].open[association] = True
        elif self.sending[key].rest:
            self._store(key, association)

    @precondition(lambda self: any(each.open for each in self.sending.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Release an association; the last one only when everything was sent."""
        key = data.draw(st.sampled_from(sorted(key for key, each in self.sending.items() if each.open)))
        group = self.sending[key]
        association = data.draw(st.sampled_from(sorted(group.open)))
        if len(group.open) == 1 and group.rest:
            self.count += 1  # a sender of one association an image: the next one follows at once
            self._release(key, association)
            self.host.advance(SETTLE - 1)
            self._store(key, f"a{self.count}")
        elif (
            len(group.open) > 1
            and group.aborted
            and not any(since for name, since in group.open.items() if name != association)
        ):
            return  # what makes up for an abort is not released before the rest is sent
        else:
            self._release(key, association)

    @precondition(lambda self: any(each.open for each in self.sending.values()))
    @rule(data=st.data(), everything=st.booleans(), pause=st.floats(0, 1000))
    def abort(self, data: st.DataObject, everything: bool, pause: float) -> None:
        """Abort an association; after a while its sender sends again, unless others go on."""
        key = data.draw(st.sampled_from(sorted(key for key, each in self.sending.items() if each.open)))
        group = self.sending[key]
        association = data.draw(st.sampled_from(sorted(group.open)))
        del group.open[association]
        self.host.end(association, released=False)
        self._interrupted(group, key, everything=everything)
        if not group.open:
            self._pause(pause)

    @rule(everything=st.booleans(), pause=st.floats(0, 1000))
    def kill(self, everything: bool, pause: float) -> None:
        """Kill the host and start it again: what it had acknowledged is there."""
        host = self.host
        waiting = {key: dict(held) for key, held in host.waiting.items() if held}
        host.start()
        for key, group in self.sending.items():
            if group.open:
                group.open.clear()
                self.released_last[key] = False
                self._interrupted(group, key, everything=everything)
        for key, held in waiting.items():
            members = tuple(Member(uid, key) for uid in held)
            released = self.released_last.get(key, False) and not self._is_aborted(key)
            host.tell(Restored(key, members, released=released))
        self._pause(pause)

    @rule(seconds=st.floats(0, SETTLE - 1.5))
    def wait_a_little(self, seconds: float) -> None:
        """Time passes, shorter than senders are waited for."""
        self._pause(seconds)

    @precondition(lambda self: not any(self._begun(each) for each in self.sending.values()))
    @rule(seconds=st.floats(0, 1000))
    def wait_long(self, seconds: float) -> None:
        """Time passes while nobody sends."""
        self.host.advance(seconds)

    @precondition(lambda self: any(job.state is EarlierState.UNBUILT for job in self.host.jobs))
    @rule(data=st.data(), failed=st.booleans())
    def job_ends(self, data: st.DataObject, failed: bool) -> None:
        """Let a job be delivered, or fail for good."""
        job = data.draw(st.sampled_from([j for j in self.host.jobs if j.state is EarlierState.UNBUILT]))
        job.state, job.failed = EarlierState.ENDED, failed

    @precondition(lambda self: any(job.state is EarlierState.ENDED for job in self.host.jobs))
    @rule(data=st.data())
    def whole_again(self, data: st.DataObject) -> None:
        """Send a whole group again after its job has ended: that job runs again, and no other."""
        ended = [
            job for job in self.host.jobs if job.state is EarlierState.ENDED and job.key not in self.sending
        ]
        if not ended:
            return
        job = data.draw(st.sampled_from(ended))
        runs = job.runs
        self.count += 1
        for uid in self.groups[job.key]:
            self.host.store(job.key, uid, f"a{self.count}")
        self.host.end(f"a{self.count}", released=True)
        if not any(self._begun(each) for each in self.sending.values()):
            self.host.advance(SETTLE)
            assert job.runs == runs + 1
        else:
            self._pause(SETTLE)

    # -- what must always hold --------------------------------------------------------------------------

    @invariant()
    def jobs_are_whole_groups(self) -> None:
        """Every job has exactly the images of one group, and every group one job at most."""
        keys = [job.key for job in self.host.jobs]
        assert len(keys) == len(set(keys))
        for job in self.host.jobs:
            assert job.uids == frozenset(self.groups[job.key])

    @invariant()
    def what_waits_says_why(self) -> None:
        """Check that a container that waits has a time to be looked at, an open association, or a reason."""
        for key in self.host.machine.keys():  # noqa: SIM118 - it is no mapping
            view = self.host.machine.view(key, self.host.now)
            assert view is not None
            assert view.hold is not None or view.open_associations or view.settled_in is not None

    def teardown(self) -> None:
        """Everything that was begun is sent to its end: every group has its job."""
        for key, group in list(self.sending.items()):
            self.count += 1
            while group.rest:
                self._store(key, f"a{self.count}")
            if not group.open or not any(group.open.values()):
                self.host.store(key, self.groups[key][0], f"a{self.count}")
                group.open[f"a{self.count}"] = True
            for association in sorted(group.open, key=lambda name: group.open[name]):
                self.host.end(association, released=True)
        self.host.advance(UNLIMITED)
        assert {job.key for job in self.host.jobs} == set(self.groups)
        self.jobs_are_whole_groups()

    # -- help -------------------------------------------------------------------------------------------

    def _store(self, key: str, association: str) -> None:
        group = self.sending[key]
        self.host.store(key, group.rest.pop(0), association)
        group.open[association] = True

    def _release(self, key: str, association: str) -> None:
        group = self.sending[key]
        since = group.open.pop(association)
        group.aborted = group.aborted and not since
        self.released_last[key] = True
        self.host.end(association, released=True)
        group.last_end = self.host.now
        if not group.open and not group.rest and not group.aborted:
            del self.sending[key]

    def _interrupted(self, group: Transmission, key: str, *, everything: bool) -> None:
        group.aborted = True
        group.open = dict.fromkeys(group.open, False)
        sent = [uid for uid in self.groups[key] if uid not in group.rest]
        # Something is sent again at least: a sender learns of nothing but an abort.
        group.rest = [*(sent if everything else sent[-1:]), *group.rest]

    def _is_aborted(self, key: str) -> bool:
        return key in self.sending and self.sending[key].aborted

    @staticmethod
    def _begun(group: Transmission) -> bool:
        return bool(group.open)

    def _pause(self, seconds: float) -> None:
        """Let time pass; whoever has an association open sends something within the time of its wait."""
        while seconds > 0:
            step = min(seconds, WAIT / 2)
            for key, group in self.sending.items():
                for association in group.open:
                    sent = [uid for uid in self.groups[key] if uid not in group.rest]
                    if sent:
                        self.host.store(key, sent[0], association)
                        group.open[association] = True
            self.host.advance(step)
            seconds -= step


Senders.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSenders = Senders.TestCase
