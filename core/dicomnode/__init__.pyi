from .dicom import blueprints as blueprints
from .dicom.blueprint import Blueprint as Blueprint
from .dicom.blueprint import FillingStrategy as FillingStrategy
from .dicom.elements import AttrElement as AttrElement
from .dicom.elements import CallElement as CallElement
from .dicom.elements import CopyElement as CopyElement
from .dicom.elements import DiscardElement as DiscardElement
from .dicom.elements import InstanceCopyElement as InstanceCopyElement
from .dicom.elements import InstanceElement as InstanceElement
from .dicom.elements import InstanceEnvironment as InstanceEnvironment
from .dicom.elements import InstanceProducer as InstanceProducer
from .dicom.elements import PrivateTag as PrivateTag
from .dicom.elements import SeriesElement as SeriesElement
from .dicom.elements import StaticElement as StaticElement
from .dicom.elements import VirtualElement as VirtualElement
from .dicom.header import SeriesHeader as SeriesHeader
from .dicom.highdicom_results import Measurement as Measurement
from .dicom.highdicom_results import MeasurementGroup as MeasurementGroup
from .dicom.highdicom_results import Segment as Segment
from .dicom.highdicom_results import build_report as build_report
from .dicom.highdicom_results import build_segmentation as build_segmentation
from .dicom.identity import IdentityMapping as IdentityMapping
from .dicom.image_tree import DicomTree as DicomTree
from .dicom.image_tree import ImageTreeInterface as ImageTreeInterface
from .dicom.image_tree import PatientTree as PatientTree
from .dicom.image_tree import SeriesTree as SeriesTree
from .dicom.image_tree import StudyTree as StudyTree
from .dicom.lazy import LazyDataset as LazyDataset
from .dicom.provenance import Equipment as Equipment
from .dicom.safe import safe_name as safe_name
from .dicom.safe import safe_text as safe_text
from .dicom.sequence_element import SequenceElement as SequenceElement
from .dicom.tree_files import Discovery as Discovery

__all__ = [
    "AttrElement",
    "Blueprint",
    "CallElement",
    "CopyElement",
    "DicomTree",
    "DiscardElement",
    "Discovery",
    "Equipment",
    "FillingStrategy",
    "IdentityMapping",
    "ImageTreeInterface",
    "InstanceCopyElement",
    "InstanceElement",
    "InstanceEnvironment",
    "InstanceProducer",
    "LazyDataset",
    "Measurement",
    "MeasurementGroup",
    "PatientTree",
    "PrivateTag",
    "Segment",
    "SequenceElement",
    "SeriesElement",
    "SeriesHeader",
    "SeriesTree",
    "StaticElement",
    "StudyTree",
    "VirtualElement",
    "blueprints",
    "build_report",
    "build_segmentation",
    "safe_name",
    "safe_text",
]
