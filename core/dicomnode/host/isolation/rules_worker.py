"""What a worker of another environment is asked before there is a job: describe a pipeline, judge images.

These are tasks of :mod:`dicomnode.host.workers.worker_child`. What the plugin's code raises is an answer, not
a failure of the worker: a rule that stumbles over an odd image must not cost a new process.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ConfigurationError, JobFailedError, SettingsError
from dicomnode.host.configuration.result_content import settings_digest
from dicomnode.host.isolation.description import (
    HISTORIC_DATA,
    INPUT_DATA,
    PIPELINE_DATA,
    InputDescription,
    PipelineDescription,
    plain_rule,
)
from dicomnode.host.isolation.plain_images import image_of
from dicomnode.host.jobs.job_failure import Failure, failing_as
from dicomnode.pipeline.container import patient_id_of
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.overriding import overridden
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins.declared import resolve_pipeline
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registration, Registry

_MOST_MIRRORS = 1024
_IMAGE_METHODS = ("validate_image", "why_not", "conflict")
_WHOLE_METHODS = ("validate", "missing")
_HISTORY_METHODS = ("query", "choose")


@dataclass(slots=True)
class Loaded:
    """A pipeline of this environment, with its hooks; not set up for processing."""

    pipeline: AbstractPipeline
    hooks: Hooks
    registration: Registration
    hooked: frozenset[str]


_loaded: dict[str, Loaded] = {}
_SAME = ("pipeline", "plugin", "settings", "declared", "disabled", "only")


def _load(asked: Mapping[str, Any]) -> Loaded:
    key = json.dumps([asked[name] for name in _SAME])
    if key not in _loaded:
        with failing_as(f"loading the pipeline {asked['plugin'] or asked['pipeline']!r}"):
            registry = Registry(asked["disabled"], asked["only"])
            resolved = resolve_pipeline(registry, asked["pipeline"], asked["plugin"], asked["declared"])
            resolved.kind.check_definition()
            pipeline = resolved.kind(resolved.kind.validated_settings(asked["settings"]))
            hooks = Hooks(registry)
        hooked = frozenset(name for plugin in registry.plugins for name in plugin.hooks)
        _loaded[key] = Loaded(pipeline, hooks, resolved.registration, hooked)
    return _loaded[key]


# -- describing
# -----------------------------------------------------------------------------------------------


def describe_pipeline(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a pipeline as data.

    Parameters
    ----------
    asked : mapping
        ``pipeline``, ``plugin``, ``settings``, ``declared``, ``disabled``, ``only``: as in a job's
        description.

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
        loaded = _load(asked)
    except JobFailedError as error:
        cause = error.__cause__
        if isinstance(cause, SettingsError):
            return {"settings": [[list(key), problem] for key, problem in cause.problems]}
        if isinstance(cause, ConfigurationError):
            return {"wrong": str(cause)}
        raise
    pipeline, kind, registration = loaded.pipeline, type(loaded.pipeline), loaded.registration
    described = PipelineDescription(
        kind=kind.__name__,
        distribution=registration.distribution,
        version=registration.version,
        value=registration.value,
        data={name: _data(getattr(pipeline, name)) for name in PIPELINE_DATA},
        inputs={name: _described_input(each, loaded.hooked) for name, each in pipeline.inputs.items()},
        indexed=tuple(sorted(map(int, kind.indexed_tags()))),
        copied={name: tuple(sorted(map(int, tags))) for name, tags in kind.copied_tags().items()},
        code=overridden(kind, AbstractPipeline, ("container_key",)),
        settings=settings_digest(pipeline.settings),
    )
    return {"described": described.to_json()}


def _described_input(kind: type[AbstractInput], hooked: frozenset[str]) -> InputDescription:
    historic = issubclass(kind, HistoricAbstractInput)
    base = HistoricAbstractInput if historic else AbstractInput
    values = {_name(tag): plain_rule(rule) for tag, rule in kind.required_values.items()}
    code = {
        *overridden(kind, base, (*_IMAGE_METHODS, *_WHOLE_METHODS, *(_HISTORY_METHODS if historic else ())))
    }
    if None in values.values() or "dicomnode_validate_image" in hooked:
        code.add("validate_image")
    if "dicomnode_validate_input" in hooked:
        code.add("validate")
    data = {name: _data(getattr(kind, name)) for name in (*INPUT_DATA, *(HISTORIC_DATA if historic else ()))}
    data["required_tags"] = [_name(tag) for tag in (*kind.required_tags, *kind.required_values)]
    return InputDescription(
        kind=kind.__name__,
        historic=historic,
        data=data,
        values={tag: rule for tag, rule in values.items() if rule is not None},
        indexed=tuple(sorted(map(int, kind.indexed_tags()))),
        code=tuple(sorted(code)),
    )


def _name(tag: str | int) -> str:
    return keyword_for_tag(Tag(tag)) or f"0x{int(Tag(tag)):08x}"


def _data(value: Any) -> Any:
    """Make collections of an author's making plain, in an order that does not change."""
    if isinstance(value, Mapping):
        return {str(key): _data(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_data, value), key=str)
    if isinstance(value, list | tuple):
        return [_data(each) for each in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


# -- judging
# --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Mirror:
    """An input with the images that the host's own has."""

    held: AbstractInput
    changes: int = 0


_mirrors: OrderedDict[str, _Mirror] = OrderedDict()


def ask_rules(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the code of a pipeline's rules.

    Parameters
    ----------
    asked : mapping
        What :func:`describe_pipeline` takes, with ``distribution`` and ``version`` as described; ``question``
        and what belongs to it. Questions to an input name it (``input``), its ``mirror``, and the ``changes``
        to it since the ``since``-th.

    Returns
    -------
    dict
        ``{"answer": ...}``; ``{"raised": reason}`` for what the plugin's code raised; or ``{"behind": True}``
        when the mirror lacks earlier changes and must be told everything.

    Raises
    ------
    JobFailedError
        When the plugin cannot be loaded any more, or is of another version than was described.
    """
    loaded = _load(asked)
    found = [loaded.registration.distribution, loaded.registration.version]
    if found != [asked["distribution"], asked["version"]]:
        msg = f"the pipeline now belongs to {' '.join(found)}: restart the host after a plugin was upgraded"
        raise JobFailedError(msg, Failure.PLUGIN)
    mirror = None
    if "mirror" in asked:
        mirror = _mirrored(loaded, asked)
        if mirror is None:
            return {"behind": True}
    question = _QUESTIONS[asked["question"]]
    try:
        with failing_as(
            f"{asked['question']} of {type(mirror.held if mirror else loaded.pipeline).__name__}"
        ):
            return {"answer": question(loaded, mirror.held if mirror else None, asked)}
    except JobFailedError as error:
        return {"raised": str(error), "log_tail": error.log_tail}


def _mirrored(loaded: Loaded, asked: Mapping[str, Any]) -> _Mirror | None:
    """Return the mirror of an input, brought up to date; ``None`` where that cannot be done."""
    key, name, since = asked["mirror"], asked["input"], asked["since"]
    if since == 0:
        copied = loaded.pipeline.copied_tags().get(name, frozenset())
        _mirrors[key] = _Mirror(loaded.pipeline.inputs[name](name, copied))
    mirror = _mirrors.get(key)
    if mirror is None or mirror.changes != since:
        return None
    _mirrors.move_to_end(key)
    while len(_mirrors) > _MOST_MIRRORS:
        _mirrors.popitem(last=False)
    for change in asked["changes"]:
        if "added" in change:
            mirror.held.insert(image_of(change["added"]))
        else:
            mirror.held.remove(change["removed"])
        mirror.changes += 1
    if isinstance(mirror.held, HistoricAbstractInput):
        mirror.held.history = _history(asked.get("history"))
    return mirror


def _history(plain: Mapping[str, Any] | None) -> HistoryStatus | None:
    if plain is None:
        return None
    state, asked_for = HistoryState(plain["state"]), frozenset(plain["asked_for"])
    return HistoryStatus(**{**plain, "state": state, "asked_for": asked_for})


_Question = Callable[[Loaded, Any, Mapping[str, Any]], Any]


def _validate_image(loaded: Loaded, held: AbstractInput, asked: Mapping[str, Any]) -> Any:
    return loaded.hooks.validate_image(loaded.pipeline, asked["input"], held, image_of(asked["image"]))


def _validate(loaded: Loaded, held: AbstractInput, asked: Mapping[str, Any]) -> Any:
    first = next(iter(held), None)
    container_key = loaded.pipeline.container_key(first) if isinstance(first, LazyDataset) else ""
    return loaded.hooks.validate_input(
        loaded.pipeline, container_key, patient_id_of(held), asked["input"], held
    )


def _conflict(loaded: Loaded, held: AbstractInput, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001 - called as every _Question is
    return held.conflict(image_of(asked["image"]))


def _container_key(loaded: Loaded, held: None, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001 - called as every _Question is
    return str(loaded.pipeline.container_key(image_of(asked["image"])))


def _query(loaded: Loaded, held: HistoricAbstractInput, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001 - called as every _Question is
    return _data(held.query(image_of(asked["image"])))


def _choose(loaded: Loaded, held: HistoricAbstractInput, asked: Mapping[str, Any]) -> Any:  # noqa: ARG001 - called as every _Question is
    """Return the places of those chosen among those found."""
    found = [Dataset.from_json(each) for each in asked["found"]]
    places = {id(each): place for place, each in enumerate(found)}
    chosen = list(held.choose(found, image_of(asked["image"])))
    if any(id(each) not in places for each in chosen):
        msg = "choose must return some of the datasets that it was given"
        raise TypeError(msg)
    return [places[id(each)] for each in chosen]


_QUESTIONS: dict[str, _Question] = {
    "validate_image": _validate_image,
    "validate": _validate,
    "conflict": _conflict,
    "container_key": _container_key,
    "query": _query,
    "choose": _choose,
}
