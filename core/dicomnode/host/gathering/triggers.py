"""When a patient's inputs are looked at (on release, when quiet, after a restart), and when given up."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from dicomnode.errors import DicomnodeError
from dicomnode.host.foundation.error_text import loggable_text
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.notifier import Notifier
from dicomnode.host.foundation.timer_thread import TimerThread
from dicomnode.host.gathering.pipeline_tree import CheckFailedError, PipelineTree

_RETRY = 10.0

_NOT_NOW = (DicomnodeError, OSError, sqlite3.Error)
"""What a full or failing disk raises."""

_Action = Callable[[PipelineTree, str], None]


class ContainerActions(Protocol):
    """What is done with a patient container when its time has come. What fails is tried again."""

    def create(self, tree: PipelineTree, container_key: str, /) -> object:
        """Make a job of a container whose inputs are complete."""
        ...

    def join_late(self, tree: PipelineTree, container_key: str, /) -> None:
        """Let images that came after the container's job was made join it, where the pipeline wants that."""
        ...

    def expire(self, tree: PipelineTree, container_key: str, age: float, /) -> None:
        """Release the images of a container to which none has come for `age` seconds."""
        ...


class Triggers:
    """Looks at patients when it is time, on one thread, and has jobs made of those that are complete.

    Parameters
    ----------
    actions : ContainerActions
        What makes jobs of complete containers.
    events : Events
        Publishes what happens.
    clock : TimerThread
        Who keeps the time.
    image_entered : Notifier of PipelineTree and str
        Is notified of every image in a container.
    """

    def __init__(
        self,
        actions: ContainerActions,
        events: Events,
        clock: TimerThread,
        image_entered: Notifier[PipelineTree, str],
    ) -> None:
        self._image_entered = image_entered
        self._actions, self._events, self._clock = actions, events, clock
        self._watched: set[tuple[PipelineTree, str, float, _Action]] = set()
        self._incomplete: set[tuple[PipelineTree, str]] = set()
        self._lock = threading.Lock()

    def image_came(self, tree: PipelineTree, container_key: str, *, asked_for: bool = False) -> None:
        """Take note of an image: quiet period and expiry count from the last one.

        Parameters
        ----------
        tree : PipelineTree
        container_key : str
        asked_for : bool
            Whether the host itself has asked for it: then it says nothing about what others still send.
        """
        if not asked_for:
            with self._lock:
                self._incomplete.discard((tree, container_key))
        self._image_entered.notify(tree, container_key)
        policy = tree.configured.policy
        if policy.when_quiet:
            self._watch(tree, container_key, policy.quiet, self._look)
        if policy.expires is not None:
            self._watch(tree, container_key, policy.expires, self._expire)

    def association_ended(self, tree: PipelineTree, container_key: str, *, released: bool) -> None:
        """Look at a patient, if its association ended in a release and the pipeline goes by that."""
        if released:
            on_release = tree.configured.policy.on_release
            self._clock.at(0, partial(self._look if on_release else self._join, tree, container_key))

    def history_settled(self, tree: PipelineTree, container_key: str) -> None:
        """Look at a patient whose earlier images need not be waited for any more.

        Only if it was time to look before, and no other image has come since: that earlier images are here
        does not make the others complete.
        """
        with self._lock:
            looked = (tree, container_key) in self._incomplete
        if looked:
            self._clock.at(0, partial(self._look, tree, container_key))

    def after_restart(self, tree: PipelineTree, container_key: str, quiet: float, *, cut_off: bool) -> None:
        """Watch a patient that was waiting when the host stopped.

        It is given up when its last image, from before the restart, is too old; but not before senders have
        had the time to go on.

        Parameters
        ----------
        tree : PipelineTree
        container_key : str
        quiet : float
            Seconds without an image after which it is looked at, and may be given up.
        cut_off : bool
            Whether the association that brought its last image was not aborted by the peer: only then may the
            quiet stand for a release that never came, or came just before the host was stopped.
        """
        if cut_off and tree.configured.policy.on_release:
            self._watch(tree, container_key, quiet, self._look)
        expires, so_far = tree.configured.policy.expires, tree.quiet_for(container_key)
        if expires is not None and so_far is not None:
            self._watch(tree, container_key, expires, self._expire, first=max(expires - so_far, quiet))
        self.image_came(tree, container_key)

    def _watch(
        self,
        tree: PipelineTree,
        container_key: str,
        quiet: float,
        action: _Action,
        first: float | None = None,
    ) -> None:
        """Do something once a patient has been quiet for so long; one watch of a kind is enough.

        It has been quiet since its last image, which may have come before a restart. So what shall count from
        now on is not looked at before `first` seconds (`quiet`, where it is not given).
        """
        watch = (tree, container_key, quiet, action)
        with self._lock:
            if watch in self._watched:
                return
            self._watched.add(watch)
        wait = quiet if first is None else first
        self._clock.at(wait, partial(self._when_quiet, tree, container_key, quiet, action))

    def _when_quiet(self, tree: PipelineTree, container_key: str, quiet: float, action: _Action) -> None:
        """Do what is watched for, or look again when it may be time."""
        watch = (tree, container_key, quiet, action)
        with self._lock:  # before looking, so that an image that comes in this very moment is watched anew
            self._watched.discard(watch)
        so_far = tree.quiet_for(container_key)
        if so_far is None:
            return
        if so_far >= quiet:
            action(tree, container_key)
            return
        with self._lock:
            if watch in self._watched:
                return
            self._watched.add(watch)
        self._clock.at(quiet - so_far, partial(self._when_quiet, tree, container_key, quiet, action))

    def _look(self, tree: PipelineTree, container_key: str) -> None:
        """Make a job of a patient whose inputs are complete."""
        name = tree.configured.name
        try:
            self._actions.join_late(tree, container_key)
            missing = tree.missing(container_key)
            if missing is not None:
                if tree.quiet_for(container_key) is not None:
                    with self._lock:
                        self._incomplete.add((tree, container_key))
                    message = "a patient's inputs are not complete yet"
                    self._tell(Event(Station.WAITING, message, pipeline=name, detail=missing))
                return
            self._actions.create(tree, container_key)
            with self._lock:
                self._incomplete.discard((tree, container_key))
        except CheckFailedError as error:
            message = f"{error}; the patient waits"
            self._tell(Event(Station.WAITING, message, pipeline=name, level=logging.ERROR))
        except _NOT_NOW as error:
            self._again_later("no job could be made", error, self._look, tree, container_key)

    def _join(self, tree: PipelineTree, container_key: str) -> None:
        """Let late images join their job, where the pipeline makes no new one of them yet."""
        try:
            self._actions.join_late(tree, container_key)
        except _NOT_NOW as error:
            self._again_later("late images could not join", error, self._join, tree, container_key)

    def _expire(self, tree: PipelineTree, container_key: str) -> None:
        expires = tree.configured.policy.expires
        if expires is None:
            return
        try:
            self._actions.expire(tree, container_key, expires)
        except _NOT_NOW as error:
            self._again_later("a patient could not be given up", error, self._expire, tree, container_key)

    def _again_later(
        self, what: str, error: Exception, action: _Action, tree: PipelineTree, container_key: str
    ) -> None:
        message = f"{what}: {loggable_text(error)}; it is tried again in {_RETRY:g} s"
        name = tree.configured.name
        self._tell(Event(Station.WAITING, message, pipeline=name, detail=str(error), level=logging.ERROR))
        self._clock.at(_RETRY, partial(action, tree, container_key))

    def _tell(self, event: Event) -> None:
        self._events.tell(event)
