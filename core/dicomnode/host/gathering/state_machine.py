"""When the images of one container become a job: events in, decisions out.

The machine of one pipeline. It knows images by their SOP Instance UIDs, associations by their ids, jobs by
their numbers and the time by what it is given; it has no thread, no clock, no file and no lock. Whoever
drives it hands it each event with the time, carries out the decisions, and calls :meth:`Gathering.tick` when
something is due.

A container starts a job when all of these hold:

1. every input is complete;
2. no association is open that brought it an image within the last `open_association_wait` seconds;
3. `settle` seconds have passed since the last of its associations ended;
4. none of its associations was aborted, or cut off by a stop of this host, unless each series that it brought
   was brought by another one since (known images count), which was released.

Inputs that prove that they are whole, and an order of the operator, end the waiting at once. What is complete
is then compared with the earlier jobs of the same container: see :mod:`~dicomnode.host.gathering.comparison`.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dicomnode.host.gathering.comparison import Comparison, Gathered
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
    Joined,
    Member,
    Policy,
    ProcessOrdered,
    ReleaseOrdered,
    Restored,
)


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
    interrupted: set[str] = field(default_factory=set)
    """Series of which an association was aborted or cut off, and nothing has made up for it."""
    brought: dict[str, set[str]] = field(default_factory=dict)
    """Open association -> series that it brought images of."""
    brought_since: dict[str, set[str]] = field(default_factory=dict)
    """The same, but only what it brought after the last interruption of the series."""
    kept_until: float = -_NEVER
    """Before this it does not expire: after a start of the host senders must be able to go on."""
    look_at: float = _NEVER
    """When time alone may change something."""
    queued_at: float = _NEVER
    """When it stands in the queue of what is due: at :attr:`look_at`, or before."""
    hold: Hold | None = None

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
            bool(container.interrupted),
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
            for brought in (container.brought, container.brought_since):
                brought.setdefault(association, set()).add(member.SeriesInstanceUID)
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
            brought = container.brought.pop(event.association, set())
            since = container.brought_since.pop(event.association, set())
            if event.released:
                container.interrupted -= since
            else:
                container.interrupted |= brought
                for others in container.brought_since.values():
                    others.difference_update(brought)
            container.hold = None
            decisions += self._look(key, now)
        return decisions

    def _restored(self, event: Restored, now: float) -> list[Decision]:
        container = _Container(event.container_key, now - event.age)
        container.members = {member.SOPInstanceUID: member for member in event.members}
        container.sent, container.ended, container.interrupted = True, now, set(event.interrupted)
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
        gathered = Gathered(container.key, container.members, assessment, event.reason)
        return [gathered.start(ordered=True)]

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
        return self._hold(container, Hold(container.key, event.reason, HoldKind.FAILED, event.reason))

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
            return self._hold(container, Hold(key, _INTERRUPTED, HoldKind.INTERRUPTED, _INTERRUPTED))
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

    def _compare(self, container: _Container, assessment: Assessment, why: str) -> list[Decision]:
        if not assessment.uids <= container.members.keys():
            return []  # the inputs hold an image already whose event is yet to come: then it is looked again
        earlier = self._earlier_jobs(container.key)
        container.forget_taken_back(earlier)
        if not container.members:
            return self._drop(container.key, "its images are those of a job that is not over", ordered=False)
        gathered = Gathered(container.key, container.members, assessment, why)
        decision = Comparison(self.policy, gathered, earlier, self._identity, self._can_join).decide()
        return self._hold(container, decision) if isinstance(decision, Hold) else [decision]

    @staticmethod
    def _hold(container: _Container, hold: Hold) -> list[Decision]:
        if container.hold == hold:
            return []
        container.hold = hold
        return [hold]
