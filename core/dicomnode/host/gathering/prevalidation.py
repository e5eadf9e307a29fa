"""In a receiver process: the rules of the pipelines that are code, as far as they look at the image alone.

The images that wait are in the host, in no receiver process. So here an input is asked with no image in it,
and its answer counts only if neither its code nor a hook has looked at what it holds, or left something for
later in it. Everything else is the host's to ask, which also tells what a plugin raises: nothing is decided
here that would have been decided otherwise there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import DicomnodeError, PluginError
from dicomnode.host.configuration.config import PipelineTable, PluginsTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, installed_pipeline
from dicomnode.host.dimse.store_handler import Prevalidation, Prevalidator
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.overriding import overridden
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

_LOG = logging.getLogger(__name__)

_HOLDING: Final = (
    "__init__",
    "add_image",
    "insert",
    "_insert",
    "remove",
    "was_refused",
    "claims",
    "conflict",
)
"""An input that overrides one of these may know more of what it holds than the images themselves say."""


class LooksAtImagesError(RuntimeError):
    """A rule has looked at the images that an input holds."""


class _Looking(threading.local):
    """Whether a rule has looked at more than the image, on this thread. It may have caught the error."""

    looked = False


_looking = _Looking()


class _Unseen:
    """An input whose images are elsewhere. It comes before the input's own class."""

    _made = False

    @property
    def _images(self) -> dict[str, Dataset]:
        if not self._made:
            return {}
        _looking.looked = True
        raise LooksAtImagesError("the images of this input are in the host")

    @_images.setter
    def _images(self, images: dict[str, Dataset]) -> None:
        """Hold none."""

    def conflict(self, image: Dataset) -> str | None:  # noqa: ARG002 - the input's
        """Leave to the host whether an image can join those that are there."""
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made:
            _looking.looked = True
        super().__setattr__(name, value)


def _unseen(kind: type[AbstractInput], name: str, copied: frozenset[int]) -> AbstractInput | None:
    """Return an input to be asked without its images, or ``None`` where that cannot be."""
    if overridden(kind, AbstractInput, _HOLDING):
        return None
    made: AbstractInput = type(kind.__name__, (_Unseen, kind), {"__module__": kind.__module__})(name, copied)
    made.__dict__["_made"] = True
    return made


def _is_code(kind: type[AbstractInput]) -> bool:
    """Say whether an input's rules are its author's code. Data cost less than asking for them elsewhere."""
    predicates = any(map(callable, kind.required_values.values()))
    return predicates or bool(overridden(kind, AbstractInput, ("validate_image", "why_not")))


def _to_judge(pipeline: type[AbstractPipeline], hooks: Hooks) -> list[str]:
    """Return the inputs of a pipeline that are worth being asked in a receiver process."""
    return [name for name, kind in pipeline.inputs.items() if hooks.plugins_validate_images or _is_code(kind)]


class _PipelineRules:
    """The rules of one pipeline that are code."""

    def __init__(self, pipeline: AbstractPipeline, hooks: Hooks) -> None:
        self._pipeline, self._hooks = pipeline, hooks
        copied = pipeline.copied_tags()
        self._inputs = {
            name: held
            for name in _to_judge(type(pipeline), hooks)
            if (held := _unseen(pipeline.inputs[name], name, copied.get(name, frozenset()))) is not None
        }

    def prevalidation(self, image: LazyDataset) -> Prevalidation | None:
        """Say what can be said without the images that wait."""
        if not self._inputs:
            return None
        try:
            container_key = self._pipeline.container_key(image)
        except Exception:  # the host asks again, and tells
            return None
        if not container_key:
            return None
        reasons = {}
        for name, held in self._inputs.items():
            _looking.looked = False
            try:
                reason = self._hooks.validate_image(self._pipeline, name, held, image)
            except Exception:  # noqa: S112 - as above
                continue
            if not _looking.looked:
                reasons[name] = reason
        return Prevalidation(container_key, reasons)


class PipelineRules:
    """A :class:`~dicomnode.host.dimse.store_handler.Prevalidator`: the rules of all pipelines, by AE title.

    Parameters
    ----------
    rules : mapping of str to object
        Called AE title -> the rules of its pipeline.
    """

    def __init__(self, rules: Mapping[str, _PipelineRules]) -> None:
        self._rules = rules

    def __call__(self, called: str, file: str, index: Mapping[int, IndexedValue]) -> Prevalidation | None:
        """Validate an image ahead of the host; ``None`` where the host must ask everything."""
        rules = self._rules.get(called)
        return None if rules is None else rules.prevalidation(LazyDataset(file, index))


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """A pipeline whose rules are asked in receiver processes, as the host knows it.

    Attributes
    ----------
    ae_title, name : str
        Its called AE title, and the name of its table in the configuration.
    table : PipelineTable
        Its configuration.
    distribution, version : str
        Where its class came from.
    """

    ae_title: str
    name: str
    table: PipelineTable
    distribution: str
    version: str

    def load(self, registry: Registry) -> AbstractPipeline:
        """Make the pipeline here, too.

        Raises
        ------
        DicomnodeError
            When it cannot be made, or has been upgraded since the host was started.
        """
        installed = installed_pipeline(self.name, self.table, registry)
        registration = installed.registration
        if (registration.distribution, registration.version) != (self.distribution, self.version):
            msg = f"pipeline {self.name!r} has been upgraded: restart the host"
            raise PluginError(msg)
        return installed.pipeline


@dataclass(frozen=True, slots=True)
class PrevalidatorFactory:
    """What a receiver process is told of the pipelines, as plain data; called there, it loads their rules.

    Attributes
    ----------
    pipelines : tuple of PipelineSpec
        Those that have such rules, sort an image before it is answered, and live in the host's own
        environment.
    plugins : PluginsTable
        Which plugins the configuration allows.
    validating : tuple of str
        The host's plugins that have a say about images.
    """

    pipelines: tuple[PipelineSpec, ...]
    plugins: PluginsTable
    validating: tuple[str, ...]

    @classmethod
    def of(
        cls, configured_pipelines: Iterable[ConfiguredPipeline], plugins: PluginsTable, hooks: Hooks
    ) -> PrevalidatorFactory | None:
        """Describe the configured pipelines; ``None`` where a receiver process need not load any."""
        pipelines = tuple(
            PipelineSpec(
                configured.ae_title,
                configured.name,
                configured.table,
                configured.registration.distribution,
                configured.registration.version,
            )
            for configured in configured_pipelines
            if configured.environment is None
            and configured.policy.sorts_before_answer
            and _to_judge(configured.kind, hooks)
        )
        return cls(pipelines, plugins, hooks.image_validators) if pipelines else None

    def __call__(self) -> Prevalidator:
        """Load the rules.

        Raises
        ------
        PluginError
            When other plugins than the host's would have a say here.
        """
        registry = Registry(self.plugins.disabled, self.plugins.only)
        hooks = Hooks(registry)
        if hooks.image_validators != self.validating:
            raise PluginError("other plugins validate images here than in the host")
        rules = {}
        for each in self.pipelines:
            try:
                rules[each.ae_title] = _PipelineRules(each.load(registry), hooks)
            except DicomnodeError as error:
                _LOG.warning("the rules of pipeline %s are asked in the host: %s", each.name, error)
        return PipelineRules(rules)
