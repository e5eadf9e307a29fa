"""Ready-made blueprints of enhanced multi-frame images: a whole volume in one instance.

The blueprint holds what the frames share; the factory adds where each frame lies (PS3.3 C.7.6.16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedCTImageStorage, EnhancedMRImageStorage, ParametricMapStorage

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprint.sequence_element import SequenceElement
from dicomnode.dicom.blueprints.common import (
    enhanced_equipment_blueprint,
    frame_of_reference_blueprint,
    optional,
    patient_blueprint,
    study_blueprint,
    type2,
)
from dicomnode.dicom.building.derivation import EquipmentElement, derived_image_type
from dicomnode.dicom.elements.standard_elements import CopyElement, SeriesElement, StaticElement
from dicomnode.dicom.values.codes import code_item
from dicomnode.dicom.values.iod import region_code
from dicomnode.dicom.values.uids import UIDSource

_WHOLE_BODY: Final = ("SCT", "38266002", "Entire body")
_LATERALITIES: Final = ("R", "L", "B", "U")

_common: Final = (
    patient_blueprint
    + study_blueprint
    + frame_of_reference_blueprint
    + enhanced_equipment_blueprint
    + Blueprint(
        [
            *optional("BodyPartExamined", "ProtocolName"),
            *type2("PatientPosition"),
            CopyElement("ContentQualification", default="RESEARCH"),
            StaticElement("AcquisitionContextSequence", None),
            CopyElement("BurnedInAnnotation", default="NO"),
            StaticElement("LossyImageCompression", "00"),
            StaticElement("PresentationLUTShape", "IDENTITY"),
        ]
    )
)


def anatomic_region(sources: Sequence[Dataset]) -> Dataset:
    """Return the anatomic region, from the sources' own code or BodyPartExamined (PS3.16 annex L).

    Parameters
    ----------
    sources : sequence of Dataset
        The first one counts. Where it says nothing the region is the entire body.
    """
    source = sources[0] if sources else Dataset()
    if source.get("AnatomicRegionSequence"):
        return Dataset(source.AnatomicRegionSequence[0])
    scheme, value, meaning = region_code(str(source.get("BodyPartExamined") or "")) or _WHOLE_BODY
    return code_item((value, scheme, meaning))


def frame_laterality(sources: Sequence[Dataset]) -> str:
    """Return FrameLaterality: the side that the sources name, ``U`` (unpaired) where they name none."""
    for source in sources[:1]:
        side: Any = source.get("ImageLaterality") or source.get("Laterality")
        if side in _LATERALITIES:
            return str(side)
    return "U"


def irradiation_event(sources: Sequence[Dataset]) -> UID:
    """Return the IrradiationEventUID that the sources name; else one that follows from their series."""
    source = sources[0] if sources else Dataset()
    named = source.get("IrradiationEventUID")
    if named:
        return UID(str(named if isinstance(named, str) else named[0]))
    return UIDSource.derived(f"{source.get('SeriesInstanceUID')}").uid("IrradiationEventUID")


def _description(frame_type: SeriesElement) -> list[Any]:
    """Return what image and frame type say alike (PS3.3 C.8.16.1)."""
    return [
        frame_type,
        CopyElement("PixelPresentation", default="MONOCHROME"),
        CopyElement("VolumetricProperties", default="VOLUME"),
        CopyElement("VolumeBasedCalculationTechnique", default="NONE"),
    ]


def _frames(*items: SequenceElement) -> SequenceElement:
    """Return the functional groups that all frames share, as far as a blueprint knows them."""
    anatomy = SequenceElement(
        "FrameAnatomySequence",
        Blueprint(
            [
                SeriesElement("FrameLaterality", frame_laterality),
                SeriesElement("AnatomicRegionSequence", anatomic_region),
            ]
        ),
    )
    return SequenceElement("SharedFunctionalGroupsSequence", Blueprint([anatomy, *items]))


_TYPE: Final = ("PRIMARY", "VOLUME", "NONE")


class EnhancedImageType:
    """ImageType of enhanced images: DERIVED, PRIMARY, flavour and derived pixel contrast (PS3.3 C.8.16.1).

    The values of an enhanced source are kept; those of a classic one mean something else and are not.
    """

    def __init__(self, fallback: tuple[str, str, str]) -> None:
        self.fallback = fallback

    def __call__(self, sources: Sequence[Dataset]) -> list[str]:
        """Return the four values."""
        enhanced = [s for s in sources[:1] if "SharedFunctionalGroupsSequence" in s]
        values = derived_image_type(enhanced)[:4] if enhanced else ["DERIVED"]
        return values + list(self.fallback[len(values) - 1 :])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnhancedImageType) and self.fallback == other.fallback

    def __hash__(self) -> int:
        return hash(self.fallback)


enhanced_ct_blueprint: Final = (
    _common
    + Blueprint(
        [
            StaticElement("Modality", "CT"),
            *_description(SeriesElement("ImageType", EnhancedImageType(_TYPE))),
            _frames(
                SequenceElement(
                    "IrradiationEventIdentificationSequence",
                    Blueprint([SeriesElement("IrradiationEventUID", irradiation_event)]),
                ),
                SequenceElement(
                    "CTImageFrameTypeSequence",
                    Blueprint(_description(SeriesElement("FrameType", EnhancedImageType(_TYPE)))),
                ),
            ),
        ]
    )
).with_sop_class(EnhancedCTImageStorage, name="Enhanced CT")
"""Enhanced CT Image (PS3.3 A.38.1): a volume in one instance, from classic or enhanced CT."""

enhanced_mr_blueprint: Final = (
    _common
    + Blueprint(
        [
            StaticElement("Modality", "MR"),
            *_description(SeriesElement("ImageType", EnhancedImageType(_TYPE))),
            CopyElement("ComplexImageComponent", default="MAGNITUDE"),
            CopyElement("AcquisitionContrast", default="UNKNOWN"),
            CopyElement("ApplicableSafetyStandardAgency", default="IEC"),
            _frames(
                SequenceElement(
                    "MRImageFrameTypeSequence",
                    Blueprint(
                        [
                            *_description(SeriesElement("FrameType", EnhancedImageType(_TYPE))),
                            CopyElement("ComplexImageComponent", default="MAGNITUDE"),
                            CopyElement("AcquisitionContrast", default="UNKNOWN"),
                        ]
                    ),
                )
            ),
        ]
    )
).with_sop_class(EnhancedMRImageStorage, name="Enhanced MR")
"""Enhanced MR Image (PS3.3 A.36.2): a volume in one instance, from classic or enhanced MR."""

parametric_map_blueprint: Final = (
    _common
    + Blueprint(
        [
            CopyElement("Modality", default="OT"),
            SeriesElement("ImageType", EnhancedImageType(_TYPE)),
            EquipmentElement("Manufacturer", copy_source=False),
            EquipmentElement("ManufacturerModelName", copy_source=False),
            EquipmentElement("DeviceSerialNumber", copy_source=False),
            EquipmentElement("SoftwareVersions", copy_source=False),
            StaticElement("ContentQualification", "RESEARCH"),
            StaticElement("ContentLabel", "MAP"),
            StaticElement("ContentDescription", None),
            StaticElement("ContentCreatorName", None),
            StaticElement("RecognizableVisualFeatures", "NO"),
            _frames(
                SequenceElement(
                    "ParametricMapFrameTypeSequence",
                    Blueprint([SeriesElement("FrameType", EnhancedImageType(_TYPE))]),
                )
            ),
        ]
    )
).with_sop_class(ParametricMapStorage, name="Parametric Map")
"""Parametric Map (PS3.3 A.75): floating point or integer values of a quantity, a volume in one instance."""
