"""The state machine of gathering under any senders: a job is of exactly one whole group, or nothing runs."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dicomnode.host.gathering.messages import (
    EarlierState,
    HoldKind,
    LateImages,
    Policy,
    ProcessOrdered,
    ReleaseOrdered,
)
from pretended_host import SETTLE, UNLIMITED, WAIT, Job, PretendedHost

UNBUILT, BUILT = EarlierState.UNBUILT, EarlierState.BUILT
FAILED, ENDED = EarlierState.FAILED, EarlierState.ENDED
STEPS_AN_EXAMPLE = 50
CONTAINERS = 3
"""In one example: with more of them hardly anything happens in each."""
STEPS = int(os.environ.get("DICOMNODE_STEPS", "4000"))
"""For each kind of late images. More of them by hand: ``DICOMNODE_STEPS=400000``."""
TRIED = (
    *("more", "send again", "abort", "kill", "replay", "discard", "whole again"),
    *("job", "ran again", "held: interrupted"),
)
"""What must have happened: else a run shows little."""


@dataclass
class Transmission:
    """What a sender sends whole: what is still to be sent, and over which associations."""

    uids: list[str]
    rest: list[str]
    open: dict[str, bool] = field(default_factory=dict)
    """Open association -> whether it has brought an image since the last abort."""
    aborted: bool = False
    """Whether an association was cut off since something was released that made up for it."""

    @property
    def sent(self) -> list[str]:
        """What was sent."""
        return [uid for uid in self.uids if uid not in self.rest]


class Senders(RuleBasedStateMachine):
    """Senders of groups, in any interleaving that a sender may produce, and a host that is killed at times.

    A sender sends all images of its group, over associations of which one is open or follows within the time
    to settle; after an abort, or a kill of the host, it takes what time it likes and sends again what was
    not acknowledged, or everything. Later it may send more for the same container, or everything again; and
    jobs are built, delivered, fail, are replayed and discarded meanwhile.

    Parameters
    ----------
    late_images : {"hold", "new", "join"}
    steps, outcomes : Counter
        Which rules have done something, and what has come of it, and how often.
    """

    def __init__(self, late_images: LateImages, steps: Counter[str], outcomes: Counter[str]) -> None:
        super().__init__()
        self.host = PretendedHost(Policy(SETTLE, WAIT, late_images=late_images))
        self.steps, self.outcomes = steps, outcomes
        self.groups: dict[str, list[frozenset[str]]] = {}
        """Key -> what was sent whole for it, one after the other."""
        self.series: dict[str, str] = {}
        """SOP Instance UID -> series."""
        self.sending: dict[str, Transmission] = {}
        self.released_last: dict[str, bool] = {}
        self.given_up: set[str] = set()
        self.count = 0

    @initialize(one_series=st.booleans())
    def begin(self, one_series: bool) -> None:
        """Let a job take one series, or any."""
        self.host.one_series = one_series

    # -- senders ------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.groups) < CONTAINERS)
    @rule(size=st.integers(1, 6))
    def new_group(self, size: int) -> None:
        """Somebody begins to send a group."""
        self._begin(f"g{len(self.groups)}", size, "")

    @precondition(lambda self: self._idle_keys())
    @rule(data=st.data(), size=st.integers(1, 3), series=st.sampled_from(["", "/other"]))
    def more_images(self, data: st.DataObject, size: int, series: str) -> None:
        """Somebody begins to send more for a container; of another series once it has a job of the first."""
        key = data.draw(st.sampled_from(self._idle_keys()))
        has_job = any(job.key == key for job in self.host.jobs)
        self._begin(key, size, series if has_job and not self.host.waiting[key] else "")

    @precondition(lambda self: self._quiet_jobs())
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """Somebody begins to send the images of a job once more: it may end meanwhile."""
        job = data.draw(st.sampled_from(self._quiet_jobs()))
        self.steps["send again"] += 1
        self.sending[job.key] = Transmission(sorted(job.uids), sorted(job.uids))

    @precondition(lambda self: any(each.rest for each in self.sending.values()))
    @rule(data=st.data())
    def open_association(self, data: st.DataObject) -> None:
        """Let a sender open an association, and send one image over it at once."""
        key = data.draw(st.sampled_from(sorted(key for key, each in self.sending.items() if each.rest)))
        self.steps["open"] += 1
        self._store(key, self._association())

    @precondition(lambda self: self._begun())
    @rule(data=st.data(), again=st.booleans())
    def send_image(self, data: st.DataObject, again: bool) -> None:
        """Let an open association bring the next image, or one that came before."""
        key = data.draw(st.sampled_from(self._begun()))
        group = self.sending[key]
        association = data.draw(st.sampled_from(sorted(group.open)))
        if again and group.sent:
            self.steps["send what was sent"] += 1
            self._store_again(key, data.draw(st.sampled_from(group.sent)), association)
        elif group.rest:
            self.steps["send"] += 1
            self._store(key, association)

    @precondition(lambda self: self._begun())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Release an association; the last one only when everything was sent."""
        key = data.draw(st.sampled_from(self._begun()))
        group = self.sending[key]
        association = data.draw(st.sampled_from(sorted(group.open)))
        if group.aborted and not group.open[association]:
            # It makes up for nothing: what was aborted is sent again when its sender likes.
            self.steps["release what does not make up for an abort"] += 1
            self._release(key, association)
        elif len(group.open) == 1 and group.rest:
            # A sender of one association an image: the next one follows at once.
            self.steps["release, and open the next"] += 1
            self._release(key, association)
            self.host.advance(SETTLE - 1)
            self._store(key, self._association())
        elif (
            len(group.open) > 1
            and group.aborted
            and not any(since for name, since in group.open.items() if name != association)
        ):
            return  # what makes up for an abort is not released before the rest is sent
        else:
            self.steps["release"] += 1
            self._release(key, association)

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), settles=st.booleans())
    def send_the_rest(self, data: st.DataObject, settles: bool) -> None:
        """Let a sender send all that it has still to send, and release what it has open."""
        key = data.draw(st.sampled_from(sorted(self.sending)))
        self.steps["send the rest"] += 1
        self._send_the_rest(key)
        if settles:
            self._pause(SETTLE)

    @precondition(lambda self: self._begun())
    @rule(data=st.data(), everything=st.booleans(), pause=st.floats(0, 1000))
    def abort(self, data: st.DataObject, everything: bool, pause: float) -> None:
        """Abort an association; after a while its sender sends again, unless others go on."""
        key = data.draw(st.sampled_from(self._begun()))
        group = self.sending[key]
        association = data.draw(st.sampled_from(sorted(group.open)))
        self.steps["abort"] += 1
        del group.open[association]
        self.host.end(association, released=False)
        self._interrupted(group, everything=everything)
        if not group.open:
            self._pause(pause)

    @precondition(lambda self: self.host.machine.keys())
    @rule(seconds=st.floats(0, SETTLE - 1.5))
    def wait_a_little(self, seconds: float) -> None:
        """Time passes, shorter than senders are waited for."""
        self.steps["wait a little"] += 1
        self._pause(seconds)

    @precondition(lambda self: self.host.machine.keys() and not self._begun())
    @rule(seconds=st.floats(0, 1000))
    def wait_long(self, seconds: float) -> None:
        """Time passes while nobody sends."""
        self.steps["wait long"] += 1
        self.host.advance(seconds)

    # -- the host -----------------------------------------------------------------------------------------

    @precondition(lambda self: self.host.machine.keys() or self._begun())
    @rule(everything=st.booleans(), pause=st.floats(0, 1000))
    def kill(self, everything: bool, pause: float) -> None:
        """Kill the host and start it again: what it had acknowledged is there."""
        self.steps["kill"] += 1
        for key, group in self.sending.items():
            if group.open:
                group.open.clear()
                self.released_last[key] = False
                self._interrupted(group, everything=everything)
        aborted = {key for key, each in self.sending.items() if each.aborted}
        self.host.restart({key for key, released in self.released_last.items() if released} - aborted)
        self._pause(pause)

    @precondition(lambda self: self._jobs(UNBUILT, BUILT))
    @rule(data=st.data(), failed=st.booleans())
    def job_goes_on(self, data: st.DataObject, failed: bool) -> None:
        """Let a job be built, then delivered; or let it fail, or its result be refused, for good."""
        job = data.draw(st.sampled_from(self._jobs(UNBUILT, BUILT)))
        self.steps["job fails" if failed else "job goes on"] += 1
        job.state = FAILED if failed else BUILT if job.state is UNBUILT else ENDED

    @precondition(lambda self: self._jobs(FAILED))
    @rule(data=st.data())
    def job_is_replayed(self, data: st.DataObject) -> None:
        """Let the operator run a failed job again."""
        self.steps["replay"] += 1
        data.draw(st.sampled_from(self._jobs(FAILED))).state = UNBUILT

    @precondition(lambda self: self._jobs(UNBUILT, FAILED))
    @rule(data=st.data())
    def job_is_discarded(self, data: st.DataObject) -> None:
        """Let the operator discard a job: its images are released."""
        self.steps["discard"] += 1
        data.draw(st.sampled_from(self._jobs(UNBUILT, FAILED))).state = ENDED

    @precondition(lambda self: self._held())
    @rule(data=st.data(), start=st.booleans())
    def operator_decides(self, data: st.DataObject, start: bool) -> None:
        """Let the operator start what is held, or give it up."""
        key = data.draw(st.sampled_from(self._held()))
        self.steps["process" if start else "give up"] += 1
        if start:
            self.host.tell(ProcessOrdered(key, "the operator"))
        else:
            self.given_up.update(self.host.waiting[key])
            self.host.tell(ReleaseOrdered(key, "the operator"))

    @precondition(lambda self: self._repeatable() and not self._begun())
    @rule(data=st.data())
    def whole_again(self, data: st.DataObject) -> None:
        """Send a whole group again after its job has ended: that job runs again, and no other."""
        job = data.draw(st.sampled_from(self._repeatable()))
        runs, jobs, association = job.runs, self._count(job.key), self._association()
        self.steps["whole again"] += 1
        for uid in sorted(job.uids):
            self.host.store(job.key, uid, association, self.series[uid])
        self.host.end(association, released=True)
        self.released_last[job.key] = True
        self.host.advance(SETTLE)
        assert (job.runs, self._count(job.key)) == (runs + 1, jobs)

    # -- what must always hold ----------------------------------------------------------------------------

    @invariant()
    def jobs_are_of_whole_groups(self) -> None:
        """Every job has of each group all images or none, and what came late is no job by itself.

        Not those that the operator has started: as it is, a container may hold a part of a job's images.
        """
        for job in self.host.jobs:
            if job.ordered:
                continue
            groups = self.groups[job.key]
            if self.host.policy.late_images != "new":
                before = [each for each in self.host.jobs[: job.number - 1] if each.key == job.key]
                assert all(each.uids <= job.uids for each in before if not each.superseded)
            assert all(group <= job.uids or not group & job.uids for group in groups)
            if len(groups) == 1:
                assert job.uids == groups[0]

    @invariant()
    def an_image_is_in_one_place(self) -> None:
        """Check that no image is in two jobs that are not over, nor waits while such a job has it."""
        for key in self.groups:
            jobs = [job for job in self._jobs(UNBUILT, BUILT, FAILED) if job.key == key]
            having = Counter(uid for job in jobs for uid in job.uids)
            assert all(count == 1 for count in having.values())
            assert not having.keys() & self.host.waiting[key].keys()

    @invariant()
    def a_job_is_ended_for_another_one(self) -> None:
        """Check that all images of a job that was ended for what came late are in a later job."""
        for job in self.host.jobs:
            if job.superseded:
                assert any(job.uids <= later.uids for later in self.host.jobs[job.number :])

    @invariant()
    def what_waits_says_why(self) -> None:
        """Check that a container that waits has a time to be looked at, an open association, or a reason."""
        host = self.host
        assert {key for key, held in host.waiting.items() if held} <= set(host.machine.keys())
        for key in host.machine.keys():  # noqa: SIM118 - it is no mapping
            view = host.machine.view(key, host.now)
            assert view is not None
            assert view.hold is not None or view.open_associations or view.settled_in is not None

    @invariant()
    def what_is_held_is_held_rightly(self) -> None:
        """Check that a reason to hold is true where it was given."""
        for hold in self.host.holds:
            self.outcomes[f"held: {hold.kind.value}"] += 1
            jobs = [job for job in self.host.jobs if job.key == hold.container_key]
            if hold.kind is HoldKind.LATE:
                assert jobs
                assert self.host.policy.late_images != "new"
            elif hold.kind is HoldKind.PART:
                assert jobs
            else:
                assert hold.kind is HoldKind.INTERRUPTED or self.host.one_series
        self.host.holds.clear()

    def teardown(self) -> None:
        """Everything that was begun is sent to its end: every group has one job, or is held with a reason."""
        for key in list(self.sending):
            self._send_the_rest(key)
        self.host.advance(UNLIMITED)
        for key, groups in self.groups.items():
            for number, group in enumerate(groups):
                self._check_end(key, group, first=number == 0)
            if len(groups) == 1:
                assert self._count(key) == 1
        for check in (
            self.jobs_are_of_whole_groups,
            self.an_image_is_in_one_place,
            self.a_job_is_ended_for_another_one,
            self.what_waits_says_why,
            self.what_is_held_is_held_rightly,
        ):
            check()
        self.outcomes["job"] += len(self.host.jobs)
        self.outcomes["ran again"] += sum(job.runs - 1 for job in self.host.jobs)
        self.outcomes["joined"] += sum(job.superseded for job in self.host.jobs)

    # -- help ---------------------------------------------------------------------------------------------

    def _check_end(self, key: str, group: frozenset[str], *, first: bool) -> None:
        """Check what has become of a group that was sent to its end."""
        jobs = [job for job in self.host.jobs if job.key == key and not job.superseded]
        done = any(group <= job.uids for job in jobs) or group <= self.given_up
        if first or self.host.policy.late_images == "new":
            assert done or self.host.hold_of(key) in {HoldKind.PART, HoldKind.INCOMPLETE}
            assert done or not first
        else:
            assert done or (group <= self.host.waiting[key].keys() and self.host.hold_of(key) is not None)

    def _begin(self, key: str, size: int, series: str) -> None:
        groups = self.groups.setdefault(key, [])
        self.steps["more" if groups else "new group"] += 1
        begin = sum(map(len, groups))
        uids = [f"{key}.{number}" for number in range(begin, begin + size)]
        groups.append(frozenset(uids))
        self.series.update(dict.fromkeys(uids, key + series))
        self.sending[key] = Transmission(uids, list(uids))

    def _send_the_rest(self, key: str) -> None:
        group, association = self.sending[key], self._association()
        while group.rest:
            self._store(key, association)
        if not any(group.open.values()):
            self._store_again(key, group.uids[0], association)
        for name in sorted(group.open, key=lambda each: group.open[each]):
            self._release(key, name)

    def _association(self) -> str:
        self.count += 1
        return f"a{self.count}"

    def _store(self, key: str, association: str) -> None:
        self._store_again(key, self.sending[key].rest.pop(0), association)

    def _store_again(self, key: str, uid: str, association: str) -> None:
        group = self.sending[key]
        self.host.store(key, uid, association, self.series[uid])
        group.open[association] = True

    def _release(self, key: str, association: str) -> None:
        group = self.sending[key]
        since = group.open.pop(association)
        group.aborted = group.aborted and not since
        self.released_last[key] = True
        self.host.end(association, released=True)
        if not group.open and not group.rest and not group.aborted:
            del self.sending[key]

    @staticmethod
    def _interrupted(group: Transmission, *, everything: bool) -> None:
        group.aborted = True
        group.open = dict.fromkeys(group.open, False)
        # Something is sent again at least: a sender learns of nothing but an abort.
        group.rest = [*(group.sent if everything else group.sent[-1:]), *group.rest]

    def _pause(self, seconds: float) -> None:
        """Let time pass; whoever has an association open sends something within the time of its wait."""
        while seconds > 0:
            step = min(seconds, WAIT / 2)
            for key, group in self.sending.items():
                for association in group.open:
                    if group.sent:
                        self._store_again(key, group.sent[0], association)
            self.host.advance(step)
            seconds -= step

    def _begun(self) -> list[str]:
        return sorted(key for key, each in self.sending.items() if each.open)

    def _idle_keys(self) -> list[str]:
        """Return the keys of containers for which nobody sends."""
        return sorted(self.groups.keys() - self.sending.keys())

    def _count(self, key: str) -> int:
        return len([job for job in self.host.jobs if job.key == key and not job.ordered])

    def _jobs(self, *states: EarlierState) -> list[Job]:
        return [job for job in self.host.jobs if job.state in states and not job.superseded]

    def _quiet_jobs(self) -> list[Job]:
        """Return the jobs of containers that nobody sends for."""
        return [job for job in self._jobs(*EarlierState) if job.key not in self.sending]

    def _held(self) -> list[str]:
        """Return the keys of containers that are held, and that nobody sends for."""
        return [key for key in self._idle_keys() if self.host.waiting[key] and self.host.hold_of(key)]

    def _repeatable(self) -> list[Job]:
        """Return the jobs that are over, of containers of which nothing waits, and no job has more."""
        return [
            job
            for job in self._quiet_jobs()
            if job.state.is_over
            and not (self.host.one_series and len(job.series) > 1)
            and not self.host.waiting[job.key]
            and not any(job.key == other.key and job.uids < other.uids for other in self.host.jobs)
            and not any(job.uids & other.uids for other in self._jobs(UNBUILT, BUILT, FAILED) if other != job)
        ]


@pytest.mark.timeout(600 + STEPS // 50)  # it takes a while to find the smallest example of a fault
@pytest.mark.parametrize("late_images", ["hold", "new", "join"])
def test_senders(late_images: LateImages) -> None:
    """In so many steps of any senders, each job is of whole groups, and all else is held with a reason."""
    done: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis has no types here
        partial(Senders, late_images, done, outcomes),
        settings=settings(
            max_examples=STEPS * 2 // STEPS_AN_EXAMPLE,  # not every example has all of its steps
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.reuse, Phase.generate, Phase.shrink),
        ),
    )
    assert done.total() >= STEPS
    assert set(TRIED) <= (done + outcomes).keys()
