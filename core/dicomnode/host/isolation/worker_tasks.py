"""Tasks of a worker of another environment besides jobs: describe a pipeline, call its methods.

The workers of :mod:`dicomnode.host.workers.worker_child` run them. What the plugin's code raises is a result,
not a failure of the worker: a method that raises for an odd image must not cost a new process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.tree.dicom_tree import SeriesTree
from dicomnode.errors import ConfigurationError, JobFailedError, SettingsError
from dicomnode.host.configuration.result_content import settings_digest
from dicomnode.host.isolation.description import (
    HISTORIC_DATA,
    INPUT_DATA,
    PIPELINE_DATA,
    InputDescription,
    PipelineDescription,
    rule_to_json,
)
from dicomnode.host.isolation.image_json import image_from_json
from dicomnode.host.jobs.job_failure import failing_as
from dicomnode.pipeline.container import patient_id_of
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput, Not
from dicomnode.pipeline.overriding import overridden
from dicomnode.pipeline.patient_container import candidates_of
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.pipeline_loading import LoadedPipeline, PipelineCache, PipelineRequest

_MOST_REPLICAS = 1024
"""Of how many inputs images are kept; the host sends those of an input again that was dropped."""

_IMAGE_METHODS = ("validate_image", "why_not")
_WHOLE_METHODS = ("validate", "missing", "proof", "choose_series")
_HISTORY_METHODS = ("query", "choose")

_pipelines: PipelineCache[LoadedPipeline] = PipelineCache(lambda loaded: loaded)


def _load(argument: Mapping[str, Any]) -> LoadedPipeline:
    request = PipelineRequest.from_json(argument)
    with failing_as(f"loading the pipeline {request.plugin or request.pipeline!r}"):
        return _pipelines.get(request)


# -- describing -------------------------------------------------------------------------------------------


def describe_pipeline(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a pipeline as data.

    Parameters
    ----------
    argument : mapping
        As :meth:`PipelineRequest.from_json <dicomnode.plugins.pipeline_loading.PipelineRequest.from_json>`
        takes it.

    Returns
    -------
    dict
        ``{"described": PipelineDescription.to_json()}``; or ``{"settings": [[key, problem], ...]}`` or
        ``{"wrong": reason}`` where the configuration is wrong.

    Raises
    ------
    JobFailedError
        When the plugin cannot be loaded.
    """
    try:
        loaded = _load(argument)
    except JobFailedError as error:
        cause = error.__cause__
        if isinstance(cause, SettingsError):
            return {"settings": [[list(key), problem] for key, problem in cause.problems]}
        if isinstance(cause, ConfigurationError):
            return {"wrong": str(cause)}
        raise
    pipeline, kind, registration = loaded.pipeline, type(loaded.pipeline), loaded.registration
    hooked = frozenset(name for plugin in loaded.registry.plugins for name in plugin.hooks)
    described = PipelineDescription(
        kind=kind.__name__,
        distribution=registration.distribution,
        version=registration.version,
        value=registration.value,
        data={name: _plain(getattr(pipeline, name)) for name in PIPELINE_DATA},
        inputs={name: _described_input(each, hooked) for name, each in pipeline.inputs.items()},
        indexed=tuple(sorted(map(int, kind.indexed_tags()))),
        copied={name: tuple(sorted(map(int, tags))) for name, tags in kind.copied_tags().items()},
        remote_methods=overridden(kind, AbstractPipeline, ("container_key",)),
        settings=settings_digest(pipeline.settings),
    )
    return {"described": described.to_json()}


def _described_input(kind: type[AbstractInput], hooked: frozenset[str]) -> InputDescription:
    historic = issubclass(kind, HistoricAbstractInput)
    base = HistoricAbstractInput if historic else AbstractInput
    values = {_name(tag): rule_to_json(rule) for tag, rule in kind.required_values.items()}
    remote = {
        *overridden(kind, base, (*_IMAGE_METHODS, *_WHOLE_METHODS, *(_HISTORY_METHODS if historic else ())))
    }
    if None in values.values() or "dicomnode_validate_image" in hooked:
        remote.add("validate_image")
    if "dicomnode_validate_input" in hooked:
        remote.add("validate")
    if callable(kind.expected_images):  # a function says it: it stays here
        remote |= {"validate", "proof"}
    data = {name: _plain(getattr(kind, name)) for name in (*INPUT_DATA, *(HISTORIC_DATA if historic else ()))}
    if callable(kind.expected_images):
        data["expected_images"] = None
    data["required_tags"] = [
        _name(tag)
        for tag in (
            *kind.required_tags,
            *(each for each, rule in kind.required_values.items() if not isinstance(rule, Not)),
        )
    ]
    return InputDescription(
        kind=kind.__name__,
        historic=historic,
        data=data,
        values={tag: rule for tag, rule in values.items() if rule is not None},
        indexed=tuple(sorted(map(int, kind.indexed_tags()))),
        remote_methods=tuple(sorted(remote)),
    )


def _name(tag: str | int) -> str:
    return keyword_for_tag(Tag(tag)) or f"0x{int(Tag(tag)):08x}"


def _plain(value: Any) -> Any:
    """Make plain the collections that an author chose, in an order that does not change."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


# -- calling methods --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Replica:
    """An input with the images that the host's own has, and how many changes made it so."""

    held: AbstractInput
    changes: int = 0


_replicas: OrderedDict[str, _Replica] = OrderedDict()


def call_method(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Call a method of a pipeline, or of one of its inputs.

    Parameters
    ----------
    argument : mapping
        What :func:`describe_pipeline` takes, with ``distribution`` and ``version`` as described; ``method``
        and its arguments. A call to an input names it (``input``), its ``replica``, and the ``changes`` to
        that since the ``since``-th.

    Returns
    -------
    dict
        ``{"returned": ...}``; ``{"raised": reason}`` for what the plugin's code raised; or
        ``{"stale": True}`` when the replica lacks earlier changes and must be sent everything.

    Raises
    ------
    JobFailedError
        When the plugin cannot be loaded any more, or is of another version than was described.
    """
    loaded = _load(argument)
    replica = None
    if "replica" in argument:
        replica = _up_to_date_replica(loaded.pipeline, argument)
        if replica is None:
            return {"stale": True}
    name = argument["method"]
    owner = replica.held if replica else loaded.pipeline
    try:
        with failing_as(f"{name} of {type(owner).__name__}"):
            return {"returned": _METHODS[name](loaded, replica.held if replica else None, argument)}
    except JobFailedError as error:
        return {"raised": str(error), "log_tail": error.log_tail}


def _up_to_date_replica(pipeline: AbstractPipeline, argument: Mapping[str, Any]) -> _Replica | None:
    """Return the replica of an input with the changes made; ``None`` where earlier ones are lacking."""
    key, name, since = argument["replica"], argument["input"], argument["since"]
    if since == 0:
        copied = pipeline.copied_tags().get(name, frozenset())
        _replicas[key] = _Replica(pipeline.inputs[name](name, copied))
    replica = _replicas.get(key)
    if replica is None or replica.changes != since:
        return None
    _replicas.move_to_end(key)
    while len(_replicas) > _MOST_REPLICAS:
        _replicas.popitem(last=False)
    for change in argument["changes"]:
        if "added" in change:
            replica.held.insert(image_from_json(change["added"]))
        else:
            replica.held.remove(change["removed"])
        replica.changes += 1
    if isinstance(replica.held, HistoricAbstractInput):
        replica.held.history = _history(argument.get("history"))
    return replica


def _history(plain: Mapping[str, Any] | None) -> HistoryStatus | None:
    if plain is None:
        return None
    state, asked_for = HistoryState(plain["state"]), frozenset(plain["asked_for"])
    return HistoryStatus(**{**plain, "state": state, "asked_for": asked_for})


_Method = Callable[[LoadedPipeline, Any, Mapping[str, Any]], Any]


def _validate_image(loaded: LoadedPipeline, _held: AbstractInput, argument: Mapping[str, Any]) -> Any:
    image = image_from_json(argument["image"])
    return loaded.hooks.validate_image(loaded.pipeline, argument["input"], image)


def _validate(loaded: LoadedPipeline, held: AbstractInput, argument: Mapping[str, Any]) -> Any:
    first = next(iter(held), None)
    container_key = loaded.pipeline.container_key(first) if isinstance(first, LazyDataset) else ""
    return loaded.hooks.validate_input(
        loaded.pipeline, container_key, patient_id_of(held), argument["input"], held
    )


def _proof(_loaded: LoadedPipeline, held: AbstractInput, _argument: Mapping[str, Any]) -> Any:
    return held.proof()


def _choose_series(_loaded: LoadedPipeline, held: AbstractInput, _argument: Mapping[str, Any]) -> Any:
    choice = held.choose_series(candidates_of(held))
    return choice.key if isinstance(choice, SeriesTree) else choice


def _container_key(loaded: LoadedPipeline, _held: None, argument: Mapping[str, Any]) -> Any:
    return str(loaded.pipeline.container_key(image_from_json(argument["image"])))


def _query(_loaded: LoadedPipeline, held: HistoricAbstractInput, argument: Mapping[str, Any]) -> Any:
    return _plain(held.query(image_from_json(argument["image"])))


def _choose(_loaded: LoadedPipeline, held: HistoricAbstractInput, argument: Mapping[str, Any]) -> Any:
    """Return the positions of those chosen among those found: datasets would lose their identity."""
    found = [Dataset.from_json(each) for each in argument["found"]]
    positions = {id(each): position for position, each in enumerate(found)}
    chosen = list(held.choose(found, image_from_json(argument["image"])))
    if any(id(each) not in positions for each in chosen):
        msg = "choose must return some of the datasets that it was given"
        raise TypeError(msg)
    return [positions[id(each)] for each in chosen]


_METHODS: Mapping[str, _Method] = {
    "validate_image": _validate_image,
    "validate": _validate,
    "proof": _proof,
    "choose_series": _choose_series,
    "container_key": _container_key,
    "query": _query,
    "choose": _choose,
}
