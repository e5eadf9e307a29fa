"""The filling strategy "copy": what a blueprint does not mention comes from the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.elements.copy_elements import PER_INSTANCE
from dicomnode.dicom.elements.standard_elements import CopyElement, InstanceCopyElement
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.tags import PrivateTag, find_tag

_IMAGE_PIXEL: Final = 0x0028
# Of group 0028 only what does not describe the stored values; those are the result's own.
_COPIED_OF_0028: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "PixelSpacing",
        "PixelSpacingCalibrationType",
        "PixelSpacingCalibrationDescription",
        "QualityControlImage",
        "BurnedInAnnotation",
        "RecognizableVisualFeatures",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    )
)
_GROUPS_NOT_COPIED: Final = frozenset(
    {0x5400, 0x7FE0, 0xFFFA, 0xFFFC}
)  # waveform, pixels, signatures, padding
_OVERLAYS: Final = range(0x6000, 0x6100)
_NOT_COPIED: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet",  # settled from the texts
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "InstanceNumber",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "InstanceCreatorUID",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "DimensionIndexSequence",
        "DimensionOrganizationSequence",
        "MACParametersSequence",
        "IconImageSequence",
        "GridFrameOffsetVector",
        "FrameIncrementPointer",
        "DoseGridScaling",
    )
)


def filling_elements(blueprint: Blueprint, sources: Sequence[Dataset]) -> Blueprint:
    """Return copy elements for what the sources have and the blueprint does not mention.

    What is equal in all sources is copied to the whole series, what differs from slice to slice is copied
    slice by slice. What describes the stored pixels, or names the source instance, is not copied.

    Parameters
    ----------
    blueprint : Blueprint
        What is decided already.
    sources : sequence of Dataset
        The source datasets; all of them are read.
    """
    if not sources:
        return Blueprint()
    mentioned = {find_tag(sources[0], tag, creator) for tag, creator in (e.key for e in blueprint)}
    if blueprint.SOPClassUID is not None:
        mentioned.add(Tag("SOPClassUID"))
    return Blueprint(_element(tag, sources) for tag in _candidates(sources) if tag not in mentioned)


def _candidates(sources: Sequence[Dataset]) -> Iterator[BaseTag]:
    """Yield the tags that may be copied, of any source; of a private block those with a creator."""
    for tag in sorted({tag for source in sources for tag in source.keys()}):  # noqa: SIM118 - values stay unread
        if (
            tag in _NOT_COPIED
            or tag.group in _GROUPS_NOT_COPIED
            or tag.group in _OVERLAYS
            or tag.element == 0
        ):
            continue
        if tag.group == _IMAGE_PIXEL and tag not in _COPIED_OF_0028:
            continue
        if tag.is_private and (tag.is_private_creator or _creator(tag, sources) is None):
            continue
        yield tag


def _element(tag: BaseTag, sources: Sequence[Dataset]) -> VirtualElement:
    creator = _creator(tag, sources) if tag.is_private else None
    named = int(tag) if creator is None else PrivateTag(tag.group, tag.element, creator)
    same = tag not in PER_INSTANCE and all(_agree(tag, sources[0], source) for source in sources[1:])
    return CopyElement(named, optional=True) if same else InstanceCopyElement(named, optional=True)


def _agree(tag: BaseTag, one: Dataset, other: Dataset) -> bool:
    """Return whether two datasets say the same; where both are as read, by bytes without decoding them."""
    if type(one) is type(other) is FileDataset and tag in one and tag in other:
        mine, theirs = one.get_item(tag), other.get_item(tag)
        if isinstance(mine, RawDataElement) and isinstance(theirs, RawDataElement):
            return (mine.VR, mine.is_little_endian, mine.value) == (
                theirs.VR,
                theirs.is_little_endian,
                theirs.value,
            )
    return bool(one.get(tag) == other.get(tag))


def _creator(tag: BaseTag, sources: Sequence[Dataset]) -> str | None:
    """Return the creator of a private tag's block, as the first source that has the tag says."""
    holder = next(source for source in sources if tag in source)
    creator = holder.get(Tag(tag.group, tag.element >> 8))
    value = None if creator is None else creator.value
    return value if isinstance(value, str) and value.strip() else None
