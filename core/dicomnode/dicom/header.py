"""Series headers: a blueprint made real for one set of source datasets, waiting for image data."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.elements import (
    DiscardElement,
    InstanceEnvironment,
    InstanceProducer,
    StaticElement,
    VirtualElement,
)
from dicomnode.dicom.gathering import MissingTags, place
from dicomnode.dicom.provenance import Equipment, default_elements
from dicomnode.dicom.tags import find_tag

if TYPE_CHECKING:
    from dicomnode.dicom.uids import UIDSource

_GROUPS_NOT_COPIED = (0x0028, 0x5400, 0x7FE0)  # image pixel, waveform, pixel data: the result has its own
_OVERLAY = range(0x6000, 0x6100)
# Who the instance is and where its pixels lie: copied, they would name the source or place all slices alike.
_NOT_COPIED = frozenset(
    Tag(keyword)
    for keyword in (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "InstanceNumber",
        "SeriesNumber",
        "ImagePositionPatient",
        "SliceLocation",
        "AcquisitionNumber",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "ContentDate",
        "ContentTime",
        "PerFrameFunctionalGroupsSequence",
        "SharedFunctionalGroupsSequence",
        "DimensionIndexSequence",
        "DimensionOrganizationSequence",
        "OriginalAttributesSequence",
        "DigitalSignaturesSequence",
        "MACParametersSequence",
        "DataSetTrailingPadding",
        "IconImageSequence",
    )
)


@dataclass(frozen=True)
class SeriesHeader:
    """A blueprint partially instantiated from source datasets; with image data it becomes a series.

    Made by :meth:`DicomFactory.make_header`; :func:`make_header` is the function behind it.

    Parameters
    ----------
    blueprint : Blueprint
        What the header was made from, without the elements that every derived image gets by default.
    shared : Dataset
        The elements that are equal for all instances. Do not change it: :meth:`instance` gives a copy.
    producers : tuple of InstanceProducer
        What is asked again for each instance.
    sources : tuple of Dataset
        The source datasets, sorted by geometry.
    uids : UIDSource or None
        Where new UIDs come from.
    equipment : Equipment or None
        The software that makes the result: the plugin's name and version.
    """

    blueprint: Blueprint
    shared: Dataset
    producers: tuple[InstanceProducer, ...] = ()
    sources: tuple[Dataset, ...] = ()
    uids: UIDSource | None = None
    equipment: Equipment | None = None
    factory: Any = field(default=None, repr=False, compare=False)

    def instance(self, environment: InstanceEnvironment, *, supplied: Container[BaseTag] = ()) -> Dataset:
        """Make the dataset of one instance, still without pixels.

        Parameters
        ----------
        environment : InstanceEnvironment
            The instance.
        supplied : container of BaseTag
            Tags that the factory writes itself for this instance: their producers are not asked.

        Returns
        -------
        Dataset
            A dataset of its own: changing it changes neither the header nor a source.

        Raises
        ------
        MissingTagsError
            When producers lack something: all of it in one message.
        """
        dataset = copy.deepcopy(self.shared)
        gathered = MissingTags()
        for producer in self.producers:
            if producer.tag in supplied:
                continue
            with gathered:
                if (element := producer.produce(environment)) is not None:
                    place(dataset, element, producer.creator)
        gathered.report(f"instance {environment.instance_number} of {environment.total}")
        return dataset


def make_header(
    factory: Any,
    blueprint: Blueprint,
    sources: Iterable[Dataset],
    *,
    uids: UIDSource | None = None,
    filling_strategy: FillingStrategy = FillingStrategy.DISCARD,
    equipment: Equipment | None = None,
) -> SeriesHeader:
    """Make a blueprint real for a set of source datasets.

    Parameters
    ----------
    factory : object
        Read by :class:`~dicomnode.dicom.elements.AttrElement`.
    blueprint : Blueprint
        What the header holds. Derived images carry more by default, see
        :func:`~dicomnode.dicom.provenance.default_elements`; the blueprint's own elements win.
    sources : iterable of Dataset
        The source datasets in the order that they are wanted in. They are not changed.
    uids : UIDSource, optional
        Where new UIDs come from.
    filling_strategy : FillingStrategy
        Whether attributes that the blueprint does not mention are copied from the first source.
    equipment : Equipment, optional
        The software that makes the result.

    Returns
    -------
    SeriesHeader

    Raises
    ------
    MissingTagsError
        When sources or factory lack something: every missing attribute is named, by keyword, in one message.
    """
    held = tuple(sources)
    whole = default_elements(blueprint, held, equipment) + blueprint
    shared = _filled(whole, held) if filling_strategy is FillingStrategy.COPY else Dataset()
    producers: list[InstanceProducer] = []
    gathered = MissingTags()
    for element in _with_sop_class(whole):
        with gathered:
            real = element.corporealize(factory, held)
            if isinstance(real, InstanceProducer):
                producers.append(real)
            elif real is not None:
                place(shared, real, element.creator)
    gathered.report(blueprint.name or "blueprint")
    return SeriesHeader(blueprint, shared, tuple(producers), held, uids, equipment, factory)


def _with_sop_class(blueprint: Blueprint) -> list[VirtualElement]:
    """Return the elements, and the SOP class that the blueprint names if no element does."""
    elements = list(blueprint)
    if blueprint.SOPClassUID is not None and "SOPClassUID" not in blueprint:
        elements.append(StaticElement("SOPClassUID", str(blueprint.SOPClassUID)))
    return elements


def _filled(blueprint: Blueprint, sources: Sequence[Dataset]) -> Dataset:
    """Copy what the blueprint does not mention from the first source."""
    filled = Dataset()
    if not sources:
        return filled
    discarded = {element.key for element in blueprint if isinstance(element, DiscardElement)}
    for tag in sources[0].keys():  # noqa: SIM118 - iterating a dataset reads every value
        if tag not in blueprint.tags and _is_copied(tag):
            filled[tag] = copy.deepcopy(sources[0][tag])
    for tag, creator in discarded:
        _discard(filled, tag, creator)
    return filled


def _discard(dataset: Dataset, tag: BaseTag, creator: str | None) -> None:
    if (found := find_tag(dataset, tag, creator)) is not None:
        del dataset[found]


def _is_copied(tag: BaseTag) -> bool:
    return tag not in _NOT_COPIED and tag.group not in _GROUPS_NOT_COPIED and tag.group not in _OVERLAY
