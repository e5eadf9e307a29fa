"""When a patient's inputs are looked at (on release, when quiet, after a restart), and when given up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ..errors import DicomnodeError
from .clock_work import ClockWork
from .events import Event, Events, Station
from .jobs import Jobs
from .pipeline_tree import CheckFailedError, PipelineTree

_ON_RELEASE = frozenset({"release", "both"})
_WHEN_QUIET = frozenset({"quiet", "both"})
_RETRY = 10.0


class Triggers:
    """Looks at patients when it is time, on one thread, and has jobs made of those that are complete.

    Parameters
    ----------
    jobs : Jobs
        Who makes jobs.
    events : Events
        Who is told.
    clock : ClockWork
        Who keeps the time.
    """

    def __init__(self, jobs: Jobs, events: Events, clock: ClockWork) -> None:
        self._jobs, self._events, self._clock = jobs, events, clock
        self._watched: set[tuple[PipelineTree, str]] = set()

    def image_came(self, tree: PipelineTree, key: str) -> None:
        """Take note of an image: quiet period and expiry count from the last one."""
        rules = tree.node.rules
        if rules.trigger not in _WHEN_QUIET and rules.expires is None:
            return
        if (tree, key) not in self._watched:
            self._watched.add((tree, key))
            if rules.trigger in _WHEN_QUIET:
                self._clock.at(rules.quiet, partial(self._when_quiet, tree, key, rules.quiet, self._look))
            if rules.expires is not None:
                self._clock.at(
                    rules.expires, partial(self._when_quiet, tree, key, rules.expires, self._expire)
                )

    def association_ended(self, tree: PipelineTree, key: str, *, released: bool) -> None:
        """Look at a patient, if its association ended in a release and the pipeline goes by that."""
        if released:
            self._clock.at(0, partial(self._jobs.join_late, tree, key))
            if tree.node.rules.trigger in _ON_RELEASE:
                self._clock.at(0, partial(self._look, tree, key))

    def after_restart(self, tree: PipelineTree, key: str, quiet: float, *, cut_off: bool) -> None:
        """Watch a patient that was waiting when the host stopped.

        Parameters
        ----------
        tree : PipelineTree
        key : str
        quiet : float
            Seconds without an image after which it is looked at.
        cut_off : bool
            Whether the association that brought its last image neither was released nor aborted by the peer:
            only then may the quiet stand for the release that never came.
        """
        if cut_off:
            self._clock.at(quiet, partial(self._when_quiet, tree, key, quiet, self._look))
        self.image_came(tree, key)

    def _when_quiet(
        self, tree: PipelineTree, key: str, quiet: float, action: Callable[[PipelineTree, str], None]
    ) -> None:
        """Do something if a patient has been quiet for so long; else look again when it may have been."""
        so_far = tree.quiet_for(key)
        if so_far is None:
            self._watched.discard((tree, key))
        elif so_far < quiet:
            self._clock.at(quiet - so_far, partial(self._when_quiet, tree, key, quiet, action))
        else:
            self._watched.discard((tree, key))
            action(tree, key)

    def _look(self, tree: PipelineTree, key: str) -> None:
        """Make a job of a patient whose inputs are complete."""
        name = tree.node.name
        try:
            missing = tree.missing(key)
            if missing is not None:
                if tree.quiet_for(key) is not None:
                    message = "a patient's inputs are not complete yet"
                    self._tell(Event(Station.WAITING, message, pipeline=name, detail=missing))
                return
            self._jobs.create(tree, key)
        except CheckFailedError as error:
            message = f"{error}; the patient waits"
            self._tell(Event(Station.WAITING, message, pipeline=name, level=logging.ERROR))
        except (DicomnodeError, OSError) as error:
            message = f"no job could be made: {error}; it is tried again in {_RETRY:g} s"
            self._tell(Event(Station.WAITING, message, pipeline=name, level=logging.ERROR))
            self._clock.at(_RETRY, partial(self._look, tree, key))

    def _expire(self, tree: PipelineTree, key: str) -> None:
        expires = tree.node.rules.expires
        if expires is not None:
            self._jobs.expire(tree, key, expires)

    def _tell(self, event: Event) -> None:
        self._events.tell(event)
