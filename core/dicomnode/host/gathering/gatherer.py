"""Drives the state machines of gathering: events from any thread, decisions carried out on one."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.errors import DicomnodeError, JobStateError
from dicomnode.host.foundation.error_text import loggable_text
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.container_naming import nothing_waits
from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    Decision,
    Done,
    Drop,
    EarlierJob,
    Failed,
    Hold,
    HoldKind,
    ImagesRemoved,
    ImageStored,
    InputsChanged,
    Join,
    Joined,
    Member,
    Policy,
    ProcessOrdered,
    ReleaseOrdered,
    Restored,
    RunAgain,
    StartJob,
)
from dicomnode.host.gathering.messages import Event as GatheringEvent
from dicomnode.host.gathering.state_machine import Gathering, View
from dicomnode.host.gathering.waiting_images import WaitingImages

_NOT_NOW = (DicomnodeError, OSError, sqlite3.Error)
"""What a full or failing disk raises: the decision is made again later."""


class ContainerJobs(Protocol):
    """What is done with containers, and what is remembered of their jobs. What raises is tried again."""

    def create(self, waiting: WaitingImages, decision: StartJob) -> object:
        """Make a job of images that wait."""
        ...

    def run_again(self, waiting: WaitingImages, decision: RunAgain) -> object:
        """Run an earlier job again, with the images that have come again in the place of its own."""
        ...

    def images(self, number: int) -> Sequence[tuple[LazyDataset, tuple[str, ...]]]:
        """Return the images of a job, each with the names of its inputs."""
        ...

    def reopen(self, number: int, why: str) -> Sequence[tuple[LazyDataset, tuple[str, ...]]]:
        """End a job that delivers no result, and return its images, each with the names of its inputs."""
        ...

    def drop(self, waiting: WaitingImages, decision: Drop) -> object:
        """Release the images of a container that makes no job."""
        ...

    def hold(self, waiting: WaitingImages, decision: Hold, series: Mapping[str, int]) -> object:
        """Remember why a container is held; `series` are its Series Instance UIDs with their images."""
        ...

    def earlier(self, waiting: WaitingImages, container_key: str) -> Sequence[EarlierJob]:
        """Return the jobs of a container that are remembered, the newest first."""
        ...

    def failed_job_of(self, pipeline: str, SOPInstanceUID: str) -> int | None:  # noqa: N803 - DICOM's own spelling
        """Return the failed job that has an image, ``None`` where none has."""
        ...

    def identity(self, waiting: WaitingImages, container_key: str, uids: Collection[str]) -> str:
        """Return the identity that a job of these images has now."""
        ...


AskCount = Callable[[str, str, str, Callable[["int | None", str], None]], None]
"""Peer (name or AE title), study, series, and what is told the number, or ``None`` and why there is none."""

_MOST_NAMED = 8
"""Of the associations that brought images of a container, the last ones are named in the log."""
_TOGETHER = 0.05
"""Seconds within which images that come are handed to the machines together: to wake the thread for each of
them takes a quarter of the time of a small image."""
_ASK_AGAIN = 60.0
"""Seconds after which a peer is asked again that could not say it, as long as its series waits."""


class Gatherer:
    """Looks at containers when it is time, on one thread, and has jobs made of those that are complete.

    Every method may be called on any thread. What it causes is done on the thread of the timer, in the order
    of the calls.

    Parameters
    ----------
    waiting : iterable of WaitingImages
        What waits for each pipeline.
    jobs : ContainerJobs
    events : Events
        Who is told.
    timer : TimerThread
        Whose thread drives the machines.
    ask_count : callable, optional
        Asks a peer how many images a series has: see :data:`AskCount`.
    image_came : callable
        Told of each image of a sender, on the timer's thread: earlier images may be fetched for it.
    """

    def __init__(
        self,
        waiting: Iterable[WaitingImages],
        jobs: ContainerJobs,
        events: Events,
        timer: TimerThread,
        *,
        image_came: Callable[[WaitingImages, str], None] = lambda waiting, container_key: None,  # noqa: ARG005 - nobody asks
        ask_count: AskCount | None = None,
    ) -> None:
        self._jobs, self._events, self._timer, self._image_came = jobs, events, timer, image_came
        self._machines = {each: self._machine(each) for each in waiting}
        self._wake_at: dict[WaitingImages, float] = {}
        self._ask_count = ask_count
        self._senders: dict[tuple[WaitingImages, str], str] = {}
        self._brought: dict[tuple[WaitingImages, str], dict[str, None]] = {}
        """Container -> the associations that brought an image of it since it was held, the last one last."""
        self._asked: set[tuple[WaitingImages, str, str]] = set()
        self._to_ask_again: set[tuple[WaitingImages, str]] = set()

    # -- from any thread ----------------------------------------------------------------------------------

    def image_stored(
        self,
        waiting: WaitingImages,
        container_key: str,
        image: LazyDataset,
        association: str,
        *,
        asked_for: bool = False,
        sender: str = "",
    ) -> None:
        """Take note of an image that is durable and waits, or came again as it is there.

        Parameters
        ----------
        waiting : WaitingImages
        container_key : str
        image : LazyDataset
        association : str
            The id of the association that brought it.
        asked_for : bool
            Whether the host itself has asked for it: then it says nothing about what others still send.
        sender : str
            The AE title that sent it.
        """
        member = _member(image)
        brought_by = "" if asked_for else association
        stored = partial(self._stored, waiting, container_key, member, brought_by, sender)
        self._timer.at(0.0, stored, patience=_TOGETHER)

    def association_ended(self, association: str, *, released: bool) -> None:
        """Take note that an association is over, behind the images that it brought."""
        event = AssociationEnded(association, released)
        for waiting in self._machines:
            self._post(partial(self._ended, waiting, event))

    def history_settled(self, waiting: WaitingImages, container_key: str) -> None:
        """Look at a container whose earlier images need not be waited for any more."""
        self._post(partial(self._handle, waiting, InputsChanged(container_key)))

    def images_removed(self, waiting: WaitingImages, container_key: str, uids: Collection[str]) -> None:
        """Take note that images are in a container no more."""
        self._post(partial(self._handle, waiting, ImagesRemoved(container_key, frozenset(uids))))

    def restored(
        self,
        waiting: WaitingImages,
        container_key: str,
        *,
        interrupted: Collection[str] | None,
        sender: str = "",
    ) -> None:
        """Take note of a container that waited when the host was started.

        Parameters
        ----------
        waiting : WaitingImages
        container_key : str
        interrupted : collection of str, optional
            Its series of which an association was aborted or cut off, and nothing has made up for it; all of
            them where it is ``None``: nothing is known of associations.
        sender : str
            The AE title that sent the last of its images.
        """
        members = tuple(Member(*each) for each in waiting.members(container_key).items())
        age = waiting.quiet_for(container_key) or 0.0
        series = {member.SeriesInstanceUID for member in members}
        cut = frozenset(series if interrupted is None else interrupted)
        event = Restored(container_key, members, age, cut)
        self._post(partial(self._handle, waiting, event))
        self._post(partial(self._ask_sender, waiting, container_key, sender))
        self._post(partial(self._image_came, waiting, container_key))

    def process(self, waiting: WaitingImages, container_key: str, reason: str) -> None:
        """Start a container as it is, on the operator's word.

        Raises
        ------
        JobStateError
            When nothing waits there, or several series do where one is taken.
        """
        self._timer.call(partial(self._process, waiting, container_key, reason))

    def release_container(self, waiting: WaitingImages, container_key: str, reason: str) -> int:
        """Drop a container, on the operator's word; return how many images were released.

        Raises
        ------
        JobStateError
            When nothing waits there.
        """
        return self._timer.call(partial(self._release, waiting, container_key, reason))

    def views(self, waiting: WaitingImages) -> dict[str, View]:
        """Return what is known of each container."""
        machine = self._machines[waiting]

        def look() -> dict[str, View]:
            now = self._timer.now()
            views = {key: machine.view(key, now) for key in machine.keys()}  # noqa: SIM118 - it is no mapping
            return {key: view for key, view in views.items() if view is not None}

        return self._timer.call(look)

    # -- on the timer's thread ----------------------------------------------------------------------------

    def _post(self, action: Callable[[], None]) -> None:
        self._timer.at(0.0, action)

    def _stored(
        self, waiting: WaitingImages, container_key: str, member: Member, association: str, sender: str
    ) -> None:
        uid = member.SOPInstanceUID
        if not waiting.holds(uid):
            # It is the input of a job. Only of one that failed for good is it of any interest here.
            number = self._jobs.failed_job_of(waiting.configured.name, uid)
            if number is None:
                return
            member = Member(uid, member.SeriesInstanceUID, number)
        if sender and waiting.configured.asks_peers:
            self._senders[waiting, container_key] = sender
        if association:
            brought = self._brought.setdefault((waiting, container_key), {})
            brought[association] = brought.pop(association, None)
        self._handle(waiting, ImageStored(container_key, member, association))
        if association:
            self._image_came(waiting, container_key)

    def _ended(self, waiting: WaitingImages, event: AssociationEnded) -> None:
        self._handle(waiting, event)
        if waiting.configured.asks_peers:
            for container_key in waiting.keys():  # noqa: SIM118 - it is no mapping
                self._ask_peers(waiting, container_key)

    def _ask_sender(self, waiting: WaitingImages, container_key: str, sender: str) -> None:
        """Ask at once how many images there are of what waited before a restart."""
        if waiting.configured.asks_peers:
            if sender:
                self._senders[waiting, container_key] = sender
            self._ask_peers(waiting, container_key)

    def _ask_peers(self, waiting: WaitingImages, container_key: str) -> None:
        """Ask how many images there are of the series of a container, each once at a time."""
        if self._ask_count is None:
            return
        for series, (study, named) in waiting.series_to_count(container_key).items():
            peer = named or self._senders.get((waiting, container_key), "")
            asked = (waiting, container_key, series)
            if asked in self._asked:
                continue
            self._asked.add(asked)
            self._ask_count(peer, study, series, partial(self._answered, waiting, container_key, series))

    def _answered(
        self, waiting: WaitingImages, container_key: str, series: str, count: int | None, reason: str
    ) -> None:
        """Take the answer of a peer, from any thread."""
        self._post(partial(self._take_count, waiting, container_key, series, count, reason))

    def _take_count(
        self, waiting: WaitingImages, container_key: str, series: str, count: int | None, reason: str
    ) -> None:
        self._asked.discard((waiting, container_key, series))
        if count is None:
            message = f"a peer did not say how many images a series has: {reason}"
            name = waiting.configured.name
            self._events.tell(Event(Station.WAITING, message, pipeline=name, level=logging.WARNING))
        else:
            waiting.set_peer_count(container_key, series, count)
            self._handle(waiting, InputsChanged(container_key))
        container = waiting, container_key
        if series in waiting.series_to_count(container_key) and container not in self._to_ask_again:
            self._to_ask_again.add(container)
            self._timer.at(_ASK_AGAIN, partial(self._ask_again, *container))

    def _ask_again(self, waiting: WaitingImages, container_key: str) -> None:
        self._to_ask_again.discard((waiting, container_key))
        self._ask_peers(waiting, container_key)

    def _handle(self, waiting: WaitingImages, event: GatheringEvent) -> None:
        machine = self._machines[waiting]
        for decision in machine.handle(event, self._timer.now()):
            self._carry_out(waiting, decision)
        self._wake(waiting)

    def _tick(self, waiting: WaitingImages) -> None:
        self._wake_at.pop(waiting, None)
        for decision in self._machines[waiting].tick(self._timer.now()):
            self._carry_out(waiting, decision)
        self._wake(waiting)

    def _wake(self, waiting: WaitingImages) -> None:
        """See to it that the machine is asked when something is due."""
        due = self._machines[waiting].due()
        if due is not None and due < self._wake_at.get(waiting, float("inf")):
            self._wake_at[waiting] = due
            self._timer.at(max(due - self._timer.now(), 0.0), partial(self._tick, waiting))

    def _process(self, waiting: WaitingImages, container_key: str, reason: str) -> None:
        found = waiting.completeness(container_key)
        if found is None:
            if self._machines[waiting].series(container_key):
                msg = "what came again are images that a failed job has: replay that job"
                raise JobStateError(msg)
            raise JobStateError(nothing_waits(container_key, waiting.configured.name))
        if undecided := found.undecided:
            msg = f"{undecided}; name the one to process with --series"
            raise JobStateError(msg)
        self._obey(waiting, ProcessOrdered(container_key, reason))

    def _release(self, waiting: WaitingImages, container_key: str, reason: str) -> int:
        count = len(waiting.members(container_key))
        if not count and not self._machines[waiting].series(container_key):
            raise JobStateError(nothing_waits(container_key, waiting.configured.name))
        self._obey(waiting, ReleaseOrdered(container_key, reason))
        return count

    def _obey(self, waiting: WaitingImages, order: ProcessOrdered | ReleaseOrdered) -> None:
        """Do what the operator has ordered, or raise why it cannot be done: who has ordered it is told."""
        for decision in self._machines[waiting].handle(order, self._timer.now()):
            done = self._done(waiting, decision)
            if done is not None:
                self._handle(waiting, done)

    # -- decisions ----------------------------------------------------------------------------------------

    def _carry_out(self, waiting: WaitingImages, decision: Decision) -> None:
        try:
            event = self._done(waiting, decision)
        except _NOT_NOW as error:
            event = Failed(decision.container_key, f"no job could be made: {loggable_text(error)}")
        if event is not None:
            self._handle(waiting, event)

    def _done(self, waiting: WaitingImages, decision: Decision) -> GatheringEvent | None:
        key = decision.container_key
        match decision:
            case StartJob():
                self._jobs.create(waiting, decision)
                self._forget(waiting, key)
                return Done(key, decision.uids)
            case RunAgain():
                self._jobs.run_again(waiting, decision)
                self._forget(waiting, key)
                return Done(key, decision.uids)
            case Join():
                images = self._jobs.reopen(decision.job, decision.why)
                waiting.put_back(key, images)
                return Joined(key, tuple(_member(image) for image, _ in images))
            case Drop():
                self._jobs.drop(waiting, decision)
                self._forget(waiting, key)
                return Done(key, decision.uids)
            case Hold():
                self._jobs.hold(waiting, decision, self._machines[waiting].series(key))
                self._tell_held(waiting, decision)
                return None

    def _forget(self, waiting: WaitingImages, container_key: str) -> None:
        """Forget who sent what is in the container no more."""
        self._senders.pop((waiting, container_key), None)
        self._brought.pop((waiting, container_key), None)

    def _tell_held(self, waiting: WaitingImages, hold: Hold) -> None:
        """Say why a container waits. What inputs miss may quote a plugin or an image: at DEBUG only."""
        level = logging.INFO if hold.kind in {HoldKind.INCOMPLETE, HoldKind.PART} else logging.WARNING
        detail = f"{hold.container_key}: {hold.why}"
        images = sum(self._machines[waiting].series(hold.container_key).values())
        counted = "1 image waits" if images == 1 else f"{images} images wait"
        brought = self._brought.pop((waiting, hold.container_key), {})
        self._events.tell(
            Event(
                Station.WAITING,
                f"a container is held: {hold.summary}; {counted}",
                pipeline=waiting.configured.name,
                association=",".join([*brought][-_MOST_NAMED:]),
                detail=detail,
                level=level,
            )
        )

    # -- what the machines ask ----------------------------------------------------------------------------

    def _machine(self, waiting: WaitingImages) -> Gathering:
        configured = waiting.configured
        policy = configured.policy
        return Gathering(
            Policy(
                settle=policy.settle,
                open_association_wait=policy.open_association_wait,
                expires=policy.expires,
                late_images=policy.late_images,
                one_group_a_container=configured.grouping.one_group and not configured.kind.has_own_key(),
            ),
            partial(_assess, waiting),
            partial(self._jobs.earlier, waiting),
            identity=partial(self._jobs.identity, waiting),
            can_join=partial(self._can_join, waiting),
            may_be_proven=waiting.may_be_proven if configured.proves else lambda key: False,  # noqa: ARG005 - of none
        )

    def _can_join(self, waiting: WaitingImages, container_key: str, number: int) -> bool:
        """Say whether the images of a job and those that wait can go into one job."""
        return waiting.can_join(container_key, self._jobs.images(number))


def _assess(waiting: WaitingImages, container_key: str) -> Assessment:
    found = waiting.completeness(container_key)
    if found is None:
        return Assessment({}, "no image")
    inputs = {name: tuple(str(image.SOPInstanceUID) for image in held) for name, held in found.inputs.items()}
    raised = ", ".join(
        f"the code of input {name!r} raised {type(error).__name__}" for name, error in found.raised.items()
    )
    return Assessment(inputs, str(found), found.proof, raised, waiting.fetched(container_key))


def _member(image: LazyDataset) -> Member:
    return Member(identifier(image, "SOPInstanceUID"), identifier(image, "SeriesInstanceUID"))
