"""Asking the rules that are code: one question at a time, to a warm worker of the pipeline's environment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from pydicom.dataset import Dataset

from dicomnode.errors import PluginError
from dicomnode.host.isolation.plain_images import plain_image
from dicomnode.host.isolation.rules_worker import ask_rules
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput

_TIMEOUT = 60.0


class Workers(Protocol):
    """Who has a worker of each environment: :class:`~dicomnode.host.isolation.isolation.Isolation`."""

    def do(
        self, task: Callable[[Mapping[str, Any]], dict[str, Any]], asked: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Have a worker do a task."""
        ...


class Changes:
    """What a mirror of an input has not been told yet.

    Parameters
    ----------
    key : str
        What the mirror is known by.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.told = 0
        self._waiting: list[dict[str, Any]] = []

    def added(self, image: Dataset) -> None:
        """Note an image that was added."""
        self._waiting.append({"added": plain_image(image)})

    def removed(self, uid: str) -> None:
        """Note an image that was removed."""
        self._waiting.append({"removed": uid})

    def message(self, held: AbstractInput, *, everything: bool) -> dict[str, Any]:
        """Return what to tell: what is new, or everything that is held."""
        if everything:
            self.told, self._waiting = 0, [{"added": plain_image(image)} for image in held]
        return {"mirror": self.key, "input": held.name, "since": self.told, "changes": list(self._waiting)}

    def were_told(self, count: int) -> None:
        """Forget changes that have arrived."""
        self.told += count
        del self._waiting[:count]


class Rules:
    """The rules of one pipeline, in a worker.

    Parameters
    ----------
    workers : Workers
        Who has the worker.
    identity : mapping
        Which pipeline: what :func:`~dicomnode.host.isolation.rules_worker.ask_rules` takes besides the
        question.
    """

    def __init__(self, workers: Workers, identity: Mapping[str, Any]) -> None:
        self._workers, self._identity = workers, dict(identity)
        self._lock = threading.Lock()

    def ask(self, question: str, **about: Any) -> Any:
        """Ask the pipeline.

        Raises
        ------
        PluginError
            When its code raised.
        JobFailedError
            When there is no worker to answer.
        """
        with self._lock:
            return self._answer(self._ask(question, about))

    def ask_input(self, held: AbstractInput, changes: Changes, question: str, **about: Any) -> Any:
        """Ask an input, whose mirror is brought up to date first; see :meth:`ask`."""
        if isinstance(held, HistoricAbstractInput) and held.history is not None:
            about["history"] = {**asdict(held.history), "asked_for": sorted(held.history.asked_for)}
        with self._lock:
            for everything in (False, True):
                message = changes.message(held, everything=everything)
                told = self._ask(question, {**about, **message})
                if "behind" not in told:
                    changes.were_told(len(message["changes"]))
                    return self._answer(told)
        msg = "the worker does not keep what it is told"
        raise PluginError(msg)

    def _ask(self, question: str, about: Mapping[str, Any]) -> dict[str, Any]:
        asked = {**self._identity, **about, "question": question, "timeout": _TIMEOUT}
        return self._workers.do(ask_rules, asked)

    @staticmethod
    def _answer(told: Mapping[str, Any]) -> Any:
        if "raised" in told:
            raise PluginError(told["raised"])
        return told["answer"]
