"""Pipelines declared in the configuration: inputs, elements, outputs by name, a function that processes.

A declaration is plain data (:class:`~dicomnode.plugins.declared_tables.DeclaredPipeline`). The host makes a
class of it to sort images, and the worker makes the same class of the same data to process them; only the
worker imports the function.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import FillingStrategy
from dicomnode.dicom.building.built_series import BuiltSeries
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.geometry.grinders import DicomTreeGrinder, Grinder, ListGrinder, NumpyGrinder, TagGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.tree.dicom_tree import SeriesTree
from dicomnode.errors import ConfigurationError, OutputError
from dicomnode.pipeline.container import InputContainer
from dicomnode.pipeline.inputs import AbstractInput, Not
from dicomnode.pipeline.outputs import DicomOutput, PipelineOutput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.declared_blueprint import declared_blueprint
from dicomnode.plugins.declared_tables import DeclaredPipeline, GrinderTable, InputTable, OutputTable
from dicomnode.plugins.object_import import import_object
from dicomnode.plugins.registry import Registration, Registry, owner_of
from dicomnode.plugins.source import SourceError, Sources

_GRINDERS: Mapping[str, Callable[..., Grinder]] = {
    "volume": NumpyGrinder,
    "list": ListGrinder,
    "tree": DicomTreeGrinder,
    "tags": TagGrinder,
}
_MADE_HERE = {"input", "grinder", "required_values", "choose_series"}
"""The keys of an input that stand for something else than their value."""
_ANY = "images"
"""The registered input that takes any image."""
_MATCHES = {"matches"}
_NOT = {"not"}
_WHOLE = (np.ndarray, Volume, Dataset, BuiltSeries, Mapping, bytes, str)
"""What a function returns that is one thing, although it can be iterated over."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A pipeline's class, and which distribution it comes from."""

    registration: Registration
    kind: type[AbstractPipeline]


def resolve_pipeline(
    registry: Registry, name: str, plugin: str | None = None, declared: Mapping[str, Any] | None = None
) -> Resolved:
    """Return the class of a configured pipeline: a registered one, one that a table declares, or both in one.

    Parameters
    ----------
    registry : Registry
        The plugins.
    name : str
        The table's name in the configuration.
    plugin : str, optional
        The name of the entry point, when it is not the table's.
    declared : mapping, optional
        What :meth:`~dicomnode.plugins.declared_tables.DeclaredPipeline.declaration` returned.

    Raises
    ------
    PluginError
        When something that is named is not registered, or cannot be used.
    ConfigurationError
        When the declaration contradicts itself; the message names the key.
    """
    table = DeclaredPipeline.model_validate(declared or {})
    step = table.process
    if step is None or ":" not in step:
        registration = registry.registration("pipelines", step or plugin or name)
        kind: type[AbstractPipeline] = registry.load("pipelines", registration.name)
        if not declared:
            return Resolved(registration, kind)
        if table.outputs is not None:
            msg = f"outputs: the registered pipeline {registration.name!r} makes its outputs itself"
            raise ConfigurationError(msg)
        return Resolved(registration, _subclass(kind, name, table, registry))
    if plugin not in (None, step):
        msg = f"plugin: {plugin!r} and process = {step!r} cannot both say what processes"
        raise ConfigurationError(msg)
    if not table.inputs:
        msg = 'inputs: a pipeline that is declared needs at least one, such as inputs = { images = "images" }'
        raise ConfigurationError(msg)
    outputs = {"_outputs": _outputs(table.outputs, registry), "_step": step}
    return Resolved(
        function_registration(step), _subclass(FunctionPipeline, name, table, registry, **outputs)
    )


def changed_pipeline(
    kind: type[AbstractPipeline], name: str, declared: Mapping[str, Any], registry: Registry
) -> type[AbstractPipeline]:
    """Return a pipeline's class with what a table changes: inputs, blueprint, what patients go by."""
    return _subclass(kind, name, DeclaredPipeline.model_validate(declared), registry)


def _subclass(
    base: type[AbstractPipeline], name: str, table: DeclaredPipeline, registry: Registry, **own: Any
) -> type[AbstractPipeline]:
    """Return a class that differs from its base in what the table says."""
    if table.inputs is not None:
        own["inputs"] = {**base.inputs, **_inputs(base, table.inputs, registry)}
    if table.blueprint is not None:
        own["blueprint"] = declared_blueprint(table.blueprint, registry)
    if table.filling_strategy is not None:
        own["filling_strategy"] = FillingStrategy(table.filling_strategy)
    for key in ("header_input",):
        if getattr(table, key) is not None:
            own[key] = getattr(table, key)
    return type(
        name, (base,), {"__module__": __name__, "__doc__": f"The pipeline {name!r} as declared.", **own}
    )


def _inputs(
    base: type[AbstractPipeline], tables: Mapping[str, InputTable], registry: Registry
) -> dict[str, type[AbstractInput]]:
    """Return the inputs that a pipeline's table declares, or changes where an installed one has them."""
    for name in tables:
        if base.inputs and name not in base.inputs:
            known = ", ".join(base.inputs)
            msg = f"inputs.{name}: the installed pipeline has no such input; it has: {known}"
            raise ConfigurationError(msg)
    return {name: _input(name, table, registry, base.inputs.get(name)) for name, table in tables.items()}


def _input(
    name: str, table: InputTable, registry: Registry, changed: type[AbstractInput] | None
) -> type[AbstractInput]:
    """Return a subclass of a registered input, or of a pipeline's own, with what a table changes."""
    base: type[AbstractInput]
    if table.input is None and changed is not None:
        base = changed
    else:
        base = registry.load("inputs", table.input or _ANY)
    own = {key: value for key, value in table.model_dump(exclude=_MADE_HERE).items() if value is not None}
    if table.required_values is not None:
        where = f"inputs.{name}.required_values"
        own["required_values"] = {
            tag: _rule(rule, f"{where}.{tag}") for tag, rule in table.required_values.items()
        }
    if table.grinder is not None:
        own["image_grinder"] = _grinder(table.grinder, f"inputs.{name}.grinder")
    if table.choose_series is not None:
        own["choose_series"] = _choice(table.choose_series, f"inputs.{name}.choose_series")
    kind: type[AbstractInput] = type(
        name, (base,), {"__module__": __name__, "__doc__": f"The input {name!r} as declared.", **own}
    )
    try:
        kind.indexed_tags()
    except ValueError as error:
        msg = f"inputs.{name}: {error}"
        raise ConfigurationError(msg) from error
    return kind


def _rule(declared: Any, where: str) -> Any:
    if not isinstance(declared, Mapping):
        return tuple(declared) if isinstance(declared, list) else declared
    if set(declared) == _NOT:
        forbidden = declared["not"]
        each = forbidden if isinstance(forbidden, list) else [forbidden]
        return Not(*(_rule(one, f"{where}.not") for one in each))
    if set(declared) != _MATCHES:
        msg = (
            f'{where}: a rule is a value, a list of values, {{ matches = "regular expression" }}, or'
            " { not = [values] }"
        )
        raise ConfigurationError(msg)
    try:
        return re.compile(declared["matches"])
    except (re.error, TypeError) as error:
        msg = f"{where}: {declared['matches']!r} is not a regular expression: {error}"
        raise ConfigurationError(msg) from error


def _choice(declared: str, where: str) -> Callable[[AbstractInput, Sequence[SeriesTree]], Any]:
    """Return the method of an input that chooses a series."""
    choose = _CHOICES.get(declared)
    if choose is None and ":" not in declared:
        msg = f"{where}: {declared!r} is none of: {', '.join(_CHOICES)}, module:function"
        raise ConfigurationError(msg)
    chosen_by = choose or import_object(declared, where)
    return lambda _, candidates: chosen_by(candidates)


def _largest(candidates: Sequence[SeriesTree]) -> SeriesTree | None:
    """Choose the series with the most images; none of two that have equally many."""
    second, largest = sorted(candidates, key=len)[-2:]
    return largest if len(largest) > len(second) else None


_CHOICES: Mapping[str, Callable[[Sequence[SeriesTree]], SeriesTree | None]] = {"largest": _largest}


def _grinder(table: GrinderTable, where: str) -> Grinder:
    make: Any = _GRINDERS.get(table.grinder)
    if make is None and ":" not in table.grinder:
        known = ", ".join(_GRINDERS)
        msg = f"{where}: there is no grinder {table.grinder!r}; there are: {known}, and module:object"
        raise ConfigurationError(msg)
    if make is None:
        make = import_object(table.grinder, where)
        if not isinstance(make, type) and not (table.tags or table.options):
            return make  # type: ignore[no-any-return]  # anything that can be called with images will do
    try:
        return make(*table.tags, **table.options)  # type: ignore[no-any-return]  # the class that the table names says what it makes
    except TypeError as error:
        msg = f"{where}: {table.grinder}: {error}"
        raise ConfigurationError(msg) from error


def _outputs(tables: tuple[OutputTable, ...] | None, registry: Registry) -> tuple[Any, ...]:
    chosen = (OutputTable(output="dicom"),) if tables is None else tables
    return tuple((registry.load("outputs", table.output), table.arguments) for table in chosen)


class FunctionPipeline(AbstractPipeline):
    """A pipeline whose processing step is a function, named by the configuration.

    The function is called with the :class:`~dicomnode.InputContainer`, and with the settings as keyword
    arguments. Each declared output is made of what it returns; for a DICOM output an array (or
    :class:`~dicomnode.Volume`) is built into a series with the pipeline's header first. Outputs that it
    returns itself are taken as they are.
    """

    Settings: ClassVar[type[Any]] = dict
    _step: ClassVar[str]
    _outputs: ClassVar[tuple[tuple[type[PipelineOutput], Mapping[str, Any]], ...]]

    @classmethod
    def check_definition(cls) -> None:
        """Check the inputs, and that the function is there, without importing it."""
        super().check_definition()
        _check_function(cls._step)

    def setup(self) -> None:
        """Import the function. Runs in a worker process."""
        self._function = import_object(self._step, "process")
        try:
            inspect.signature(self._function).bind(None, **self.settings)
        except (TypeError, ValueError) as error:
            given = ", ".join(("inputs", *map(str, self.settings)))
            msg = (
                f"process: {self._step} cannot be called as {self._step.partition(':')[2]}({given}): {error}"
            )
            raise ConfigurationError(msg) from error

    def process(self, inputs: InputContainer) -> PipelineOutput | Iterable[PipelineOutput]:
        """Call the function, and make outputs of what it returns."""
        result = self._function(inputs, **self.settings)
        if isinstance(result, PipelineOutput):
            return result
        if isinstance(result, Iterable) and not isinstance(result, _WHOLE):
            result = list(result)
            if result and all(isinstance(each, PipelineOutput) for each in result):
                return result
        if result is None:
            msg = (
                f"{self._step} returned None. Return an array, datasets, files by name, or NoOutput() when"
                " there is nothing to deliver."
            )
            raise OutputError(msg)
        return [self._output(kind, result, arguments, inputs) for kind, arguments in self._outputs]

    def _output(
        self, kind: type[PipelineOutput], result: Any, arguments: Mapping[str, Any], inputs: InputContainer
    ) -> PipelineOutput:
        if issubclass(kind, DicomOutput) and isinstance(result, np.ndarray | Volume):
            result = NumpyFactory().build_series(inputs.header, result)
        try:
            return kind(result, **arguments)
        except (TypeError, ValueError) as error:
            what = f"the {type(result).__name__} that {self._step} returned"
            msg = f"the output {kind.name!r} cannot be made of {what}: {error}"
            raise OutputError(msg) from error


def function_registration(step: str) -> Registration:
    """Return which distribution a function comes from, as if it were registered.

    The version of a module that no distribution owns is a digest of its source, so that a job is not done by
    another text than it was made for.
    """
    module = step.partition(":")[0]
    owner = owner_of(module.partition(".")[0])
    if owner is None:
        text = Sources().text(module) or ""
        owner = (module, f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:16]}")
    return Registration("pipelines", step, step, *owner, entry_point=None)


def _check_function(step: str) -> None:
    """Raise ConfigurationError where a function is certainly not there. Nothing is imported."""
    module, _, name = step.partition(":")
    sources = Sources()
    try:
        source = sources.module(module)
    except SourceError as error:
        msg = f"process: {error}"
        raise ConfigurationError(msg) from error
    if source is None:
        msg = f"process: {step}: there is no module {module!r} that this Python can import"
        raise ConfigurationError(msg)
    if not name or (not source.opaque and name.partition(".")[0] not in source.bindings):
        msg = f"process: {step}: module {module} has no {name or 'function of no name'}"
        raise ConfigurationError(msg)
