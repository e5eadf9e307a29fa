from . import errors as errors
from .dicom import blueprints as blueprints
from .dicom.blueprint.blueprint import Blueprint as Blueprint
from .dicom.blueprint.blueprint import FillingStrategy as FillingStrategy
from .dicom.blueprint.sequence_element import SequenceElement as SequenceElement
from .dicom.building.built_series import BuiltSeries as BuiltSeries
from .dicom.building.built_series import EncodedInstance as EncodedInstance
from .dicom.building.built_series import encode_series as encode_series
from .dicom.building.factory import DicomFactory as DicomFactory
from .dicom.building.header import SeriesHeader as SeriesHeader
from .dicom.building.highdicom_results import Measurement as Measurement
from .dicom.building.highdicom_results import MeasurementGroup as MeasurementGroup
from .dicom.building.highdicom_results import Segment as Segment
from .dicom.building.highdicom_results import build_report as build_report
from .dicom.building.highdicom_results import build_segmentation as build_segmentation
from .dicom.building.numpy_factory import NumpyCaller as NumpyCaller
from .dicom.building.numpy_factory import NumpyFactory as NumpyFactory
from .dicom.elements.instance_environment import InstanceEnvironment as InstanceEnvironment
from .dicom.elements.instance_environment import InstanceProducer as InstanceProducer
from .dicom.elements.standard_elements import AttrElement as AttrElement
from .dicom.elements.standard_elements import CallElement as CallElement
from .dicom.elements.standard_elements import CopyElement as CopyElement
from .dicom.elements.standard_elements import DiscardElement as DiscardElement
from .dicom.elements.standard_elements import InstanceCopyElement as InstanceCopyElement
from .dicom.elements.standard_elements import InstanceElement as InstanceElement
from .dicom.elements.standard_elements import SeriesElement as SeriesElement
from .dicom.elements.standard_elements import StaticElement as StaticElement
from .dicom.elements.virtual_element import VirtualElement as VirtualElement
from .dicom.geometry.grinders import DicomTreeGrinder as DicomTreeGrinder
from .dicom.geometry.grinders import Grinder as Grinder
from .dicom.geometry.grinders import ListGrinder as ListGrinder
from .dicom.geometry.grinders import ManyGrinder as ManyGrinder
from .dicom.geometry.grinders import NumpyGrinder as NumpyGrinder
from .dicom.geometry.grinders import TagGrinder as TagGrinder
from .dicom.geometry.slice_sorting import sort_by_geometry as sort_by_geometry
from .dicom.geometry.slice_stack import SliceStack as SliceStack
from .dicom.geometry.volume import Volume as Volume
from .dicom.reading.lazy import LazyDataset as LazyDataset
from .dicom.tree.dicom_tree import DicomTree as DicomTree
from .dicom.tree.dicom_tree import PatientTree as PatientTree
from .dicom.tree.dicom_tree import SeriesTree as SeriesTree
from .dicom.tree.dicom_tree import StudyTree as StudyTree
from .dicom.tree.image_tree import ImageTreeInterface as ImageTreeInterface
from .dicom.tree.tree_files import Discovery as Discovery
from .dicom.values.equipment import Equipment as Equipment
from .dicom.values.identity_mapping import IdentityMapping as IdentityMapping
from .dicom.values.iod import IOD as IOD
from .dicom.values.iod import Attribute as Attribute
from .dicom.values.iod import iod_of as iod_of
from .dicom.values.safe import safe_name as safe_name
from .dicom.values.safe import safe_text as safe_text
from .dicom.values.tags import PrivateTag as PrivateTag
from .dicom.values.uids import SeriesUIDs as SeriesUIDs
from .dicom.values.uids import UIDSource as UIDSource
from .pipeline.container import InputContainer as InputContainer
from .pipeline.container import Job as Job
from .pipeline.container import Patient as Patient
from .pipeline.destination import Delivery as Delivery
from .pipeline.destination import Destination as Destination
from .pipeline.destination import OutboxItem as OutboxItem
from .pipeline.destination import Outcome as Outcome
from .pipeline.historic import HistoricAbstractInput as HistoricAbstractInput
from .pipeline.inputs import AbstractInput as AbstractInput
from .pipeline.inputs import Not as Not
from .pipeline.outputs import DicomOutput as DicomOutput
from .pipeline.outputs import FileOutput as FileOutput
from .pipeline.outputs import NoOutput as NoOutput
from .pipeline.outputs import PipelineOutput as PipelineOutput
from .pipeline.patient_container import Completeness as Completeness
from .pipeline.patient_container import PatientContainer as PatientContainer
from .pipeline.pipeline_tree import PipelineTree as PipelineTree
from .pipeline.pipelines import AbstractPipeline as AbstractPipeline
from .pipeline.pipelines import AbstractQueuedPipeline as AbstractQueuedPipeline
from .pipeline.pipelines import AbstractThreadedPipeline as AbstractThreadedPipeline
from .pipeline.secret import Secret as Secret
from .plugins.hookspecs import hookimpl as hookimpl
from .plugins.looks_at import looks_at as looks_at
from .plugins.terminable_executor import TerminableExecutor as TerminableExecutor

__all__ = [
    "IOD",
    "AbstractInput",
    "AbstractPipeline",
    "AbstractQueuedPipeline",
    "AbstractThreadedPipeline",
    "AttrElement",
    "Attribute",
    "Blueprint",
    "BuiltSeries",
    "CallElement",
    "Completeness",
    "CopyElement",
    "Delivery",
    "Destination",
    "DicomFactory",
    "DicomOutput",
    "DicomTree",
    "DicomTreeGrinder",
    "DiscardElement",
    "Discovery",
    "EncodedInstance",
    "Equipment",
    "FileOutput",
    "FillingStrategy",
    "Grinder",
    "HistoricAbstractInput",
    "IdentityMapping",
    "ImageTreeInterface",
    "InputContainer",
    "InstanceCopyElement",
    "InstanceElement",
    "InstanceEnvironment",
    "InstanceProducer",
    "Job",
    "LazyDataset",
    "ListGrinder",
    "ManyGrinder",
    "Measurement",
    "MeasurementGroup",
    "NoOutput",
    "Not",
    "NumpyCaller",
    "NumpyFactory",
    "NumpyGrinder",
    "OutboxItem",
    "Outcome",
    "Patient",
    "PatientContainer",
    "PatientTree",
    "PipelineOutput",
    "PipelineTree",
    "PrivateTag",
    "Secret",
    "Segment",
    "SequenceElement",
    "SeriesElement",
    "SeriesHeader",
    "SeriesTree",
    "SeriesUIDs",
    "SliceStack",
    "StaticElement",
    "StudyTree",
    "TagGrinder",
    "TerminableExecutor",
    "UIDSource",
    "VirtualElement",
    "Volume",
    "blueprints",
    "build_report",
    "build_segmentation",
    "encode_series",
    "errors",
    "hookimpl",
    "iod_of",
    "looks_at",
    "safe_name",
    "safe_text",
    "sort_by_geometry",
]
