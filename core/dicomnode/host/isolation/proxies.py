"""Classes that stand for those of another environment: rules that are data, and questions for the rest."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.errors import PluginError
from dicomnode.host.isolation.description import InputDescription, PipelineDescription, rule_of
from dicomnode.host.isolation.plain_images import plain_image
from dicomnode.host.isolation.rules import Changes, Rules
from dicomnode.pipeline.container import InputContainer
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline


class IsolatedInput(AbstractInput):
    """An input whose class is in another environment."""

    description: ClassVar[InputDescription]
    rules: ClassVar[Rules]

    def __init__(self, name: str = "", copied_tags: Iterable[int] = ()) -> None:
        super().__init__(name, tuple(copied_tags))
        self._changes = Changes(secrets.token_hex(8))

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the rules look at."""
        return frozenset(map(Tag, cls.description.indexed))

    def why_not(self, image: Dataset) -> str | None:
        """Say why an image does not belong here: the rules that are data come first, and cost no question."""
        reason = super().why_not(image)
        if reason is None and self._is_code("validate_image", "why_not"):
            reason = self._ask("validate_image", image=plain_image(image))
        return reason

    def conflict(self, image: Dataset) -> str | None:
        """Say why an image cannot join those that are here."""
        if self._is_code("conflict"):
            reason: str | None = self._ask("conflict", image=plain_image(image))
            return reason
        return super().conflict(image)

    def missing(self) -> str | None:
        """Say what is missing."""
        if self._is_code("validate", "missing"):
            missing: str | None = self._ask("validate")
            return missing
        return super().missing()

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out."""
        super().remove(SOPInstanceUID)
        if self.description.code:
            self._changes.removed(str(SOPInstanceUID))

    def _insert(self, image: Dataset) -> None:
        super()._insert(image)
        if self.description.code:
            self._changes.added(image)

    def _is_code(self, *methods: str) -> bool:
        return not set(methods).isdisjoint(self.description.code)

    def _ask(self, question: str, **about: Any) -> Any:
        return self.rules.ask_input(self, self._changes, question, **about)


class IsolatedHistoricInput(IsolatedInput, HistoricAbstractInput):
    """An input that fetches earlier images, whose class is in another environment."""

    def query(self, image: Dataset) -> Mapping[str, Any]:
        """Return what the PACS is asked with."""
        if self._is_code("query"):
            keys: Mapping[str, Any] = self._ask("query", image=plain_image(image))
            return keys
        return super().query(image)

    def choose(self, found: Sequence[Dataset], image: Dataset) -> Iterable[Dataset]:
        """Choose what is fetched."""
        if self._is_code("choose"):
            plain = [each.to_json_dict() for each in found]
            return [found[place] for place in self._ask("choose", found=plain, image=plain_image(image))]
        return super().choose(found, image)


class IsolatedPipeline(AbstractPipeline):
    """A pipeline whose class is in another environment: it sorts images here, and processes there."""

    description: ClassVar[PipelineDescription]
    rules: ClassVar[Rules]

    def container_key(self, image: Dataset) -> str:
        """Return what names the patient container of an image."""
        if "container_key" in self.description.code:
            return str(self.rules.ask("container_key", image=plain_image(image)))
        return super().container_key(image)

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


def isolated_pipeline(description: PipelineDescription, rules: Rules) -> type[IsolatedPipeline]:
    """Return a class that stands for the pipeline that was described."""
    inputs = {name: _isolated_input(each, rules) for name, each in description.inputs.items()}
    own = {**description.data, "description": description, "rules": rules, "inputs": inputs}
    doc = f"{description.kind} of {description.distribution} {description.version}."
    return type(description.kind, (IsolatedPipeline,), {"__module__": __name__, "__doc__": doc, **own})


def _isolated_input(description: InputDescription, rules: Rules) -> type[IsolatedInput]:
    base = IsolatedHistoricInput if description.historic else IsolatedInput
    values = {tag: rule_of(rule) for tag, rule in description.values.items()}
    own = {**description.data, "required_values": values, "description": description, "rules": rules}
    return type(description.kind, (base,), {"__module__": __name__, "__doc__": description.kind, **own})
