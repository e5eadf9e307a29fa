"""When the images of one container become a job: events in, decisions out.

The machine of one pipeline. It knows images by their SOP Instance UIDs, associations by their ids, jobs by
their numbers and the time by what it is given; it has no thread, no clock, no file and no lock. Whoever
drives it hands it each event with the time, carries out the decisions, and calls :meth:`Gathering.tick` when
something is due.

A container starts a job when all of these hold:

1. every input is complete;
2. no association is open that brought it an image within the last `open_association_wait` seconds;
3. `settle` seconds have passed since the last of its associations ended;
4. none of its associations was aborted, or cut off by a stop of this host, unless another one has brought an
   image of it since and was released.

Inputs that prove that they are whole, and an order of the operator, end the waiting at once. What is complete
is then compared with the earlier jobs of the same container: see :meth:`Gathering._compare`.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    Decision,
    Done,
    Drop,
    EarlierJob,
    EarlierState,
    Event,
    Failed,
    Hold,
    HoldKind,
    ImagesRemoved,
    ImageStored,
    InputsChanged,
    Join,
    Joined,
    Member,
    ProcessOrdered,
    ReleaseOrdered,
    Restored,
    RunAgain,
    StartJob,
)

LateImages = Literal["hold", "new", "join"]
"""What becomes of new images that come after a job of their container has started."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a container waits, and what becomes of late images.

    Attributes
    ----------
    settle : float
        Seconds after the end of its last association.
    open_association_wait : float
        Seconds for which an open association holds a container back after the last image that it brought.
    expires : float, optional
        Seconds after its last image after which what waits is dropped; ``None`` for never.
    late_images : {"hold", "new", "join"}
        What becomes of new images that come after a job of their container has started.
    one_group_a_container : bool
        Whether all images of a container belong together by its key alone (containers by series or study);
        else images are late only if a series of theirs was in the earlier job.
    retry : float
        Seconds after which a decision that could not be carried out is made again.
    """

    settle: float = 5.0
    open_association_wait: float = 120.0
    expires: float | None = None
    late_images: LateImages = "hold"
    one_group_a_container: bool = True
    retry: float = 10.0


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a container that waits.

    Attributes
    ----------
    container_key : str
    images : int
    open_associations : int
        That brought it an image and are still waited for.
    settled_in : float or None
        Seconds until it is looked at by time; ``None`` where nothing but an event will do.
    hold : Hold or None
        Why it is held, as far as it was looked at.
    interrupted : bool
        Whether an association was aborted or cut off, and nothing has made up for it.
    quiet : float
        Seconds since its last image.
    """

    container_key: str
    images: int
    open_associations: int
    settled_in: float | None
    hold: Hold | None
    interrupted: bool
    quiet: float


_INCOMPLETE: Final = "its inputs are not complete yet"

# -- the machine ---------------------------------------------------------------------------------------------

_NEVER: Final = math.inf
_INTERRUPTED: Final = (
    "an association that brought images of it was aborted or cut off: send them again, or start it with"
    " `dicomnode-host process`"
)


@dataclass(slots=True)
class _Container:
    """What the machine remembers of a container."""

    key: str
    last_image: float
    members: dict[str, Member] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    """Open association -> when it brought its last image of this container."""
    sent: bool = False
    """Whether a sender has brought an image of it: what the host itself has fetched completes nothing."""
    ended: float = -_NEVER
    """When the last association that brought an image of it ended."""
    interrupted: bool = False
    brought_since: set[str] = field(default_factory=set)
    """The open associations that brought an image since the last one was aborted or cut off."""
    kept_until: float = -_NEVER
    """Before this it does not expire: after a start of the host senders must be able to go on."""
    look_at: float = _NEVER
    """When time alone may change something."""
    queued_at: float = _NEVER
    """When it stands in the queue of what is due: at :attr:`look_at`, or before."""
    hold: Hold | None = None

    @property
    def failed_jobs(self) -> set[int]:
        """The failed jobs that have files of it."""
        return {member.job for member in self.members.values() if member.job is not None}

    @property
    def in_tree(self) -> frozenset[str]:
        """The images that are in the tree: all but those of which a failed job has the files."""
        return frozenset(uid for uid, member in self.members.items() if member.job is None)

    def series_without(self, uids: Collection[str]) -> frozenset[str]:
        """Return the Series Instance UIDs of what is in the tree, but for some images."""
        return frozenset(self.members[uid].SeriesInstanceUID for uid in self.in_tree.difference(uids))

    def forget_taken_back(self, earlier: Sequence[EarlierJob]) -> None:
        """Forget images of jobs that are failed no more: they are theirs, if replayed; else they are gone."""
        failed = {job.number for job in earlier if job.state is EarlierState.FAILED}
        for uid, member in list(self.members.items()):
            if member.job is not None and member.job not in failed:
                del self.members[uid]


class Gathering:
    """The state machine of one pipeline's containers.

    Parameters
    ----------
    policy : Policy
    assess : callable
        Container key -> :class:`Assessment`, by the images that are in the tree.
    may_be_proven : callable
        Container key -> whether it is worth asking for a proof that every input is whole; cheap, as it is
        asked for every image.
    can_join : callable
        Container key and job -> whether the images of that job and those that wait can go into one job.
    earlier_jobs : callable
        Container key -> the jobs of it that are remembered, the newest first, without those whose images went
        into another job.
    identity : callable
        Container key and SOP Instance UIDs -> the identity that a job of these images has now.
    """

    def __init__(
        self,
        policy: Policy,
        assess: Callable[[str], Assessment],
        earlier_jobs: Callable[[str], Sequence[EarlierJob]],
        *,
        identity: Callable[[str, Collection[str]], str] = lambda key, uids: "",  # noqa: ARG005 - one for all
        may_be_proven: Callable[[str], bool] = lambda key: True,  # noqa: ARG005 - asked of the assessment
        can_join: Callable[[str, int], bool] = lambda key, job: True,  # noqa: ARG005 - any
    ) -> None:
        self.policy = policy
        self._assess, self._earlier_jobs, self._identity = assess, earlier_jobs, identity
        self._may_be_proven, self._can_join = may_be_proven, can_join
        self._handlers: Mapping[type[Event], Callable[[Any, float], list[Decision]]] = {
            ImageStored: self._image_stored,
            AssociationEnded: self._association_ended,
            Restored: self._restored,
            InputsChanged: lambda event, now: self._look(event.container_key, now),
            ImagesRemoved: lambda event, now: self._removed(event.container_key, event.uids, now),
            Joined: self._joined,
            Done: lambda event, now: self._removed(event.container_key, event.uids, now),
            ProcessOrdered: self._process,
            ReleaseOrdered: self._release,
            Failed: self._failed,
        }
        self._containers: dict[str, _Container] = {}
        self._of_association: dict[str, set[str]] = {}
        self._due: list[tuple[float, str]] = []

    # -- events -------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Decision]:
        """Take an event, and return what is to be done, in this order.

        Parameters
        ----------
        event : Event
        now : float
            Seconds on a clock that only grows.
        """
        take = self._handlers[type(event)]
        return take(event, now)

    def tick(self, now: float) -> list[Decision]:
        """Return what is to be done because time has passed."""
        decisions: list[Decision] = []
        while self._due and self._due[0][0] <= now:
            queued_at, key = heapq.heappop(self._due)
            container = self._containers.get(key)
            if container is None or container.queued_at != queued_at:
                continue  # it has gone, or stands in the queue again
            container.queued_at = _NEVER
            if container.look_at > now:
                self._queue(container, container.look_at)
            else:
                self._queue(container, _NEVER)
                decisions += self._look_or_expire(key, now)
        return decisions

    def _look_or_expire(self, key: str, now: float) -> list[Decision]:
        """Look at a container; if nothing comes of it, it may have waited for too long."""
        decisions = self._look(key, now)
        if all(isinstance(each, Hold) for each in decisions):
            return self._expired(key, now) or decisions
        return decisions

    def due(self) -> float | None:
        """Return when :meth:`tick` is to be called next, ``None`` where time alone changes nothing."""
        return self._due[0][0] if self._due else None

    def _queue(self, container: _Container, at: float) -> None:
        """Have a container looked at. It stands in the queue once, however many images come."""
        container.look_at = at
        if at < container.queued_at:
            container.queued_at = at
            heapq.heappush(self._due, (at, container.key))

    # -- looking ------------------------------------------------------------------------------------------

    def view(self, key: str, now: float) -> View | None:
        """Return what is known of a container, ``None`` where there is none of this key."""
        container = self._containers.get(key)
        if container is None:
            return None
        settled = self._settled_at(container)
        return View(
            key,
            len(container.members),
            len(self._waited_for(container, now)),
            max(settled - now, 0.0) if settled > now else None,
            container.hold,
            container.interrupted,
            now - container.last_image,
        )

    def series(self, key: str) -> dict[str, int]:
        """Return Series Instance UID -> number of images of a container."""
        container = self._containers.get(key)
        members = () if container is None else container.members.values()
        return dict(Counter(member.SeriesInstanceUID for member in members))

    def keys(self) -> list[str]:
        """Return the keys of all containers that wait."""
        return list(self._containers)

    # -- what each event does -----------------------------------------------------------------------------

    def _image_stored(self, event: ImageStored, now: float) -> list[Decision]:
        key, member, association = event.container_key, event.member, event.association
        container = self._containers.get(key)
        if container is None:
            container = self._containers[key] = _Container(key, now)
        container.members[member.SOPInstanceUID] = member
        container.last_image = now
        container.hold = None
        if association:
            container.sent = True
            container.open[association] = now
            container.brought_since.add(association)
            self._of_association.setdefault(association, set()).add(key)
        self._schedule(container, now)
        return self._start_if_proven(container)

    def _association_ended(self, event: AssociationEnded, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        for key in sorted(self._of_association.pop(event.association, ())):
            container = self._containers.get(key)
            if container is None or container.open.pop(event.association, None) is None:
                continue
            container.ended = now
            if event.released:
                if event.association in container.brought_since:
                    container.interrupted = False
            else:
                container.interrupted = True
                container.brought_since.clear()
            container.brought_since.discard(event.association)
            container.hold = None
            decisions += self._look(key, now)
        return decisions

    def _restored(self, event: Restored, now: float) -> list[Decision]:
        container = _Container(event.container_key, now - event.age)
        container.members = {member.SOPInstanceUID: member for member in event.members}
        container.sent, container.ended, container.interrupted = True, now, not event.released
        container.kept_until = now + self.policy.open_association_wait
        self._containers[event.container_key] = container
        return self._look(event.container_key, now)

    def _joined(self, event: Joined, now: float) -> list[Decision]:
        container = self._containers.get(event.container_key)
        if container is None:
            return []
        container.members.update((member.SOPInstanceUID, member) for member in event.members)
        return self._look(event.container_key, now)

    def _removed(self, key: str, uids: Collection[str], now: float) -> list[Decision]:
        container = self._containers.get(key)
        if container is None:
            return []
        for uid in uids:
            container.members.pop(uid, None)
        if container.members:
            return self._look(key, now)
        del self._containers[key]
        return []

    def _process(self, event: ProcessOrdered, now: float) -> list[Decision]:  # noqa: ARG002 - as all handlers
        container = self._containers.get(event.container_key)
        if container is None:
            return []
        assessment = self._assess(event.container_key)
        if not assessment.uids:
            return []
        return [self._started(container, assessment, event.reason, ordered=True)]

    def _release(self, event: ReleaseOrdered, now: float) -> list[Decision]:  # noqa: ARG002 - as all handlers
        return self._drop(event.container_key, event.reason, ordered=True)

    def _drop(self, key: str, reason: str, *, ordered: bool) -> list[Decision]:
        container = self._containers.get(key)
        if container is None:
            return []
        return [Drop(key, frozenset(container.members), reason, ordered)]

    def _failed(self, event: Failed, now: float) -> list[Decision]:
        container = self._containers.get(event.container_key)
        if container is None:
            return []
        self._queue(container, now + self.policy.retry)
        return self._held(container, event.reason, HoldKind.FAILED)

    def _expired(self, key: str, now: float) -> list[Decision]:
        container = self._containers.get(key)
        if container is None or now < self._expires_at(container):
            return []
        self._queue(container, now + self.policy.retry)
        return self._drop(key, f"no image came for {self.policy.expires:g} s", ordered=False)

    def _expires_at(self, container: _Container) -> float:
        """Return when a container has waited for too long: not while something is waited for."""
        if self.policy.expires is None:
            return _NEVER
        waited_for = max(self._settled_at(container), container.kept_until)
        return max(container.last_image + self.policy.expires, waited_for)

    # -- is it time? --------------------------------------------------------------------------------------

    def _look(self, key: str, now: float) -> list[Decision]:
        """Decide about a container as it is now."""
        container = self._containers.get(key)
        if container is None:
            return []
        self._schedule(container, now)
        if proven := self._start_if_proven(container):
            return proven
        if not container.sent or self._settled_at(container) > now:
            return []
        if container.interrupted:
            return self._held(container, _INTERRUPTED, HoldKind.INTERRUPTED)
        return self._compare(container, self._assess(key), "every input is complete and nothing more comes")

    def _start_if_proven(self, container: _Container) -> list[Decision]:
        if not self._may_be_proven(container.key):
            return []
        assessment = self._assess(container.key)
        if assessment.missing or not assessment.proof:
            return []
        return self._compare(container, assessment, assessment.proof)

    def _settled_at(self, container: _Container) -> float:
        """Return from when on nothing more is waited for."""
        wait = self.policy.open_association_wait
        return max([*(at + wait for at in container.open.values()), container.ended + self.policy.settle])

    def _waited_for(self, container: _Container, now: float) -> list[str]:
        """Return the open associations that brought an image lately."""
        wait = self.policy.open_association_wait
        return [name for name, at in container.open.items() if at + wait > now]

    def _schedule(self, container: _Container, now: float) -> None:
        settled = self._settled_at(container)
        self._queue(container, min(settled if settled > now else _NEVER, self._expires_at(container)))

    # -- is it new, the same again, a part, or late? ------------------------------------------------------

    def _compare(self, container: _Container, assessment: Assessment, why: str) -> list[Decision]:
        """Compare what has gathered with the earlier jobs of the container.

        * the same images: that job runs again, under its own UIDs;
        * a part of a job's: nothing runs;
        * more than a job's: a new job;
        * others than a job's, of the same group: they are late.
        """
        if not assessment.uids <= container.members.keys():
            return []  # the inputs hold an image already whose event is yet to come: then it is looked again
        earlier = self._earlier_jobs(container.key)
        container.forget_taken_back(earlier)
        if not container.members:
            return self._drop(container.key, "its images are those of a job that is not over", ordered=False)
        own = frozenset(container.members)
        for job in earlier:
            if own < job.uids or (own == job.uids and not job.state.is_over):
                count = f"{len(own)} of its {len(job.uids)} images"
                return self._held(container, f"it is a part of job {job.number}: {count}", HoldKind.PART)
        if again := self._compare_failed(container, assessment, earlier):
            return [again]
        if assessment.missing:
            return self._compare_incomplete(container, assessment, earlier)
        return self._compare_complete(container, assessment, why, earlier)

    def _compare_failed(
        self, container: _Container, assessment: Assessment, earlier: Sequence[EarlierJob]
    ) -> RunAgain | Join | None:
        """Decide about a failed job all of whose images came again: their files are not in the tree yet."""
        own, of_failed = frozenset(container.members), container.failed_jobs
        for job in earlier:
            if job.number in of_failed and job.uids <= own:
                again = f"the images of job {job.number} came again"
                if own != job.uids and self._joins(container, assessment, job, earlier):
                    return Join(container.key, job.number, f"{again}, with more")
                return RunAgain(container.key, job.number, job.uids, again)
        return None

    def _compare_incomplete(
        self, container: _Container, assessment: Assessment, earlier: Sequence[EarlierJob]
    ) -> list[Decision]:
        """Hold what is not complete, unless it may join a job: with the images of that it may be."""
        if assessment.raised:
            return self._held(container, assessment.missing, HoldKind.CHECK_FAILED, assessment.raised)
        for job in earlier if self.policy.late_images == "join" else ():
            series = container.series_without(assessment.fetched)
            if self._is_of_group(job, series) and self._can_be_joined(container, assessment, job, earlier):
                return [self._join(container, job)]
        return self._held(container, assessment.missing, HoldKind.INCOMPLETE, _INCOMPLETE)

    def _compare_complete(
        self, container: _Container, assessment: Assessment, why: str, earlier: Sequence[EarlierJob]
    ) -> list[Decision]:
        chosen = assessment.uids
        for job in earlier:
            if chosen == job.uids and job.identity == self._identity(container.key, chosen):
                if job.state.is_over:
                    again = f"the images of job {job.number} came again"
                    return [RunAgain(container.key, job.number, container.in_tree, again)]
                same = f"job {job.number} of the same images is not over"
                return self._held(container, same, HoldKind.PART)
        others = [job for job in earlier if not chosen >= job.uids]
        for job in others:
            if sent_again := (chosen - assessment.fetched) & job.uids:
                count = f"{len(sent_again)} of the {len(job.uids)} images of job {job.number}"
                return self._held(container, f"{count} came again, with others", HoldKind.PART)
        series = container.series_without(assessment.fetched)
        for job in others:
            if self._is_of_group(job, series):
                return self._late(container, assessment, why, job, earlier)
        return [self._started(container, assessment, why)]

    def _late(
        self,
        container: _Container,
        assessment: Assessment,
        why: str,
        job: EarlierJob,
        earlier: Sequence[EarlierJob],
    ) -> list[Decision]:
        if self.policy.late_images == "new":
            return [self._started(container, assessment, f"{why}; late for job {job.number}")]
        if self.policy.late_images == "join" and self._can_be_joined(container, assessment, job, earlier):
            return [self._join(container, job)]
        same = "container" if self.policy.one_group_a_container else "series"
        late = f"they came after job {job.number} of the same {same} had started"
        if self.policy.late_images == "join" and job.state is EarlierState.UNBUILT:
            late = f"{late}, and cannot go into one job with its images"
        return self._held(container, late, HoldKind.LATE)

    def _is_of_group(self, job: EarlierJob, series: Collection[str]) -> bool:
        """Say whether images of these series belong to the group of a job's."""
        return self.policy.one_group_a_container or not job.series.isdisjoint(series)

    def _can_be_joined(
        self, container: _Container, assessment: Assessment, job: EarlierJob, earlier: Sequence[EarlierJob]
    ) -> bool:
        return job.state is EarlierState.UNBUILT and self._joins(container, assessment, job, earlier)

    def _joins(
        self, container: _Container, assessment: Assessment, job: EarlierJob, earlier: Sequence[EarlierJob]
    ) -> bool:
        """Say whether what waits would start a job together with the images of one: it ends for that."""
        sent = container.in_tree - assessment.fetched
        series = container.series_without(assessment.fetched) | job.series
        for other in earlier:
            if other is job or (container.in_tree | job.uids) >= other.uids:
                continue
            late = self.policy.late_images != "new" and self._is_of_group(other, series)
            if late or sent & other.uids:
                return False
        return self._can_join(container.key, job.number)

    @staticmethod
    def _join(container: _Container, job: EarlierJob) -> Join:
        return Join(container.key, job.number, f"images came late for job {job.number}, and join it")

    def _started(
        self,
        container: _Container,
        assessment: Assessment,
        why: str,
        *,
        ordered: bool = False,
    ) -> StartJob:
        left_out = container.in_tree - assessment.uids
        return StartJob(container.key, assessment.inputs, left_out, why, ordered)

    def _held(self, container: _Container, why: str, kind: HoldKind, summary: str = "") -> list[Decision]:
        hold = Hold(container.key, why, kind, summary or why)
        if container.hold == hold:
            return []
        container.hold = hold
        return [hold]
