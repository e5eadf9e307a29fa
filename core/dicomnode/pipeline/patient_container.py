"""All inputs of one patient, study or series in one pipeline, while their images gather."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ParamSpec, Self, TypeVar

from pydicom.dataset import Dataset

from dicomnode.dicom.tree.dicom_tree import SeriesTree
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from dicomnode.dicom.tree.tree_text import TextNode, counted
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ImageRefusedError
from dicomnode.pipeline.container import patient_id_of
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput, by_series

P = ParamSpec("P")
T = TypeVar("T")

ValidateInput = Callable[[str, AbstractInput], "str | None"]
"""Input name and the input -> what is missing, or ``None``."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """What a container has, and lacks.

    Attributes
    ----------
    inputs : mapping of str to AbstractInput
        The inputs as a job would get them: each with the series that was chosen.
    missing : mapping of str to str
        Input -> what holds the container back, in words. Empty where it is complete.
    proof : str
        What proves that every input is whole, in words; empty where nothing does.
    """

    inputs: Mapping[str, AbstractInput]
    missing: Mapping[str, str] = field(default_factory=dict)
    proof: str = ""
    undecided: str = ""
    """Several series (or studies) fit where one is taken: which, in words."""
    raised: Mapping[str, Exception] = field(default_factory=dict)
    """Input -> what its author's code raised, where that was to be kept."""

    @property
    def images(self) -> tuple[Dataset, ...]:
        """Every image that a job would get, once."""
        each = {str(image.SOPInstanceUID): image for held in self.inputs.values() for image in held}
        return tuple(each.values())

    def __str__(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())


class PatientContainer(ImageTreeInterface):
    """The inputs of one container of a pipeline, and the images that they hold.

    An image that several inputs take is held once and is in each of them. Which images belong together is
    not asked here: a :class:`~dicomnode.PipelineTree` divides images into containers.

    Parameters
    ----------
    container_key : str
        What the images have in common, as a name: a Patient ID, say. The host makes it of stored bytes; see
        :class:`~dicomnode.pipeline.gather_key.Grouping`.
    inputs : mapping of str to type of AbstractInput
        The pipeline's inputs by name.
    copied_tags : mapping of str to collection of int
        Input name -> the tags that the pipeline's blueprint copies from its images.
    alternatives : sequence of collections of str
        Groups of inputs of which one is enough.

    Examples
    --------
    >>> container = PatientContainer("4711", MyPipeline.inputs)  # doctest: +SKIP
    >>> container.add_images(images)  # doctest: +SKIP
    >>> container.missing()  # doctest: +SKIP
    'ct: 12 of 48 images'
    """

    def __init__(
        self,
        container_key: str,
        inputs: Mapping[str, type[AbstractInput]],
        copied_tags: Mapping[str, Collection[int]] = MappingProxyType({}),
        alternatives: Sequence[Collection[str]] = (),
    ) -> None:
        super().__init__()
        self.container_key = container_key
        self._inputs = {name: kind(name, copied_tags.get(name, ())) for name, kind in inputs.items()}
        self._alternatives = alternatives
        self._fetching = tuple(
            name for name, kind in inputs.items() if issubclass(kind, HistoricAbstractInput)
        )

    @property
    def inputs(self) -> Mapping[str, AbstractInput]:
        """The inputs by name."""
        return MappingProxyType(self._inputs)

    # -- images come and go -------------------------------------------------------------------------------

    def add_image(self, image: Dataset) -> None:
        """Add an image to every input whose rules take it.

        Raises
        ------
        ImageRefusedError
            When no input takes it; the message says for each input why.
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        """
        reasons = {name: held.why_not(image) for name, held in self._inputs.items()}
        names = tuple(name for name, reason in reasons.items() if reason is None)
        if not names:
            raise ImageRefusedError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.insert(image, names)

    def insert(self, image: Dataset, names: Collection[str]) -> tuple[str, ...]:
        """Add an image to the inputs that were found to take it; return those that it joins.

        An earlier image that an input has fetched goes to that input, and no image that was not fetched does.

        Raises
        ------
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        Exception
            What the code of an input raises: then the image is not here.
        """
        joined = self.joins(image, names)
        self._hold(image, joined)
        return joined

    def _hold(self, image: Dataset, names: Collection[str]) -> None:
        self._insert(image)
        try:
            for name in names:
                self._inputs[name].insert(image)
        except BaseException:
            self.remove(str(image.SOPInstanceUID))
            raise

    def joins(self, image: Dataset, names: Collection[str]) -> tuple[str, ...]:
        """Return the inputs that an image joins, of those that were found to take it."""
        fetching = [name for name in self._fetching if self._inputs[name].claims(image)]
        if fetching:
            return tuple(name for name in fetching if name in names)
        return tuple(name for name in names if name in self._inputs and name not in self._fetching)

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out, of every input that holds it.

        Raises
        ------
        ImageTreeError
            When it is not here.
        """
        super().remove(SOPInstanceUID)
        for held in self._inputs.values():
            if SOPInstanceUID in held:
                held.remove(SOPInstanceUID)

    def filter(self, wanted: Callable[[Dataset], bool]) -> Self:
        """Return a container with the images for which a function is true, in the inputs that hold them."""
        made = self._empty()
        for image in self:
            if wanted(image):
                made._hold(image, self.inputs_of(image))
        return made

    def _empty(self) -> Self:
        made = super()._empty()
        made._inputs = {name: held.filter(lambda _: False) for name, held in self._inputs.items()}
        return made

    def inputs_of(self, image: Dataset) -> tuple[str, ...]:
        """Return the names of the inputs that hold an image."""
        return tuple(name for name, held in self._inputs.items() if image.SOPInstanceUID in held)

    @property
    def patient_id(self) -> str:
        """The Patient ID (0010,0020) of the images, as the first one has it; empty where it has none."""
        return patient_id_of(self)

    def counts(self) -> dict[str, int]:
        """Return input -> number of images."""
        return {name: len(held) for name, held in self._inputs.items()}

    # -- is it complete? ----------------------------------------------------------------------------------

    def missing(self) -> str | None:
        """Say what the inputs are missing, or ``None`` when they are complete."""
        return str(self.completeness()) or None

    def completeness(
        self,
        validate: ValidateInput | None = None,
        chosen: Mapping[str, str] = MappingProxyType({}),
        *,
        raising: bool = True,
    ) -> Completeness:
        """Find out what a job would get, and what is missing.

        Parameters
        ----------
        validate : callable, optional
            What is asked for each input; its own rules, where it is not given.
        chosen : mapping of str to str, optional
            Input -> the Series Instance UID that somebody has chosen for it.
        raising : bool
            Whether what an author's code raises is raised here; else its input counts as not complete.

        Raises
        ------
        Exception
            What ``validate``, ``choose_series`` or a function as ``expected_images`` raises.
        """
        author = _AuthorsCode(raising=raising)
        inputs: dict[str, AbstractInput] = {}
        missing: dict[str, str] = {}
        undecided: list[str] = []
        for name, held in self._inputs.items():
            choice, reason = author.ask(name, "choose_series", _chosen, held, chosen.get(name))
            inputs[name], reason = choice or (held, reason)
            if reason is not None:
                undecided.append(f"{name}: {reason}")
            else:
                said, raised = author.ask(name, "its validation", validate or _missing, name, inputs[name])
                reason = raised or said
            if reason is not None:
                missing[name] = reason
        self._forgive(inputs, missing)
        proofs = {
            name: author.ask(name, "expected_images", AbstractInput.proof, held)[0]
            for name, held in inputs.items()
        }
        proof = "; ".join(f"{name}: {text}" for name, text in proofs.items()) if all(proofs.values()) else ""
        return Completeness(inputs, missing, proof, "; ".join(undecided), author.raised)

    def _forgive(self, inputs: Mapping[str, AbstractInput], missing: dict[str, str]) -> None:
        """Leave out what empty inputs are missing of which another one is enough."""
        for group in self._alternatives:
            if any(name not in missing and len(inputs[name]) for name in group):
                for name in group:
                    if not len(inputs[name]):
                        missing.pop(name, None)

    def text_node(self, found: Completeness) -> TextNode:
        """Return what is printed of it: a line for each input, with what it is missing."""
        lines = []
        for name, held in self._inputs.items():
            missing = found.missing.get(name)
            label = f"{name}: {counted(len(held), 'image')}{'' if missing is None else f' ({missing})'}"
            lines.append(TextNode(safe_text(label)))
        return TextNode(f"{safe_text(self.container_key)}: {counted(len(self), 'image')}", tuple(lines))

    def _text_node(self) -> TextNode:
        node = self.text_node(self.completeness(raising=False))
        return replace(node, label=f"{type(self).__name__} {node.label}")

    def __repr__(self) -> str:
        held = ", ".join(f"{name}: {count}" for name, count in self.counts().items())
        return f"<{type(self).__name__}: {held}>"


class _AuthorsCode:
    """Asks the code of a pipeline's author, and keeps what it raises where that is wanted."""

    def __init__(self, *, raising: bool) -> None:
        self._raising = raising
        self.raised: dict[str, Exception] = {}

    def ask(
        self, name: str, what: str, question: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> tuple[T | None, str | None]:
        """Return what an input's code returns, or ``None`` and what it raised, in words."""
        try:
            return question(*given, **named), None
        except Exception as error:
            if self._raising:
                raise
            self.raised[name] = error
            return None, f"{what} raised {type(error).__name__}: {error}"


def _missing(_name: str, held: AbstractInput) -> str | None:
    return held.missing()


def _chosen(held: AbstractInput, uid: str | None) -> tuple[AbstractInput, str | None]:
    """Return an input with the images that a job would get, and what keeps a job from starting.

    An input takes one series, unless it says otherwise, and one study.
    """
    series = by_series(held)
    if uid is not None and uid in series:
        return _holding(held, series[uid]), None
    if not held.several_series and len(series) > 1:
        return _choose(held, series)
    studies = list(dict.fromkeys(str(image.StudyInstanceUID) for image in held))
    if not held.several_studies and len(studies) > 1:
        return held, f"images of {len(studies)} studies, and a job takes one: {', '.join(studies)}"
    return held, None


def candidates_of(held: AbstractInput) -> list[SeriesTree]:
    """Return the series that have come for an input, in order of arrival."""
    candidates = []
    for uid, images in by_series(held).items():
        candidate = SeriesTree(uid)
        candidate.add_images(images)
        candidates.append(candidate)
    return candidates


def _choose(held: AbstractInput, series: Mapping[str, list[Dataset]]) -> tuple[AbstractInput, str | None]:
    choice = held.choose_series(candidates_of(held))
    chosen = choice.key if isinstance(choice, SeriesTree) else choice
    if chosen is None:
        fitting = ", ".join(f"{each} ({len(images)} images)" for each, images in series.items())
        return held, f"{len(series)} series fit, and a job takes one: {fitting}"
    if chosen not in series:
        return held, f"{type(held).__name__}.choose_series chose {chosen!r}, which is none of the candidates"
    return _holding(held, series[chosen]), None


def _holding(held: AbstractInput, images: Sequence[Dataset]) -> AbstractInput:
    """Return an input like another one that holds only some of its images."""
    made = held.filter(lambda _: False)
    for image in images:
        made.insert(image)
    return made
