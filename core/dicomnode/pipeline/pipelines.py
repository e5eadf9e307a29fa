"""The base classes of a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.blueprints import derived_image_blueprint
from dicomnode.errors import ConfigurationError, SettingsError
from dicomnode.pipeline.container import InputContainer
from dicomnode.pipeline.gather_key import GatherBy, Grouping
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.outputs import PipelineOutput
from dicomnode.pipeline.secret import MissingVariableError
from dicomnode.pipeline.validation_messages import plain_message

LateImages = Literal["hold", "new", "join"]
"""What becomes of new images that come after a job of their container has started."""

IODCheck = Literal["off", "warn", "block"]
"""What the check of a result against its IOD is for."""


@dataclass(frozen=True)
class NoSettings:
    """The settings class of a pipeline that has no settings."""


class AbstractPipeline(ABC):
    """A pipeline: its inputs, its blueprint, its settings, and what it does.

    The host makes one object where images are sorted, and one in each worker process where :meth:`process`
    runs. Nothing is shared between the two but the settings. ``ae_title``, and what says when and how jobs
    run, can be set for one host in its configuration, too (``[pipelines.NAME]``): ``gather_by``, ``settle``,
    ``open_association_wait``, ``expires``, ``late_images``, ``sorts_before_answer``, ``timeout``,
    ``memory``, ``disk``, ``concurrency``, ``in_order``, ``priority``, ``resources``, ``iod_check``. So can,
    in a declaration, ``inputs``, ``blueprint``, ``filling_strategy`` and ``header_input``. ``alternatives``,
    ``index_also``, ``Settings`` and ``changes_identity`` are the author's alone.

    Attributes
    ----------
    inputs : mapping of str to type of AbstractInput
        The named inputs. All of them must be complete before a job starts.
    alternatives : sequence of collections of str
        Groups of inputs of which one is enough: ``(("ct", "mr"),)``. The others of the group may be empty.
    blueprint : Blueprint
        What the header of a result is made with. The default derives an image series from its source.
    filling_strategy : FillingStrategy
        What becomes of source attributes that the blueprint does not name: ``DISCARD`` (the default) or
        ``COPY``.
    header_input : str, optional
        The input whose images headers are made from. The first one where it is not given.
    gather_by : {"series", "study", "patient"} or sequence of str, optional
        What one job is: the images of a series, a study, a patient, or those that have the same values of
        attributes, by keyword. Where it is not given it follows from the inputs: a series for one input that
        takes one series; a study for inputs that each take one; a patient where an input takes several
        studies or fetches earlier images.
    index_also : collection of str or int
        Further attributes that validation looks at, so that the receiver reads them while an image arrives.
    Settings : type
        A dataclass or pydantic model. ``settings`` of the configuration is validated by it.
    ae_title : str, optional
        The AE title under which it is called. The configuration may say otherwise; without either it is the
        entry point's name in capitals.
    settle : float, optional
        Seconds that are waited after the end of the last association that brought an image of a container,
        for senders that open several. ``None``: as the host is configured (``host.settle``, 5 seconds).
    open_association_wait : float, optional
        Seconds for which an open association holds a container back after the last image that it brought.
        ``None``: as the host is configured (``host.open_association_wait``, 2 minutes).
    expires : float, optional
        Seconds since its last image after which a container that waits is dropped. ``None``: never.
    late_images : {"hold", "new", "join"}
        What becomes of new images that come after a job of their container has started: they are held for the
        operator, they make a job of their own, or they join that job's images. That job is then discarded,
        and a new one, with a number and UIDs of its own, takes its place.
    timeout : float
        Seconds after which a job is ended and counts as failed.
    memory : int, optional
        Bytes of memory of the worker after which its job is ended and counts as failed.
    disk : int, optional
        Bytes that a job may write, as results and in its working folder, before it is ended and counts as
        failed. Ten gigabytes.
    sorts_before_answer : bool
        Whether a C-STORE is answered after the image has found its input (so that a refusal reaches the
        sender), or as soon as the image is durable.
    changes_identity : bool
        Whether results may be of another patient than the images: a pipeline that pseudonymises, say. Unless
        it is set, a result of another patient is not sent out.
    concurrency : int
        How many jobs of this pipeline may run at once, each in a worker process of its own.
    in_order : bool
        Whether a job waits until those that came before it are over.
    priority : int
        Who goes first where resources are short: the higher one.
    resources : mapping of str to int
        What a job takes of the host's ``resources`` while it runs, such as ``{"gpu": 1}``.
    iod_check : {"off", "warn", "block"}
        Whether a result is checked against the tables of its IOD (PS3.3 annex A) before it leaves.

    Parameters
    ----------
    settings : object
        An object of the class :attr:`Settings`.
    """

    inputs: ClassVar[Mapping[str, type[AbstractInput]]] = {}
    alternatives: ClassVar[Sequence[Collection[str]]] = ()
    blueprint: ClassVar[Blueprint] = derived_image_blueprint
    filling_strategy: ClassVar[FillingStrategy] = FillingStrategy.DISCARD
    header_input: ClassVar[str | None] = None
    gather_by: ClassVar[GatherBy | None] = None
    index_also: ClassVar[Collection[str | int]] = ()
    Settings: ClassVar[type[Any]] = NoSettings
    ae_title: ClassVar[str | None] = None
    settle: ClassVar[float | None] = None
    open_association_wait: ClassVar[float | None] = None
    expires: ClassVar[float | None] = None
    late_images: ClassVar[LateImages] = "hold"
    timeout: ClassVar[float] = 3600.0
    memory: ClassVar[int | None] = None
    disk: ClassVar[int | None] = 10 * 2**30
    sorts_before_answer: ClassVar[bool] = True
    changes_identity: ClassVar[bool] = False
    concurrency: ClassVar[int] = 1
    in_order: ClassVar[bool] = False
    priority: ClassVar[int] = 0
    resources: ClassVar[Mapping[str, int]] = {}
    iod_check: ClassVar[IODCheck] = "warn"

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.validated_settings({}) if settings is None else settings

    def setup(self) -> None:  # noqa: B027 - there is nothing to set up in most pipelines
        """Prepare a worker process, once, before its first job: load a model, say."""

    def container_key(self, image: Dataset) -> str:
        """Return what names the container of an image, or an empty text when nothing does.

        The default is made of the stored bytes that :attr:`gather_by` names. Override it for another key,
        made of the image and of nothing else (several processes may ask); read only tags named in
        :attr:`index_also`, or the file is opened for every image.
        """
        return self.grouping().key(image)

    @classmethod
    def has_own_key(cls) -> bool:
        """Say whether the class overrides :meth:`container_key`: `gather_by` says nothing then."""
        return cls.container_key is not AbstractPipeline.container_key

    def empty_input(self, name: str) -> AbstractInput:
        """Return an input that holds no images, to ask its rules about one."""
        made: dict[str, AbstractInput] = self.__dict__.setdefault("_empty_inputs", {})
        if name not in made:
            made[name] = self.inputs[name](name, type(self).copied_tags().get(name, ()))
        return made[name]

    @classmethod
    def grouping(cls, gather_by: GatherBy | None = None) -> Grouping:
        """Return how images are divided into jobs: as said, else as the class says, else by its inputs.

        Raises
        ------
        ConfigurationError
            When an attribute is named that DICOM does not have.
        """
        chosen = cls.gather_by if gather_by is None else gather_by
        if chosen is None:
            kinds = tuple(cls.inputs.values())
            if any(kind.several_studies or issubclass(kind, HistoricAbstractInput) for kind in kinds):
                chosen = "patient"
            else:
                chosen = "series" if len(kinds) == 1 and not kinds[0].several_series else "study"
        return Grouping.of(chosen)

    @abstractmethod
    def process(self, inputs: InputContainer) -> PipelineOutput | Iterable[PipelineOutput]:
        """Make something of a patient's images. Runs in a worker process.

        Parameters
        ----------
        inputs : InputContainer
            What the grinders made of each input, the header, the source datasets and the patient.

        Returns
        -------
        PipelineOutput or iterable of PipelineOutput
            What is to be delivered; :class:`NoOutput` where nothing is.
        """

    @classmethod
    def validated_settings(cls, values: Mapping[str, Any]) -> Any:
        """Return an object of the settings class.

        Parameters
        ----------
        values : mapping of str to Any
            The table ``settings`` of the configuration.

        Raises
        ------
        SettingsError
            Naming each setting that is wrong or unknown.
        """
        known = getattr(cls.Settings, "model_fields", None) or getattr(
            cls.Settings, "__dataclass_fields__", None
        )
        unknown = set() if known is None else set(values) - set(known)
        offered = ", ".join(sorted(known or ())) or "none"
        what = f"unknown setting; {cls.__name__} has: {offered}"
        problems: list[tuple[tuple[str, ...], str]] = [((name,), what) for name in sorted(unknown)]
        held, missing = None, []
        try:
            held = TypeAdapter(cls.Settings).validate_python(
                {name: value for name, value in values.items() if name not in unknown}
            )
        except ValidationError as error:
            problems += [(tuple(map(str, each["loc"])), plain_message(each)) for each in error.errors()]
            causes = [each.get("ctx", {}).get("error") for each in error.errors()]
            missing = [each.variable for each in causes if isinstance(each, MissingVariableError)]
        if problems:
            raise SettingsError(problems, missing if len(missing) == len(problems) else ())
        return held

    @classmethod
    def check_definition(cls) -> None:
        """Check what can be known of the class before any image arrives.

        Raises
        ------
        ConfigurationError
            When it names no input, an input that is not one, or a ``header_input`` that does not exist.
        """
        if not cls.inputs:
            msg = f"{cls.__name__} names no inputs: set `inputs = {{'name': AnInputClass}}`"
            raise ConfigurationError(msg)
        for name, kind in cls.inputs.items():
            if not (isinstance(kind, type) and issubclass(kind, AbstractInput)):
                msg = f"{cls.__name__}.inputs[{name!r}] is {kind!r}, not a subclass of AbstractInput"
                raise ConfigurationError(msg)
        if unknown := {name for group in cls.alternatives for name in group} - set(cls.inputs):
            known = ", ".join(cls.inputs)
            msg = f"{cls.__name__}.alternatives names {', '.join(sorted(unknown))}; its inputs are: {known}"
            raise ConfigurationError(msg)
        if cls.header_input is not None and cls.header_input not in cls.inputs:
            known = ", ".join(cls.inputs)
            msg = f"{cls.__name__}.header_input is {cls.header_input!r}; its inputs are: {known}"
            raise ConfigurationError(msg)

    @classmethod
    def chosen_header_input(cls) -> str:
        """Return the name of the input whose images headers are made from."""
        return cls.header_input or next(iter(cls.inputs))

    @classmethod
    def copied_tags(cls) -> Mapping[str, frozenset[BaseTag]]:
        """Return input name -> the tags that the class's own blueprint copies from that input's images.

        An image that lacks one is refused when it arrives, instead of failing its job. The default blueprint,
        which a pipeline may have without making any use of it, asks for nothing.
        """
        if cls.blueprint is AbstractPipeline.blueprint or not cls.inputs:
            return {}
        return {cls.chosen_header_input(): cls.blueprint.required_tags()}

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the receiver reads while an image arrives, so that sorting opens no file."""
        tags = set(map(Tag, cls.index_also))
        for kind in cls.inputs.values():
            tags |= kind.indexed_tags()
        for copied in cls.copied_tags().values():
            tags |= copied
        return frozenset(tags)


class AbstractThreadedPipeline(AbstractPipeline):
    """A pipeline that answers Success once an image is durable, and sorts it on another thread.

    For senders that must not wait for a slow ``validate_image``. The price: an image that no input wants is
    not refused to its sender, but quarantined (or dropped, with ``on_unwanted = "discard"``).
    """

    sorts_before_answer = False


class AbstractQueuedPipeline(AbstractPipeline):
    """A pipeline that runs one job at a time, in order of arrival: for a GPU, or where the order matters.

    The queue is in the ledger, so it survives a restart.
    """

    concurrency = 1
    in_order = True
