"""References of a result to what it was derived from (PS3.3 tables 10-3 and 10-4, C.12.4, C.7.6.16.2.6)."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from dicomnode.dicom.building.encoding import encode_elements, encode_sequence, encode_text
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, PreparedElement
from dicomnode.dicom.elements.standard_elements import InstanceElement
from dicomnode.dicom.values.codes import Code, code_item
from dicomnode.dicom.values.equipment import Equipment

SOURCE_IMAGE: Final[Code] = ("121322", "DCM", "Source image for image processing operation")

# A reference takes 208 bytes: 1,000 instances that each named 1,000 sources would hold 200 MB of them.
_MANY_REFERENCES: Final = 10_000


class SourceElement(InstanceElement):
    """A sequence that refers to the source at the same place, or to all sources where there is none.

    Parameters
    ----------
    tag : str
        ``"SourceImageSequence"`` or another sequence of references.
    """

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Refer to the instance's own source, or to all sources of the series."""
        items = reference_items(environment)
        return DataElement(self.tag, "SQ", DicomSequence(items)) if items else None

    def prepare(self, environment: InstanceEnvironment) -> PreparedElement | None:
        """Return the reference to the instance's own source as bytes: every slice of a result has one."""
        source = environment.source
        if source is None or "SOPInstanceUID" not in source or "SOPClassUID" not in source:
            return None
        names = str(source.SOPClassUID), str(source.SOPInstanceUID)
        if not all(name.isascii() for name in names):
            return None
        return PreparedElement(
            self.tag, _encoded_reference(self.tag, *names), partial(self.produce, environment)
        )


def _encoded_reference(tag: BaseTag, sop_class: str, instance: str) -> bytes:
    """Return a sequence with one item as :func:`reference_item` makes it."""
    body = encode_text(0x00081150, b"UI", sop_class.encode("ascii"))
    body += encode_text(0x00081155, b"UI", instance.encode("ascii")) + _encoded_purpose()
    return encode_sequence(tag, [body])


@cache
def _encoded_purpose() -> bytes:
    item: Dataset = pickle.loads(_reference_template())  # noqa: S301 - our own bytes
    return b"".join(encoded for _, encoded in encode_elements(item, None))


def reference_items(environment: InstanceEnvironment) -> list[Dataset]:
    """Return items that refer to what an instance was derived from.

    Parameters
    ----------
    environment : InstanceEnvironment
        The instance. With a source of its own that is the one; without, all sources of the header are meant.
        Where that would be more than ten thousand references in a series, none are returned.
    """
    sources: Sequence[Dataset] = ()
    if environment.source is not None:
        sources = (environment.source,)
    elif environment.header is not None:
        everything = environment.header.sources
        sources = everything if len(everything) * environment.total <= _MANY_REFERENCES else ()
    return [reference_item(s) for s in sources if "SOPInstanceUID" in s and "SOPClassUID" in s]


def reference_item(source: Dataset) -> Dataset:
    """Return an item that refers to an instance, with the purpose of reference (PS3.3 table 10-3)."""
    item: Dataset = pickle.loads(_reference_template())  # noqa: S301 - our own bytes, quicker than building it
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


@cache
def _reference_template() -> bytes:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return pickle.dumps(item)


def derivation_image_item(sources: Iterable[Dataset], equipment: Equipment | None) -> Dataset:
    """Return the item of DerivationImageSequence, by which a frame names its sources (PS3.3 C.7.6.16.2.6).

    Parameters
    ----------
    sources : iterable of Dataset
        What the frame was derived from.
    equipment : Equipment or None
        The software.
    """
    software = equipment or Equipment()
    item = Dataset()
    item.DerivationDescription = software.derivation_description()
    item.DerivationCodeSequence = software.derivation_codes()
    item.SourceImageSequence = [
        reference_item(s) for s in sources if "SOPInstanceUID" in s and "SOPClassUID" in s
    ]
    return item


def evidence_by_series(sources: Sequence[Dataset]) -> list[Dataset] | None:
    """Return ReferencedSeriesSequence: the sources by series (PS3.3 table 10-4); ``None`` without any."""
    series: dict[str, list[Dataset]] = {}
    for source in sources:
        if "SOPInstanceUID" in source and "SOPClassUID" in source and "SeriesInstanceUID" in source:
            series.setdefault(str(source.SeriesInstanceUID), []).append(source)
    items = []
    for uid, members in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [_plain_reference(source) for source in members]
        items.append(item)
    return items or None


def evidence_by_study(sources: Sequence[Dataset]) -> list[Dataset] | None:
    """Return SourceImageEvidenceSequence: the sources by study and series (PS3.3 C.17.2.1 macro)."""
    studies: dict[str, list[Dataset]] = {}
    for source in sources:
        if "StudyInstanceUID" in source:
            studies.setdefault(str(source.StudyInstanceUID), []).append(source)
    items = []
    for uid, members in studies.items():
        item = Dataset()
        item.StudyInstanceUID = uid
        item.ReferencedSeriesSequence = evidence_by_series(members) or []
        for series in item.ReferencedSeriesSequence:
            series.ReferencedSOPSequence = series.ReferencedInstanceSequence
            del series.ReferencedInstanceSequence
        items.append(item)
    return items or None


def _plain_reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
