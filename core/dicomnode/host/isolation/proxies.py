"""Classes in place of those of another environment: data are copied, overridden methods run in a worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, Self

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.tree.dicom_tree import SeriesTree
from dicomnode.errors import PluginError
from dicomnode.host.isolation.description import InputDescription, PipelineDescription, rule_from_json
from dicomnode.host.isolation.image_json import image_to_json
from dicomnode.host.isolation.remote_methods import RemoteMethods, ReplicaChanges
from dicomnode.pipeline.container import InputContainer
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline


class IsolatedInput(AbstractInput):
    """An input whose class is in another environment."""

    description: ClassVar[InputDescription]
    remote: ClassVar[RemoteMethods]

    def __init__(self, name: str = "", copied_tags: Iterable[int] = ()) -> None:
        super().__init__(name, tuple(copied_tags))
        self._changes = ReplicaChanges(secrets.token_hex(8))

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the rules look at."""
        return frozenset(map(Tag, cls.description.indexed))

    @classmethod
    def expectation(cls) -> int | str | None:
        """Return what says how many images a series has: a function stays where it is."""
        return "function" if "proof" in cls.description.remote_methods else super().expectation()

    @classmethod
    def chooses_series(cls) -> bool:
        """Say whether the class in the other environment chooses a series."""
        return "choose_series" in cls.description.remote_methods

    def why_not(self, image: Dataset) -> str | None:
        """Say why an image does not belong here: rules that are data come first, and need no worker."""
        reason = super().why_not(image)
        if reason is None and self._is_remote("validate_image", "why_not"):
            reason = self._call("validate_image", image=image_to_json(image))
        return reason

    def proof(self) -> str:
        """Return what proves that the input is whole."""
        return str(self._call("proof")) if self and self._is_remote("proof") else super().proof()

    def choose_series(self, candidates: Sequence[SeriesTree]) -> SeriesTree | str | None:
        """Choose the series that a job gets."""
        if self._is_remote("choose_series"):
            chosen: str | None = self._call("choose_series")
            return chosen
        return super().choose_series(candidates)

    def _empty(self) -> Self:
        made = super()._empty()
        made._changes = ReplicaChanges(secrets.token_hex(8))
        return made

    def missing(self) -> str | None:
        """Say what is missing."""
        if self._is_remote("validate", "missing"):
            missing: str | None = self._call("validate")
            return missing
        return super().missing()

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out."""
        super().remove(SOPInstanceUID)
        if self.description.remote_methods:
            self._changes.remove(str(SOPInstanceUID))

    def _insert(self, image: Dataset) -> None:
        super()._insert(image)
        if self.description.remote_methods:
            self._changes.add(image)

    def _is_remote(self, *methods: str) -> bool:
        return not set(methods).isdisjoint(self.description.remote_methods)

    def _call(self, method: str, **arguments: Any) -> Any:
        return self.remote.call_input(self, self._changes, method, **arguments)


class IsolatedHistoricInput(IsolatedInput, HistoricAbstractInput):
    """An input that fetches earlier images, whose class is in another environment."""

    def query(self, image: Dataset) -> Mapping[str, Any]:
        """Return what the PACS is asked with."""
        if self._is_remote("query"):
            keys: Mapping[str, Any] = self._call("query", image=image_to_json(image))
            return keys
        return super().query(image)

    def choose(self, found: Sequence[Dataset], image: Dataset) -> Iterable[Dataset]:
        """Choose what is fetched."""
        if self._is_remote("choose"):
            plain = [each.to_json_dict() for each in found]
            positions = self._call("choose", found=plain, image=image_to_json(image))
            return [found[position] for position in positions]
        return super().choose(found, image)


class IsolatedPipeline(AbstractPipeline):
    """A pipeline whose class is in another environment: it sorts images here; jobs process them there."""

    description: ClassVar[PipelineDescription]
    remote: ClassVar[RemoteMethods]

    def container_key(self, image: Dataset) -> str:
        """Return what names the patient container of an image."""
        if "container_key" in self.description.remote_methods:
            return str(self.remote.call("container_key", image=image_to_json(image)))
        return super().container_key(image)

    @classmethod
    def has_own_key(cls) -> bool:
        """Say whether the class in the other environment overrides ``container_key``."""
        return "container_key" in cls.description.remote_methods

    @classmethod
    def copied_tags(cls) -> Mapping[str, frozenset[BaseTag]]:
        """Return input name -> the tags that the blueprint copies from its images."""
        return {name: frozenset(map(Tag, tags)) for name, tags in cls.description.copied.items()}

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that sorting looks at."""
        return frozenset(map(Tag, cls.description.indexed))

    def process(self, inputs: InputContainer) -> NoReturn:  # noqa: ARG002 - as AbstractPipeline declares it
        """Never runs here."""
        msg = f"{self.description.kind} processes in a worker of its own environment, not in the host"
        raise PluginError(msg)


def isolated_pipeline(description: PipelineDescription, remote: RemoteMethods) -> type[IsolatedPipeline]:
    """Return the class that the host uses in place of the pipeline that was described."""
    inputs = {name: _isolated_input(each, remote) for name, each in description.inputs.items()}
    own = {**description.data, "description": description, "remote": remote, "inputs": inputs}
    doc = f"{description.kind} of {description.distribution} {description.version}."
    return type(description.kind, (IsolatedPipeline,), {"__module__": __name__, "__doc__": doc, **own})


def _isolated_input(description: InputDescription, remote: RemoteMethods) -> type[IsolatedInput]:
    base = IsolatedHistoricInput if description.historic else IsolatedInput
    values = {tag: rule_from_json(rule) for tag, rule in description.values.items()}
    own = {**description.data, "required_values": values, "description": description, "remote": remote}
    return type(description.kind, (base,), {"__module__": __name__, "__doc__": description.kind, **own})
