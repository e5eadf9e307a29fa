"""In a receiver process: the rules of the pipelines about single images, asked where an image came.

The rules depend on the image alone, so whoever asks gets the same answer as the host would.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import DicomnodeError, PluginError
from dicomnode.host.configuration.config import PipelineTable, PluginsTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, installed_pipeline
from dicomnode.host.dimse.store_handler import Prevalidation, Prevalidator
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.overriding import overridden
from dicomnode.pipeline.pipeline_tree import AdmissionRules
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

_LOG = logging.getLogger(__name__)


def _is_code(kind: type[AbstractInput]) -> bool:
    """Say whether an input's rules are its author's code. Data cost less than asking for them elsewhere."""
    predicates = any(map(callable, kind.required_values.values()))
    return predicates or bool(overridden(kind, AbstractInput, ("validate_image", "why_not")))


def _worth_asking(pipeline: type[AbstractPipeline], hooks: Hooks) -> bool:
    """Say whether the rules of a pipeline are worth being asked in a receiver process."""
    return hooks.plugins_validate_images or any(map(_is_code, pipeline.inputs.values()))


class PipelineRules:
    """A :class:`~dicomnode.host.dimse.store_handler.Prevalidator`: the rules of all pipelines, by AE title.

    Parameters
    ----------
    rules : mapping of str to AdmissionRules
        Called AE title -> the rules of its pipeline.
    """

    def __init__(self, rules: Mapping[str, AdmissionRules]) -> None:
        self._rules = rules

    def __call__(self, called: str, file: str, index: Mapping[int, IndexedValue]) -> Prevalidation | None:
        """Ask the rules about an image; ``None`` where the host must ask.

        What a plugin raises is for the host to find, and to tell: it asks again.
        """
        rules = self._rules.get(called)
        if rules is None:
            return None
        try:
            admission = rules.admission(LazyDataset(file, index))
        except Exception:
            return None
        return Prevalidation(admission.container_key, admission.reasons)


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
            and _worth_asking(configured.kind, hooks)
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
                rules[each.ae_title] = _rules_of(each.load(registry), each.table, hooks)
            except DicomnodeError as error:
                _LOG.warning("the rules of pipeline %s are asked in the host: %s", each.name, error)
        return PipelineRules(rules)


def _rules_of(pipeline: AbstractPipeline, table: PipelineTable, hooks: Hooks) -> AdmissionRules:
    validate = partial(hooks.validate_image, pipeline)
    return AdmissionRules(pipeline, table.gather_by, validate)
