"""The images of one pipeline that wait, shared by the threads that bring, look at and take them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.errors import ImageRefusedError, InputsIncompleteError
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.store_handler import Prevalidation
from dicomnode.host.gathering.known_instances import KnownInstances
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput, asks_peer, by_series
from dicomnode.pipeline.patient_container import Completeness
from dicomnode.pipeline.pipeline_tree import Admission, NoContainerKeyError, PipelineTree
from dicomnode.plugins.hooks import Hooks

T = TypeVar("T")


class CheckFailedError(ImageRefusedError):
    """A plugin's validation raised. The cause is chained."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image belongs: in which container, which inputs take it, and whether the host asked for it."""

    container_key: str
    inputs: tuple[str, ...]
    asked_for: bool = False


@dataclass(frozen=True, slots=True)
class TakenContainer:
    """A container that was taken out, as a job gets it.

    Attributes
    ----------
    container_key : str
    inputs : mapping of str to tuple of LazyDataset
        Input -> the images that a job gets.
    left_out : tuple of LazyDataset
        The images that it does not get: of series that were not chosen.
    last_image : float
        When the last image came (monotonic seconds).
    waited_in : tuple of (LazyDataset, tuple of str)
        Every image that was taken out, with the names of the inputs that held it.
    """

    container_key: str
    inputs: Mapping[str, tuple[LazyDataset, ...]]
    left_out: tuple[LazyDataset, ...]
    last_image: float
    waited_in: tuple[tuple[LazyDataset, tuple[str, ...]], ...]

    @property
    def images(self) -> tuple[LazyDataset, ...]:
        """Every image of a job once, in order of arrival."""
        each = {str(image.SOPInstanceUID): image for images in self.inputs.values() for image in images}
        return tuple(each.values())


class WaitingImages:
    """What waits for one pipeline: a :class:`~dicomnode.PipelineTree` under a lock, with what the host knows.

    Whether an image is admitted is asked without the lock: it depends on the image alone.

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
        self.known = KnownInstances()
        inputs = configured.pipeline.inputs
        self.fetching = frozenset(
            name for name, kind in inputs.items() if issubclass(kind, HistoricAbstractInput)
        )
        """The inputs that fetch earlier images."""
        self._hooks, self._now = hooks, now
        self._tree = PipelineTree(
            configured.pipeline,
            configured.gather_by,
            validate_image=self._validate_image,
            validate_input=self._validate_input,
        )
        self._last_image: dict[str, float] = {}
        self._asked_for: dict[str, str] = {}
        self._lock = threading.RLock()

    @property
    def indexed_tags(self) -> frozenset[int]:
        """The tags that are read of every instance, so that no file is opened to sort it."""
        tags = frozenset(map(int, self.configured.kind.indexed_tags()))
        return tags | self.configured.grouping.indexed | self._hooks.looked_at

    # -- admission: no lock, nothing that waits is asked --------------------------------------------------

    def place(self, image: LazyDataset, prevalidation: Prevalidation | None = None) -> Placement:
        """Find out where an image belongs.

        Parameters
        ----------
        image : LazyDataset
            The image.
        prevalidation : Prevalidation, optional
            What a receiver process has found out of it already.

        Raises
        ------
        NoContainerKeyError
            When it lacks what the pipeline gathers images by.
        CheckFailedError
            When a plugin's validation raised.
        ImageRefusedError
            When no input takes it. The message says for each input why.
        """
        admission = self.admission(image, prevalidation)
        if not admission.inputs:
            if admission.fetched:
                self._note_refused(image, admission)
            raise ImageRefusedError(str(admission))
        return Placement(admission.container_key, admission.inputs, asked_for=admission.fetched)

    def admission(self, image: LazyDataset, prevalidation: Prevalidation | None = None) -> Admission:
        """Ask every input whether it takes an image. Nothing changes.

        Raises
        ------
        NoContainerKeyError
            When the image lacks what the pipeline gathers images by.
        CheckFailedError
            When a plugin's validation raised.
        """
        container_key = self._claimed_by(image) if self._asked_for else None
        if container_key is None and prevalidation is not None:
            return Admission(prevalidation.container_key, prevalidation.reasons)
        try:
            return self._tree.rules.admission(image, fetched_for=container_key)
        except ImageRefusedError:
            raise
        except Exception as error:
            msg = f"{type(self.configured.pipeline).__name__}.container_key raised {type(error).__name__}"
            raise CheckFailedError(msg) from error

    def container_key(self, image: LazyDataset) -> str:
        """Return the key of the container of an image.

        Raises
        ------
        NoContainerKeyError
            When the image has nothing that the pipeline could gather it by.
        CheckFailedError
            When the pipeline's own function raised.
        """
        try:
            return self._tree.rules.container_key(image)
        except NoContainerKeyError:
            raise
        except Exception as error:
            msg = f"{type(self.configured.pipeline).__name__}.container_key raised {type(error).__name__}"
            raise CheckFailedError(msg) from error

    def drops(self, refused: ImageRefusedError) -> bool:
        """Say whether an image is to be dropped, since no input wants it and the pipeline discards such."""
        unwanted = not isinstance(refused, CheckFailedError | NoContainerKeyError)
        return unwanted and self.configured.table.on_unwanted == "discard"

    def _validate_image(self, name: str, image: Dataset) -> str | None:
        return _checked(name, lambda: self._hooks.validate_image(self.configured.pipeline, name, image))

    def _validate_input(self, container_key: str, name: str, held: AbstractInput) -> str | None:
        pipeline, container = self.configured.pipeline, self._tree.containers.get(container_key)
        patient_id = "" if container is None else container.patient_id
        return self._hooks.validate_input(pipeline, container_key, patient_id, name, held)

    def _note_refused(self, image: LazyDataset, admission: Admission) -> None:
        """Let inputs that fetch know of an image that was asked for and refused, so that it is not missed."""
        with self._lock:
            container = self._tree.containers.get(admission.container_key)
            if container is not None:
                for name in admission.reasons:
                    container.inputs[name].was_refused(image)

    # -- images come --------------------------------------------------------------------------------------

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
        Exception
            What the code of an input or `record` raises: then the image is not there.
        """
        uid = identifier(image, "SOPInstanceUID")
        with self._lock:
            self._tree.insert(image, placement.container_key, placement.inputs)
            try:
                record()
            except BaseException:
                self._tree.remove(uid)
                raise
            self._last_image[placement.container_key] = self._now()
            self.known.add(uid, image.file)

    def touch_duplicate(self, SOPInstanceUID: str, path: Path, container_key: str) -> bool:  # noqa: N803 - DICOM's own spelling
        """Count an image that was sent again as its container's last one, if it is still held here."""
        with self._lock:
            if not self.known.is_file_of(SOPInstanceUID, path):
                return False
            if container_key in self._tree.containers:
                self._last_image[container_key] = self._now()
            return True

    def set_age(self, container_key: str, seconds: float) -> None:
        """Say how long ago a container's last image came: before a restart, when this tree was not there."""
        with self._lock:
            if container_key in self._tree.containers:
                self._last_image[container_key] = self._now() - seconds

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
            The container's.
        images : iterable of (LazyDataset, iterable of str)
            Each with the names of its inputs.
        last_image : float, optional
            When the last of them came (monotonic seconds), if no other has come meanwhile; now, if not given.
        """
        inputs = self.configured.pipeline.inputs
        with self._lock:
            if container_key not in self._tree.containers:
                self._last_image[container_key] = self._now() if last_image is None else last_image
            for image, names in images:
                kept = tuple(name for name in names if name in inputs)
                if kept and image.SOPInstanceUID not in self._tree:
                    self._tree.insert(image, container_key, kept)
                    self.known.add(str(image.SOPInstanceUID), image.file)

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
        """
        uid = str(image.SOPInstanceUID)
        with self._lock:
            replaced = self._tree.get(uid)
            if not self.known.is_file_of(uid, old) or (replaced is None and not of_job):
                return False
            if replaced is None:
                record()
                self.known.add(uid, image.file, waiting=False)
                return True
            was_in = self._tree.container_of(uid) or ""
            names = self._tree.containers[was_in].inputs_of(replaced)
            self._tree.remove(uid)
            try:
                self.insert(image, placement, record)
            except BaseException:
                self._tree.insert(replaced, was_in, names)
                raise
            if was_in not in self._tree.containers:
                del self._last_image[was_in]
            return True

    # -- earlier images are fetched -----------------------------------------------------------------------

    def set_history(self, container_key: str, name: str, status: HistoryStatus) -> None:
        """Tell an input how far the fetching of a patient's earlier images is, now and if it is made anew."""
        with self._lock:
            self._tree.set_history(container_key, name, status)
            self._asked_for.update(dict.fromkeys(status.asked_for, container_key))

    def history(self, container_key: str, name: str) -> HistoryStatus | None:
        """Return how far the fetching for an input of a patient is, or ``None`` where none has begun."""
        with self._lock:
            return self._tree.history(container_key, name)

    def forget_history(self, container_key: str) -> None:
        """Forget what was fetched for a patient who went into a job, or was dropped."""
        with self._lock:
            for status in self._tree.forget_history(container_key).values():
                for uid in status.asked_for:
                    if self._asked_for.get(uid) == container_key:
                        del self._asked_for[uid]

    def asked_for(self, image: LazyDataset) -> bool:
        """Say whether an image comes because it was asked for: it says nothing about what others send."""
        return bool(self._asked_for) and self._claimed_by(image) is not None

    def ask_input(self, container_key: str, name: str, question: Callable[[AbstractInput], T]) -> T | None:
        """Ask an input of a patient something, while it does not change; ``None`` where nothing waits."""
        with self._lock:
            container = self._tree.containers.get(container_key)
            return None if container is None else question(container.inputs[name])

    def first_image(self, container_key: str) -> LazyDataset | None:
        """Return an image of a patient that nobody fetched, or ``None`` where none waits."""
        with self._lock:
            container = self._tree.containers.get(container_key)
            if container is None:
                return None
            held = [each for name, each in container.inputs.items() if name not in self.fetching]
            return next((_lazy(image) for each in held for image in each), None)

    def _claimed_by(self, image: LazyDataset) -> str | None:
        """Return the key of the container for which an image was asked for."""
        with self._lock:
            for uid in (str(image.SeriesInstanceUID), str(image.StudyInstanceUID)):
                container_key = self._asked_for.get(uid, "")
                for status in self._tree.histories(container_key).values():
                    if uid in status.asked_for and status.PatientID == image.get("PatientID"):
                        return container_key
            return None

    # -- images go ----------------------------------------------------------------------------------------

    def missing(self, container_key: str) -> str | None:
        """Say what a container's inputs are still missing, or ``None`` when they are complete."""
        found = self.completeness(container_key)
        return "no image" if found is None else str(found) or None

    def completeness(self, container_key: str) -> Completeness | None:
        """Find out what a job of a container would get, and what is missing; ``None`` where nothing waits.

        An input whose own code raised counts as not complete.
        """
        with self._lock:
            if container_key not in self._tree.containers:
                return None
            return self._tree.completeness(container_key, raising=False)

    def may_be_proven(self, container_key: str) -> bool:
        """Say whether it is worth asking for a proof that a container is whole.

        What the code of an input raises here it raises again where completeness is asked for, which tells.
        """
        with self._lock:
            container = self._tree.containers.get(container_key)
            try:
                return container is not None and all(held.proof() for held in container.inputs.values())
            except Exception:
                return False

    def missing_with(self, image: LazyDataset, admission: Admission) -> str | None:
        """Say what a container's inputs would still be missing if an image came. Nothing changes."""
        came = [(image, admission.inputs)]
        with self._lock:
            return str(self._tree.completeness_with(admission.container_key, came, raising=False)) or None

    def can_join(self, container_key: str, images: Iterable[tuple[LazyDataset, Collection[str]]]) -> bool:
        """Say whether images that wait can go into one job with others.

        Not, where an input would hold several series (or studies), takes one, and no choice of its author or
        of the operator falls on one that waits.

        Parameters
        ----------
        container_key : str
        images : iterable of (LazyDataset, collection of str)
            The others, each with the names of its inputs.
        """
        with self._lock:
            found = self._tree.completeness_with(container_key, images, raising=False)
            return not found.undecided and any(
                self._tree.container_of(str(image.SOPInstanceUID)) == container_key for image in found.images
            )

    def take(self, container_key: str) -> TakenContainer:
        """Take a container out whose inputs are complete, as it is now; its instances stay known.

        Raises
        ------
        InputsIncompleteError
            When something is missing, or nothing waits.
        """
        with self._lock:
            found = self.completeness(container_key)
            if found is None or found.missing:
                raise InputsIncompleteError("no image" if found is None else str(found))
            inputs = {
                name: [str(image.SOPInstanceUID) for image in held] for name, held in found.inputs.items()
            }
            chosen = {uid for uids in inputs.values() for uid in uids}
            return self.take_images(container_key, inputs, self.members(container_key).keys() - chosen)

    def take_images(
        self, container_key: str, inputs: Mapping[str, Collection[str]], left_out: Collection[str] = ()
    ) -> TakenContainer:
        """Take images out of a container; they stay known. What came since they were chosen stays.

        Parameters
        ----------
        container_key : str
        inputs : mapping of str to collection of str
            Input -> the SOP Instance UIDs that a job gets.
        left_out : collection of str
            Those that are taken out, too, and that it does not get.

        Raises
        ------
        InputsIncompleteError
            When one of them does not wait there any more; then none is taken out.
        """
        with self._lock:
            container = self._tree.containers.get(container_key)
            uids = dict.fromkeys([*(uid for each in inputs.values() for uid in each), *left_out])
            if container is None or any(uid not in container for uid in uids):
                raise InputsIncompleteError("its images have changed since they were looked at")
            images = {str(image.SOPInstanceUID): _lazy(image) for image in container}
            waited_in = tuple(
                (image, container.inputs_of(image)) for uid, image in images.items() if uid in uids
            )
            taken = TakenContainer(
                container_key,
                {name: tuple(images[uid] for uid in each) for name, each in inputs.items()},
                tuple(images[uid] for uid in left_out),
                self._last_image[container_key],
                waited_in,
            )
            for uid in uids:
                self._tree.remove(uid)
            self.known.not_waiting(uids)
            if container_key not in self._tree.containers:
                del self._last_image[container_key]
            return taken

    def series_to_count(self, container_key: str) -> dict[str, tuple[str, str]]:
        """Return Series Instance UID -> (study, peer) of the series whose number of images a peer knows.

        The peer is empty where it is the one that sent them.
        """
        asked: dict[str, tuple[str, str]] = {}
        with self._lock:
            container = self._tree.containers.get(container_key)
            for held in () if container is None else container.inputs.values():
                expected = type(held).expected_images
                if not asks_peer(expected):
                    continue
                for uid, images in by_series(held).items():
                    if held.peer_counts.get(uid) != len(images):
                        peer = str(expected).partition(":")[2]
                        asked[uid] = (str(images[0].StudyInstanceUID), peer)
        return asked

    def set_peer_count(self, container_key: str, SeriesInstanceUID: str, count: int) -> None:  # noqa: N803 - DICOM's own spelling
        """Tell the inputs of a container how many images a peer says that a series has."""
        with self._lock:
            container = self._tree.containers.get(container_key)
            for held in () if container is None else container.inputs.values():
                if asks_peer(type(held).expected_images):
                    held.peer_counts = {**held.peer_counts, SeriesInstanceUID: count}

    def choose_series(self, container_key: str, SeriesInstanceUID: str) -> tuple[str, ...]:  # noqa: N803 - DICOM's own spelling
        """Choose a series for every input of a container that holds it, and return these inputs."""
        with self._lock:
            return self._tree.choose_series(container_key, SeriesInstanceUID)

    # -- looking ------------------------------------------------------------------------------------------

    def container_of(self, SOPInstanceUID: str) -> str | None:  # noqa: N803 - DICOM's own spelling
        """Return the key of the container in which an image waits, ``None`` where it does not."""
        with self._lock:
            return self._tree.container_of(SOPInstanceUID)

    def holds(self, SOPInstanceUID: str) -> bool:  # noqa: N803 - DICOM's own spelling
        """Say whether an image waits in a container."""
        with self._lock:
            return SOPInstanceUID in self._tree

    def quiet_for(self, container_key: str) -> float | None:
        """Return the seconds since a container's last image, or ``None`` when nothing waits."""
        with self._lock:
            if container_key not in self._tree.containers:
                return None
            return self._now() - self._last_image[container_key]

    def keys(self) -> list[str]:
        """Return the keys of all containers."""
        with self._lock:
            return list(self._tree.containers)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return container key -> input -> number of images."""
        with self._lock:
            return self._tree.counts()

    def members(self, container_key: str) -> dict[str, str]:
        """Return SOP Instance UID -> Series Instance UID of the images of a container."""
        with self._lock:
            container = self._tree.containers.get(container_key)
            images: Collection[Dataset] = () if container is None else tuple(container)
            return {str(image.SOPInstanceUID): str(image.SeriesInstanceUID) for image in images}

    def fetched(self, container_key: str) -> frozenset[str]:
        """Return the SOP Instance UIDs of the earlier images that were fetched for a container."""
        with self._lock:
            container = self._tree.containers.get(container_key)
            held = () if container is None else (container.inputs[name] for name in self.fetching)
            return frozenset(str(image.SOPInstanceUID) for images in held for image in images)

    @contextmanager
    def locked(self) -> Iterator[PipelineTree]:
        """Look at the tree itself, while nothing changes."""
        with self._lock:
            yield self._tree


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
