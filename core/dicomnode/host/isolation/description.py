"""What the host knows of a pipeline that it does not import: its data, and which methods a worker runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dicomnode.pipeline.inputs import Not

PIPELINE_DATA = (
    "ae_title",
    "alternatives",
    "changes_identity",
    "concurrency",
    "disk",
    "expires",
    "gather_by",
    "header_input",
    "in_order",
    "index_also",
    "iod_check",
    "late_images",
    "memory",
    "open_association_wait",
    "priority",
    "resources",
    "settle",
    "sorts_before_answer",
    "timeout",
)
"""The attributes of a pipeline's class that travel."""

INPUT_DATA = (
    "complete_volume", "expected_images", "optional", "required_tags", "several_series", "several_studies",
)  # fmt: skip
"""The attributes of an input's class that travel; ``required_values`` do as far as they are data."""

HISTORIC_DATA = ("fetch_attempts", "fetch_retry", "fetch_timeout", "level", "when_failed", "when_nothing")
"""And those of an input that fetches earlier images."""


@dataclass(frozen=True, slots=True)
class InputDescription:
    """An input's class, as data.

    Attributes
    ----------
    kind : str
        The name of the class.
    historic : bool
        Whether it fetches earlier images.
    data : mapping
        Its attributes.
    values : mapping of str to Any
        Attribute (keyword or ``0xggggeeee``) -> plain form of its rule (:func:`rule_to_json`).
    indexed : tuple of int
        The tags that its rules look at.
    remote_methods : tuple of str
        The methods that the host calls in a worker: the plugin overrides them, or a hook of its environment
        takes part.
    """

    kind: str
    historic: bool
    data: Mapping[str, Any]
    values: Mapping[str, Any]
    indexed: tuple[int, ...]
    remote_methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PipelineDescription:
    """A pipeline's class, as data.

    Attributes
    ----------
    kind : str
        The name of the class.
    distribution, version, value : str
        Where it comes from.
    data : mapping
        Its attributes.
    inputs : mapping of str to InputDescription
        Its inputs.
    indexed : tuple of int
        The tags that sorting looks at.
    copied : mapping of str to tuple of int
        Input name -> the tags that its blueprint copies from that input's images.
    remote_methods : tuple of str
        The methods that the plugin overrides: the host calls them in a worker.
    settings : str
        The digest of its effective settings (:func:`.settings_digest`): the
        class that knows defaults, and where secrets are kept, is in its environment alone.
    """

    kind: str
    distribution: str
    version: str
    value: str
    data: Mapping[str, Any]
    inputs: Mapping[str, InputDescription]
    indexed: tuple[int, ...]
    copied: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    remote_methods: tuple[str, ...] = ()
    settings: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PipelineDescription:
        """Return the description that :meth:`to_json` made plain."""
        inputs = {
            name: InputDescription(**{**each, **_tuples(each)}) for name, each in plain["inputs"].items()
        }
        copied = {name: tuple(tags) for name, tags in plain["copied"].items()}
        return cls(**{**plain, **_tuples(plain), "inputs": inputs, "copied": copied})


def _tuples(plain: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return what JSON made lists of."""
    return {name: tuple(plain[name]) for name in ("indexed", "remote_methods")}


_SCALARS = (str, int, float)


def rule_to_json(rule: object) -> dict[str, Any] | None:
    """Return a rule of ``required_values`` as data, or ``None`` where it is code."""
    if isinstance(rule, re.Pattern) and isinstance(rule.pattern, str):
        return {"matches": rule.pattern, "flags": rule.flags}
    if isinstance(rule, _SCALARS):
        return {"is": rule}
    if isinstance(rule, set | frozenset | list | tuple) and all(isinstance(each, _SCALARS) for each in rule):
        return {"one_of": sorted(rule, key=str)}
    if isinstance(rule, Not):
        forbidden = [rule_to_json(each) for each in rule.rules]
        return None if None in forbidden else {"not": forbidden}
    return None


def rule_from_json(plain: Mapping[str, Any]) -> Any:
    """Return the rule of which :func:`rule_to_json` made plain data."""
    if "not" in plain:
        return Not(*map(rule_from_json, plain["not"]))
    if "matches" in plain:
        return re.compile(plain["matches"], plain["flags"])
    return plain["is"] if "is" in plain else tuple(plain["one_of"])
