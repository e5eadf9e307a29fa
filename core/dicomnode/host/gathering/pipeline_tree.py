"""The trees of images that wait, one for each pipeline, and what may be taken out of them as a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import ImageRefusedError, InputsIncompleteError
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.store_handler import Prevalidation
from dicomnode.pipeline.container import PatientContainer
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.plugins.hooks import Hooks

T = TypeVar("T")


class NoIdentifierError(ImageRefusedError):
    """The image lacks the attribute by which the pipeline gathers images."""


class CheckFailedError(ImageRefusedError):
    """A plugin's validation raised. The cause is chained."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image belongs: whose it is, which inputs want it, and whether one of them asked for it."""

    container_key: str
    inputs: tuple[str, ...]
    asked_for: bool = False


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the inputs of a pipeline say of an image.

    Attributes
    ----------
    container_key : str
        The key of the patient container.
    reasons : mapping of str to str or None
        Input -> why it does not want the image; ``None`` where it does.
    asked_for : bool
        Whether the host itself has asked for the image: only inputs that want earlier images are asked then.
    """

    container_key: str
    reasons: Mapping[str, str | None]
    asked_for: bool = False

    @property
    def wanting(self) -> tuple[str, ...]:
        """The inputs that want it."""
        return tuple(name for name, reason in self.reasons.items() if reason is None)

    def __str__(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items() if reason is not None)


@dataclass(frozen=True, slots=True)
class TakenContainer:
    """A patient taken out of the tree: container key, input -> images, and when the last image came."""

    container_key: str
    inputs: Mapping[str, tuple[LazyDataset, ...]]
    last_image: float

    @property
    def images(self) -> tuple[LazyDataset, ...]:
        """Every image once, in order of arrival."""
        each = {str(image.SOPInstanceUID): image for images in self.inputs.values() for image in images}
        return tuple(each.values())

    def with_inputs(self) -> list[tuple[LazyDataset, tuple[str, ...]]]:
        """Return every image once, with the names of the inputs that hold it."""
        names: dict[str, list[str]] = {}
        for name, images in self.inputs.items():
            for image in images:
                names.setdefault(str(image.SOPInstanceUID), []).append(name)
        return [(image, tuple(names[str(image.SOPInstanceUID)])) for image in self.images]


@dataclass(slots=True)
class _Waiting:
    """A patient container, and when its last image came (monotonic seconds)."""

    container: PatientContainer
    last_image: float


class PipelineTree:
    """All patient containers of one pipeline. Safe under concurrent associations.

    Parameters
    ----------
    configured : ConfiguredPipeline
        The configured pipeline.
    hooks : Hooks
        Who is asked whether an image belongs, and whether an input is complete.
    now : callable
        Seconds that only grow; :func:`time.monotonic` but in simulations.
    """

    def __init__(
        self, configured: ConfiguredPipeline, hooks: Hooks, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.configured = configured
        self._hooks, self._now = hooks, now
        self._containers: dict[str, _Waiting] = {}
        self._held: dict[str, str] = {}
        self._histories: dict[str, dict[str, HistoryStatus]] = {}
        self._asked_for: dict[str, str] = {}
        self._storing: set[str] = set()
        self._awaited = 0
        self._lock = threading.RLock()
        self._stored = threading.Condition(self._lock)

    @property
    def indexed_tags(self) -> frozenset[int]:
        """The tags that are read of every instance, so that no file is opened to sort it."""
        kind = self.configured.kind
        stored = frozenset(tag | STORED_BYTES for tag in kind.key_tags())
        return frozenset(map(int, kind.indexed_tags())) | stored | self._hooks.looked_at

    # -- images come --------------------------------------------------------------------------------------

    @contextmanager
    def storing(self, SOPInstanceUID: str) -> Iterator[Path | None]:  # noqa: N803 - DICOM's own spelling
        """Keep an instance to this thread while it is decided and stored; others that bring it too wait.

        Yields
        ------
        pathlib.Path or None
            Its file, when it is here already: waiting, or in a job.
        """
        with self._lock:
            while SOPInstanceUID in self._storing:
                self._awaited += 1
                self._stored.wait()
                self._awaited -= 1
            self._storing.add(SOPInstanceUID)
            held = self._held.get(SOPInstanceUID)
        try:
            yield None if held is None else Path(held)
        finally:
            with self._lock:
                self._storing.discard(SOPInstanceUID)
                if self._awaited:
                    self._stored.notify_all()

    def place(self, image: LazyDataset, prevalidation: Prevalidation | None = None) -> Placement:
        """Find out where an image belongs.

        Parameters
        ----------
        image : LazyDataset
            The image.
        prevalidation : Prevalidation, optional
            What has been found out of it already, without the images that wait.

        Raises
        ------
        NoIdentifierError
            When it lacks what the pipeline gathers images by.
        CheckFailedError
            When a plugin's validation raised.
        ImageRefusedError
            When no input wants it. The message says for each input why.
        """
        with self._lock:
            verdicts = self.verdicts(image, prevalidation)
            if (waiting := self._containers.get(verdicts.container_key)) is not None:
                for name, reason in verdicts.reasons.items():
                    if reason is not None:
                        waiting.container[name].was_refused(image)
        if not verdicts.wanting:
            raise ImageRefusedError(str(verdicts))
        return Placement(verdicts.container_key, verdicts.wanting, asked_for=verdicts.asked_for)

    def verdicts(self, image: LazyDataset, prevalidation: Prevalidation | None = None) -> Verdicts:
        """Ask every input whether it wants an image, given what waits there already. Nothing changes.

        With a prevalidation (see :meth:`place`), an input that it covers is asked only about what waits.

        Raises
        ------
        NoIdentifierError
            When the image lacks what the pipeline gathers images by.
        CheckFailedError
            When a plugin's validation raised.
        """
        with self._lock:
            container_key = self._claimed_by(image)
            if container_key is not None or prevalidation is None:
                checked: Mapping[str, str | None] = {}
                container_key = container_key or self.container_key(image)
            else:
                container_key, checked = prevalidation.container_key, prevalidation.reasons
            waiting = self._containers.get(container_key)
            container = self._new_container(container_key) if waiting is None else waiting.container
            claiming = {name: held for name, held in container.items() if held.claims(image)}
            reasons: dict[str, str | None] = {}
            for name, held in (claiming or container).items():
                if name in checked:
                    check = partial(held.conflict, image)
                else:
                    check = partial(self._hooks.validate_image, self.configured.pipeline, name, held, image)
                reasons[name] = checked.get(name) or _checked(name, check)
        return Verdicts(container_key, reasons, asked_for=bool(claiming))

    def insert(
        self, image: LazyDataset, placement: Placement, record: Callable[[], None] = lambda: None
    ) -> None:
        """Put an image where it belongs.

        Parameters
        ----------
        image : LazyDataset
            The image, under its final path.
        placement : Placement
            From :meth:`place`.
        record : callable
            Enters it in the ledger; called under the lock, so that nobody can take the image out before.

        Raises
        ------
        ImageRefusedError
            When an image that came at the same time on another association keeps it out.
        """
        with self._lock:
            waiting = self._containers.get(placement.container_key)
            if waiting is None:
                waiting = _Waiting(self._new_container(placement.container_key), self._now())
            for name in placement.inputs:
                reason = waiting.container[name].conflict(image)
                if reason is not None:
                    msg = f"{name}: {reason}"
                    raise ImageRefusedError(msg)
            record()
            waiting.container.insert(image, placement.inputs)
            waiting.last_image = self._now()
            self._containers[placement.container_key] = waiting
            self._held[str(image.SOPInstanceUID)] = image.file

    def hold(self, SOPInstanceUID: str, path: Path) -> None:  # noqa: N803 - DICOM's own spelling
        """Remember an instance that is not in a container, so that it is known when it is sent again.

        One of the same UID that waits in a container stays the one that is known.
        """
        with self._lock:
            self._held.setdefault(SOPInstanceUID, str(path))

    def holds(self, SOPInstanceUID: str, path: Path) -> bool:  # noqa: N803 - DICOM's own spelling
        """Say whether a file is still the one that is here of an instance: its job may be over by now."""
        with self._lock:
            return self._held.get(SOPInstanceUID) == str(path)

    def held(self, SOPInstanceUID: str) -> Path | None:  # noqa: N803 - DICOM's own spelling
        """Return the file of an instance that is here, ``None`` where it is not here."""
        with self._lock:
            path = self._held.get(SOPInstanceUID)
            return None if path is None else Path(path)

    def here(self, SOPInstanceUID: str) -> str | None:  # noqa: N803 - DICOM's own spelling
        """Say where an instance is, in words; ``None`` where it is not here."""
        with self._lock:
            if SOPInstanceUID not in self._held:
                return None
            return "in a job" if self._where(SOPInstanceUID) is None else "waiting"

    def touch_duplicate(self, SOPInstanceUID: str, path: Path, container_key: str) -> bool:  # noqa: N803 - DICOM's own spelling
        """Count an image that was sent again as its patient's last one, if it is still held here."""
        with self._lock:
            if self._held.get(SOPInstanceUID) != str(path):
                return False
            if (waiting := self._containers.get(container_key)) is not None:
                waiting.last_image = self._now()
            return True

    def set_age(self, container_key: str, seconds: float) -> None:
        """Say how long ago a patient's last image came: before a restart, when this tree was not there."""
        with self._lock:
            if (waiting := self._containers.get(container_key)) is not None:
                waiting.last_image = self._now() - seconds

    # -- earlier images are fetched -----------------------------------------------------------------------

    def set_history(self, container_key: str, name: str, status: HistoryStatus) -> None:
        """Tell an input how far the fetching of a patient's earlier images is, now and if it is made anew."""
        with self._lock:
            self._histories.setdefault(container_key, {})[name] = status
            self._asked_for.update(dict.fromkeys(status.asked_for, container_key))
            if (waiting := self._containers.get(container_key)) is not None:
                _tell_history(waiting.container, name, status)

    def history(self, container_key: str, name: str) -> HistoryStatus | None:
        """Return how far the fetching for an input of a patient is, or ``None`` where none has begun."""
        with self._lock:
            return self._histories.get(container_key, {}).get(name)

    def forget_history(self, container_key: str) -> None:
        """Forget what was fetched for a patient who went into a job, or was given up."""
        with self._lock:
            for status in self._histories.pop(container_key, {}).values():
                for uid in status.asked_for:
                    if self._asked_for.get(uid) == container_key:
                        del self._asked_for[uid]

    def drops(self, refused: ImageRefusedError) -> bool:
        """Say whether an image is to be dropped, since no input wants it and the pipeline discards such."""
        unwanted = not isinstance(refused, CheckFailedError | NoIdentifierError)
        return unwanted and self.configured.table.on_unwanted == "discard"

    def asked_for(self, image: LazyDataset) -> bool:
        """Say whether an image comes because it was asked for: it says nothing about what others send."""
        with self._lock:
            return self._claimed_by(image) is not None

    def ask_input(self, container_key: str, name: str, question: Callable[[AbstractInput], T]) -> T | None:
        """Ask an input of a patient something, while it does not change; ``None`` where nothing waits."""
        with self._lock:
            waiting = self._containers.get(container_key)
            return None if waiting is None else question(waiting.container[name])

    def first_image(self, container_key: str) -> LazyDataset | None:
        """Return an image of a patient that nobody fetched, or ``None`` where none waits."""
        with self._lock:
            waiting = self._containers.get(container_key)
            if waiting is None:
                return None
            held = [
                each for each in waiting.container.values() if not isinstance(each, HistoricAbstractInput)
            ]
            return next((_lazy(image) for each in held for image in each), None)

    def _claimed_by(self, image: LazyDataset) -> str | None:
        """Return the key of the patient for whom an image was asked for. The lock is held."""
        if not self._asked_for:
            return None
        for uid in (str(image.SeriesInstanceUID), str(image.StudyInstanceUID)):
            container_key = self._asked_for.get(uid, "")
            for status in self._histories.get(container_key, {}).values():
                if uid in status.asked_for and status.PatientID == image.get("PatientID"):
                    return container_key
        return None

    # -- images go ----------------------------------------------------------------------------------------

    def missing(self, container_key: str) -> str | None:
        """Say what a patient's inputs are still missing, or ``None`` when they are complete.

        Raises
        ------
        CheckFailedError
            When a plugin's validation raised.
        """
        with self._lock:
            waiting = self._containers.get(container_key)
            if waiting is None:
                return "no image"
            reasons = self._reasons(waiting.container)
            return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or None

    def missing_with(self, image: LazyDataset, verdicts: Verdicts) -> str | None:
        """Say what a patient's inputs would still be missing if an image came. Nothing changes.

        Raises
        ------
        CheckFailedError
            When a plugin's validation raised.
        """
        container_key = verdicts.container_key
        with self._lock:
            imagined = self._new_container(container_key)
            if (waiting := self._containers.get(container_key)) is not None:
                for name, held in waiting.container.items():
                    for each in held:
                        imagined[name].insert(each)
            absent = (name for name in verdicts.wanting if str(image.SOPInstanceUID) not in imagined[name])
            imagined.insert(image, tuple(absent))
            reasons = self._reasons(imagined)
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or None

    def take(self, container_key: str) -> TakenContainer:
        """Take a patient whose inputs are complete out of the tree; its instances stay known.

        Raises
        ------
        InputsIncompleteError
            When something is missing.
        CheckFailedError
            When a plugin's validation raised.
        """
        with self._lock:
            missing = self.missing(container_key)
            if missing is not None:
                raise InputsIncompleteError(missing)
            return _taken(container_key, self._containers.pop(container_key))

    def fits(self, container_key: str, images: Iterable[tuple[LazyDataset, Iterable[str]]]) -> bool:
        """Say whether images that were taken out could wait together with those that came meanwhile."""
        with self._lock:
            waiting = self._containers.get(container_key)
            return waiting is None or not any(
                waiting.container[name].conflict(image)
                for image, names in images
                for name in names
                if name in waiting.container
            )

    def put_back(
        self,
        container_key: str,
        images: Iterable[tuple[LazyDataset, Iterable[str]]],
        last_image: float | None = None,
    ) -> None:
        """Put images that were taken out into their inputs again; what is there already stays.

        Parameters
        ----------
        container_key : str
            The patient container's.
        images : iterable of (LazyDataset, iterable of str)
            Each with the names of its inputs.
        last_image : float, optional
            When the last of them came (monotonic seconds), if no other has come meanwhile; now, if not given.
        """
        with self._lock:
            waiting = self._containers.get(container_key)
            if waiting is None:
                waiting = _Waiting(self._new_container(container_key), self._now())
                if last_image is not None:
                    waiting.last_image = last_image
                self._containers[container_key] = waiting
            for image, names in images:
                known = tuple(name for name in names if name in waiting.container)
                missing = tuple(name for name in known if image.SOPInstanceUID not in waiting.container[name])
                waiting.container.insert(image, missing)
                self._held[str(image.SOPInstanceUID)] = image.file

    def replace(
        self,
        old: Path,
        image: LazyDataset,
        placement: Placement,
        record: Callable[[], None],
        *,
        of_job: bool,
    ) -> bool:
        """Put an image in the place of the one of its UID, so that nobody finds neither or both.

        Parameters
        ----------
        old : pathlib.Path
            The file whose place it takes.
        image : LazyDataset
            The image, under its final path.
        placement : Placement
            From :meth:`place`.
        record : callable
            Enters it in the ledger; called under the lock.
        of_job : bool
            Whether that may be the input of a job, too.

        Returns
        -------
        bool
            Whether it was done: not, if the other is here no more, or became the input of a job.

        Raises
        ------
        ImageRefusedError
            When the other images that wait keep it out. The other stays in its place.
        """
        uid = str(image.SOPInstanceUID)
        with self._lock:
            container_key = self._where(uid)
            if self._held.get(uid) != str(old) or (container_key is None and not of_job):
                return False
            if container_key is None:
                record()
                self._held[uid] = image.file
                return True
            waiting = self._containers[container_key]
            before = [(name, held.get(uid)) for name, held in waiting.container.items() if uid in held]
            waiting.container.remove(uid)
            try:
                self.insert(image, placement, record)
            except ImageRefusedError:
                for name, kept in before:
                    waiting.container[name].insert(_lazy(kept))
                raise
            if waiting.container.empty:
                del self._containers[container_key]
            return True

    def expire(self, container_key: str, age: float) -> TakenContainer | None:
        """Take all images of a patient out, if the last one came ``age`` seconds ago or earlier."""
        with self._lock:
            waiting = self._containers.get(container_key)
            if waiting is None or self._now() - waiting.last_image < age:
                return None
            taken = _taken(container_key, self._containers.pop(container_key))
            self.forget((str(image.SOPInstanceUID), image.path) for image in taken.images)
            return taken

    def forget(self, instances: Iterable[tuple[str, Path]]) -> None:
        """Forget instances (SOP Instance UID and file) that nobody needs now, so that they may come again."""
        with self._lock:
            for uid, path in instances:
                if self._held.get(uid) == str(path):
                    del self._held[uid]

    # -- looking ------------------------------------------------------------------------------------------

    def quiet_for(self, container_key: str) -> float | None:
        """Return the seconds since a patient's last image, or ``None`` when nothing waits."""
        with self._lock:
            waiting = self._containers.get(container_key)
            return None if waiting is None else self._now() - waiting.last_image

    def waits(self, SOPInstanceUID: str) -> bool:  # noqa: N803 - DICOM's own spelling
        """Say whether an instance waits in a container."""
        with self._lock:
            return self._where(SOPInstanceUID) is not None

    def keys(self) -> list[str]:
        """Return the keys of all patient containers."""
        with self._lock:
            return list(self._containers)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return container key -> input -> number of images."""
        with self._lock:
            return {
                container_key: {name: len(held) for name, held in waiting.container.items()}
                for container_key, waiting in self._containers.items()
            }

    def container_key(self, image: LazyDataset) -> str:
        """Return the key of the patient container of an image.

        Raises
        ------
        NoIdentifierError
            When the image has nothing that the pipeline could gather it by.
        CheckFailedError
            When the pipeline's own function raised.
        """
        pipeline = self.configured.pipeline
        try:
            container_key = pipeline.container_key(image)
        except Exception as error:
            msg = f"{type(pipeline).__name__}.container_key raised {type(error).__name__}"
            raise CheckFailedError(msg) from error
        if not container_key:
            tag = Tag(pipeline.patient_identifier_tag)
            msg = f"{keyword_for_tag(tag)} {tag} is missing or empty".strip()
            raise NoIdentifierError(msg)
        return container_key

    def _where(self, uid: str) -> str | None:
        """Return the key of the container in which an instance waits. The lock is held."""
        for container_key, waiting in self._containers.items():
            if any(uid in held for held in waiting.container.values()):
                return container_key
        return None

    def _new_container(self, container_key: str) -> PatientContainer:
        container = PatientContainer(
            container_key, self.configured.pipeline.inputs, self.configured.copied_tags
        )
        for name, status in self._histories.get(container_key, {}).items():
            _tell_history(container, name, status)
        return container

    def _reasons(self, container: PatientContainer) -> dict[str, str]:
        """Return input -> what is missing, of those inputs that hold the patient back."""
        pipeline = self.configured.pipeline
        container_key, patient_id = container.container_key, container.patient_id
        reasons = {}
        for name, held in container.items():
            reason = _checked(
                name,
                partial(self._hooks.validate_input, pipeline, container_key, patient_id, name, held),
            )
            if reason is not None:
                reasons[name] = reason
        for group in pipeline.alternatives:
            if any(name not in reasons and len(container[name]) for name in group):
                for name in group:
                    if not len(container[name]):
                        reasons.pop(name, None)
        return reasons


def _tell_history(container: PatientContainer, name: str, status: HistoryStatus) -> None:
    held = container.get(name)
    if isinstance(held, HistoricAbstractInput):
        held.history = status


def _taken(container_key: str, waiting: _Waiting) -> TakenContainer:
    inputs = {name: tuple(map(_lazy, held)) for name, held in waiting.container.items()}
    return TakenContainer(container_key, inputs, waiting.last_image)


def _checked(name: str, check: Callable[[], str | None]) -> str | None:
    """Ask a plugin, whatever it does."""
    try:
        return check()
    except Exception as error:
        msg = f"the validation of input {name!r} raised {type(error).__name__}"
        raise CheckFailedError(msg) from error


def _lazy(image: object) -> LazyDataset:
    if not isinstance(image, LazyDataset):
        msg = f"the tree holds a {type(image).__name__}"
        raise TypeError(msg)
    return image
