"""A sequence whose items are blueprints of their own (PS3.5 section 7.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprint.blueprint_check import shortfalls_of
from dicomnode.dicom.elements.data_elements import insert_element
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, InstanceProducer
from dicomnode.dicom.elements.missing_tags import MissingTags
from dicomnode.dicom.elements.virtual_element import Corporeal, VirtualElement
from dicomnode.dicom.values.tags import TagLike
from dicomnode.errors import BlueprintError

if TYPE_CHECKING:
    from dicomnode.dicom.values.iod import Attribute


class SequenceElement(VirtualElement):
    """A sequence with one item for each nested blueprint.

    The nested elements read the source datasets at their root, as all elements do. If one of them differs
    from instance to instance, the whole sequence is made for each instance.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The sequence.
    *items : Blueprint
        One blueprint for each item. Without any the sequence is empty (Type 2).

    Raises
    ------
    BlueprintError
        When the attribute is not a sequence or an item is not a blueprint.

    Examples
    --------
    >>> from dicomnode.dicom.elements.standard_elements import StaticElement
    >>> SequenceElement(
    ...     "AnatomicRegionSequence",
    ...     Blueprint([
    ...         StaticElement("CodeValue", "12738006"),
    ...         StaticElement("CodingSchemeDesignator", "SCT"),
    ...         StaticElement("CodeMeaning", "Brain"),
    ...     ]),
    ... )
    SequenceElement('AnatomicRegionSequence', <1 item>)
    """

    def __init__(self, tag: TagLike, *items: Blueprint) -> None:
        super().__init__(tag)
        if self.VR not in ("SQ", None):
            raise BlueprintError(f"{self.keyword} is {self.VR} and not a sequence")
        self.VR = "SQ"
        for item in items:
            if not isinstance(item, Blueprint):
                raise BlueprintError(f"{self.keyword}: an item is {item!r}, not a Blueprint")
        self.items = items

    @classmethod
    def declared(
        cls,
        tag: TagLike,
        arguments: Mapping[str, Any],
        nested: Callable[[Mapping[str, Any]], Iterable[VirtualElement]],
    ) -> Self:
        """Make the sequence of ``items``, a list of tables of elements.

        Raises
        ------
        TypeError
            When there is anything but such a list.
        """
        items = arguments.get("items", ())
        tables = isinstance(items, Sequence) and all(isinstance(item, Mapping) for item in items)
        if set(arguments) - {"items"} or not tables:
            raise TypeError("a sequence takes `items`, a list of tables of elements, and nothing else")
        return cls(tag, *(Blueprint(nested(item)) for item in items))

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:
        """Make the items, or a producer if they differ from instance to instance.

        Raises
        ------
        MissingTagsError
            When the sources lack what the items need; the keywords carry the sequence's in front.
        """
        gathered = MissingTags()
        made = [self._item(item, factory, sources, gathered) for item in self.items]
        gathered.report_within(self.keyword)
        if any(producers for _, producers in made):
            return _SequenceProducer(self, tuple((item, tuple(producers)) for item, producers in made))
        return self.element([item for item, _ in made])

    @staticmethod
    def _item(
        blueprint: Blueprint, factory: Any, sources: Sequence[Dataset], gathered: MissingTags
    ) -> tuple[Dataset, list[InstanceProducer]]:
        item, producers = Dataset(), list[InstanceProducer]()
        for element in blueprint:
            with gathered:
                real = element.corporealize(factory, sources)
                if isinstance(real, InstanceProducer):
                    producers.append(real)
                elif real is not None:
                    insert_element(item, real, element.creator)
        return item, producers

    def check_factory(self, factory: object) -> None:
        """Raise for what the nested elements lack of the factory."""
        gathered = MissingTags()
        for item in self.items:
            for element in item:
                with gathered:
                    element.check_factory(factory)
        gathered.report_within(self.keyword)

    def required_tags(self) -> frozenset[BaseTag]:
        """Return what the nested blueprints need of a source."""
        return frozenset().union(*(item.required_tags() for item in self.items))

    def shortfalls(self, attribute: Attribute) -> Iterator[str]:
        """Say whether it is empty, or an item lacks something."""
        if not self.items and attribute.type == "1":
            yield "has no item"
        for number, item in enumerate(self.items):
            yield from (f"[{number}].{fault}" for fault in shortfalls_of(item, attribute.items))

    def _details(self) -> list[str]:
        return [f"<{len(self.items)} item{'s' * (len(self.items) != 1)}>"]


class _SequenceProducer(InstanceProducer):
    """Makes the items again for each instance."""

    def __init__(
        self, element: SequenceElement, items: tuple[tuple[Dataset, tuple[InstanceProducer, ...]], ...]
    ) -> None:
        self.tag, self.creator = element.key
        self._element = element
        self._items = items

    def produce(self, environment: InstanceEnvironment) -> DataElement:
        """Make the sequence of one instance."""
        made = []
        for shared, producers in self._items:
            item = Dataset()
            item.update(shared)
            for producer in producers:
                if (element := producer.produce(environment)) is not None:
                    insert_element(item, element, producer.creator)
            made.append(item)
        return self._element.element(made)
