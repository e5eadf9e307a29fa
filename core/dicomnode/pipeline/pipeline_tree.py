"""All containers of one pipeline: of use in a notebook, and what the host gathers images in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

from pydicom.dataset import Dataset

from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from dicomnode.dicom.tree.tree_text import TextNode
from dicomnode.errors import ImageRefusedError
from dicomnode.pipeline.gather_key import GatherBy
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.patient_container import Completeness, PatientContainer
from dicomnode.pipeline.pipelines import AbstractPipeline

ValidateImage = Callable[[str, Dataset], "str | None"]
"""Input name and an image -> why it does not belong there, or ``None``."""

ValidateInput = Callable[[str, str, AbstractInput], "str | None"]
"""Container key, input name and the input -> what is missing, or ``None``."""


class NoContainerKeyError(ImageRefusedError):
    """The image lacks an attribute by which the pipeline gathers images."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which inputs take an image. It depends on the image and the rules, on nothing that waits.

    Attributes
    ----------
    container_key : str
        The container that the image gathers in.
    reasons : mapping of str to str or None
        Input -> why it does not take the image; ``None`` where it does.
    fetched : bool
        Whether the host has asked for the image as an earlier one.
    """

    container_key: str
    reasons: Mapping[str, str | None]
    fetched: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that take it."""
        return tuple(name for name, reason in self.reasons.items() if reason is None)

    def __str__(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items() if reason is not None)


class AdmissionRules:
    """The rules of a pipeline about single images. They hold no images, so any thread or process may ask.

    Parameters
    ----------
    pipeline : AbstractPipeline
    gather_by : optional
        What one job is, where that is not the pipeline's own word.
    validate_image : callable, optional
        What is asked for each input; its own rules, where it is not given.
    """

    def __init__(
        self,
        pipeline: AbstractPipeline,
        gather_by: GatherBy | None = None,
        validate_image: ValidateImage | None = None,
    ) -> None:
        kind = type(pipeline)
        self.pipeline, self.grouping = pipeline, kind.grouping(gather_by)
        self._inputs = kind.inputs
        self._validate = validate_image or (lambda name, image: pipeline.empty_input(name).why_not(image))
        self._own_key = kind.has_own_key()

    def container_key(self, image: Dataset) -> str:
        """Return the key of an image's container.

        Raises
        ------
        NoContainerKeyError
            When the image lacks an attribute that the key is made of.
        """
        key = self.pipeline.container_key(image) if self._own_key else self.grouping.key(image)
        if not key:
            lacking = "" if self._own_key else self.grouping.lacking(image)
            msg = f"{lacking or type(self.pipeline).__name__ + '.container_key'} is missing or empty"
            raise NoContainerKeyError(msg)
        return key

    def admission(self, image: Dataset, *, fetched_for: str | None = None) -> Admission:
        """Ask every input whether it takes an image.

        Parameters
        ----------
        image : pydicom.Dataset
        fetched_for : str, optional
            The container for which the host has asked for the image as an earlier one: the inputs that fetch
            are asked then, and no others.

        Raises
        ------
        NoContainerKeyError
            When the image lacks an attribute by which the pipeline gathers images.
        """
        fetched = fetched_for is not None
        container_key = self.container_key(image) if fetched_for is None else fetched_for
        reasons: dict[str, str | None] = {}
        for name, each in self._inputs.items():
            if issubclass(each, HistoricAbstractInput) is fetched:
                reasons[name] = self._validate(name, image)
            elif not fetched:
                reasons[name] = "it is not one of the earlier images that were asked for"
        return Admission(container_key, reasons, fetched)


class PipelineTree(ImageTreeInterface):
    """The images that wait for a pipeline, divided into the containers of its jobs.

    Parameters
    ----------
    pipeline : AbstractPipeline
    gather_by : {"series", "study", "patient"} or sequence of str, optional
        What one job is, where that is not the pipeline's own word.
    validate_image, validate_input : callable, optional
        What is asked in the place of the inputs' own rules: the hooks, in the host.

    Raises
    ------
    ConfigurationError
        When the pipeline's class is not defined as it must be, or `gather_by` names what DICOM does not have.
    TypeError
        When a class is given.

    Examples
    --------
    >>> tree = PipelineTree(MyPipeline())  # doctest: +SKIP
    >>> tree.add_images("a/folder")  # doctest: +SKIP
    150
    >>> for key, container in tree.containers.items():  # doctest: +SKIP
    ...     print(key, container.counts(), container.missing())
    """

    def __init__(
        self,
        pipeline: AbstractPipeline,
        gather_by: GatherBy | None = None,
        *,
        validate_image: ValidateImage | None = None,
        validate_input: ValidateInput | None = None,
    ) -> None:
        super().__init__()
        if isinstance(pipeline, type):
            msg = f"PipelineTree takes an object of the pipeline, not its class: {pipeline.__name__}()"
            raise TypeError(msg)
        type(pipeline).check_definition()
        self.pipeline = pipeline
        self.rules = AdmissionRules(pipeline, gather_by, validate_image)
        self._validate_input = validate_input
        self._containers: dict[str, PatientContainer] = {}
        self._key_of: dict[str, str] = {}
        self._histories: dict[str, dict[str, HistoryStatus]] = {}
        self._chosen: dict[str, dict[str, str]] = {}

    @property
    def containers(self) -> Mapping[str, PatientContainer]:
        """The containers by key; none of them is empty."""
        return MappingProxyType(self._containers)

    # -- images come and go -------------------------------------------------------------------------------

    def add_image(self, image: Dataset) -> None:
        """Add an image to the inputs that take it, in the container that it gathers in.

        Raises
        ------
        ImageRefusedError
            When no input takes it; the message says for each input why.
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        """
        admission = self.rules.admission(image)
        if not admission.inputs:
            raise ImageRefusedError(str(admission))
        self.insert(image, admission.container_key, admission.inputs)

    def insert(self, image: Dataset, container_key: str, inputs: Collection[str]) -> tuple[str, ...]:
        """Add an image that was found to belong into a container; return the inputs that it joins.

        Raises
        ------
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        Exception
            What the code of an input raises: then the image is not here.
        """
        self._insert(image)
        container = self._containers.get(container_key) or self._new_container(container_key)
        uid = identifier(image, "SOPInstanceUID")
        try:
            joined = container.insert(image, inputs)
        except BaseException:
            super().remove(uid)
            raise
        self._containers[container_key] = container
        self._key_of[uid] = container_key
        return joined

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out, and its container when that is empty then.

        Raises
        ------
        ImageTreeError
            When it is not here.
        """
        super().remove(SOPInstanceUID)
        key = self._key_of.pop(SOPInstanceUID)
        container = self._containers[key]
        container.remove(SOPInstanceUID)
        if not len(container):
            del self._containers[key]
            self._chosen.pop(key, None)

    def container_of(self, SOPInstanceUID: str) -> str | None:  # noqa: N803 - DICOM's own spelling
        """Return the key of the container that holds an image, ``None`` where none does."""
        return self._key_of.get(SOPInstanceUID)

    def filter(self, wanted: Callable[[Dataset], bool]) -> Self:
        """Return a tree of the same pipeline with the images for which a function is true, where they are."""
        made = self._empty()
        for key, container in self._containers.items():
            if len(kept := container.filter(wanted)):
                made._containers[key] = kept
        made._key_of = {uid: key for uid, key in self._key_of.items() if uid in made._containers.get(key, ())}
        made._images = {uid: image for uid, image in self._images.items() if uid in made._key_of}
        return made

    def _empty(self) -> Self:
        made = super()._empty()
        made._containers, made._key_of = {}, {}
        made._histories = {key: dict(each) for key, each in self._histories.items()}
        made._chosen = {key: dict(each) for key, each in self._chosen.items()}
        return made

    # -- what they hold -----------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """Return container key -> input -> number of images."""
        return {key: container.counts() for key, container in self._containers.items()}

    def missing(self, container_key: str) -> str | None:
        """Say what a container is missing, or ``None`` when it is complete."""
        if container_key not in self._containers:
            return "no image"
        return str(self.completeness(container_key)) or None

    def completeness(self, container_key: str, *, raising: bool = True) -> Completeness:
        """Find out what a job of a container would get, and what is missing.

        Parameters
        ----------
        container_key : str
        raising : bool
            As of :meth:`PatientContainer.completeness`.

        Raises
        ------
        KeyError
            When there is no such container.
        """
        return self._asked(container_key, self._containers[container_key], raising=raising)

    def completeness_with(
        self,
        container_key: str,
        images: Iterable[tuple[Dataset, Collection[str]]],
        *,
        raising: bool = True,
    ) -> Completeness:
        """Find out what a job of a container would get if images came, and what would be missing.

        Nothing changes.

        Parameters
        ----------
        container_key : str
        images : iterable of (Dataset, collection of str)
            Each with the names of the inputs that take it.
        raising : bool
            As of :meth:`PatientContainer.completeness`.
        """
        imagined = self._new_container(container_key)
        there = self._containers.get(container_key)
        for name, held in {} if there is None else there.inputs.items():
            imagined.inputs[name].peer_counts = held.peer_counts
            for each in held:
                imagined.inputs[name].insert(each)
        for image, names in images:
            for name in names:
                if name in imagined.inputs and image.SOPInstanceUID not in imagined.inputs[name]:
                    imagined.inputs[name].insert(image)
        return self._asked(container_key, imagined, raising=raising)

    def _asked(self, container_key: str, container: PatientContainer, *, raising: bool) -> Completeness:
        ask = self._validate_input
        validate = None if ask is None else lambda name, held: ask(container_key, name, held)
        return container.completeness(validate, self._chosen.get(container_key, {}), raising=raising)

    def choose_series(self, container_key: str, SeriesInstanceUID: str) -> tuple[str, ...]:  # noqa: N803 - DICOM's own spelling
        """Choose a series for every input of a container that holds it, and return these inputs."""
        container = self._containers.get(container_key)
        names = tuple(
            name
            for name, held in (() if container is None else container.inputs.items())
            if any(image.SeriesInstanceUID == SeriesInstanceUID for image in held)
        )
        if names:
            self._chosen.setdefault(container_key, {}).update(dict.fromkeys(names, SeriesInstanceUID))
        return names

    def _text_node(self) -> TextNode:
        below = (
            container.text_node(self.completeness(key, raising=False))
            for key, container in self._containers.items()
        )
        return replace(super()._text_node(), children=tuple(below))

    # -- earlier images -----------------------------------------------------------------------------------

    def set_history(self, container_key: str, name: str, status: HistoryStatus) -> None:
        """Tell an input how far the fetching of its earlier images is, now and if it is made anew."""
        self._histories.setdefault(container_key, {})[name] = status
        if (container := self._containers.get(container_key)) is not None:
            _tell_history(container, name, status)

    def history(self, container_key: str, name: str) -> HistoryStatus | None:
        """Return how far the fetching for an input is, or ``None`` where none has begun."""
        return self._histories.get(container_key, {}).get(name)

    def histories(self, container_key: str) -> Mapping[str, HistoryStatus]:
        """Return input -> how far the fetching for it is, as far as one has begun."""
        return MappingProxyType(self._histories.get(container_key, {}))

    def forget_history(self, container_key: str) -> Mapping[str, HistoryStatus]:
        """Forget what was fetched for a container, and return it."""
        return self._histories.pop(container_key, {})

    def _new_container(self, key: str) -> PatientContainer:
        kind = type(self.pipeline)
        container = PatientContainer(key, kind.inputs, kind.copied_tags(), kind.alternatives)
        for name, status in self._histories.get(key, {}).items():
            _tell_history(container, name, status)
        return container


def _tell_history(container: PatientContainer, name: str, status: HistoryStatus) -> None:
    held = container.inputs.get(name)
    if isinstance(held, HistoricAbstractInput):
        held.history = status
