"""Segmentations and measurement reports, built by highdicom (``pip install "dicomnode-host[highdicom]"``).

highdicom knows PS3.3 A.51 and PS3.16 TID 1500 whole; what is ours is that the result belongs to the header:
its patient, its study, its UIDs and its equipment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode

from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.values.codes import Code
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.uids import SeriesUIDs, UIDSource
from dicomnode.errors import DicomError, PixelDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.dicom.building.header import SeriesHeader

ANATOMICAL_STRUCTURE: Code = ("123037004", "SCT", "Anatomical Structure")
ARTIFICIAL_INTELLIGENCE: Code = ("123110", "DCM", "Artificial Intelligence")
_VOLUME_DIMENSIONS, _STACK_DIMENSIONS = 3, 4


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation (PS3.3 C.8.20.4).

    Parameters
    ----------
    label : str
        SegmentLabel.
    kind : (str, str, str)
        What it is: a code (value, scheme, meaning), such as ``("10200004", "SCT", "Liver")``.
    category : (str, str, str)
        What kind of thing that is; an anatomical structure if not said.
    manual : bool
        Whether a person drew it; otherwise it is the software's.
    family : (str, str, str)
        How the software made it, of CID 7162; artificial intelligence if not said.
    """

    label: str
    kind: Code
    category: Code = ANATOMICAL_STRUCTURE
    manual: bool = False
    family: Code = ARTIFICIAL_INTELLIGENCE


@dataclass(frozen=True)
class Measurement:
    """A number with a name and a unit (PS3.16 TID 300).

    Parameters
    ----------
    name : (str, str, str)
        What was measured, such as ``("118565006", "SCT", "Volume")``.
    value : float
        The number.
    unit : (str, str, str)
        A UCUM code, such as ``("cm3", "UCUM", "cubic centimeter")``.
    """

    name: Code
    value: float
    unit: Code


@dataclass(frozen=True)
class MeasurementGroup:
    """Measurements of one finding (PS3.16 TID 1501).

    Parameters
    ----------
    identifier : str
        What a reader calls the finding: "Lesion 1".
    measurements : tuple of Measurement
        What was measured of it.
    finding : (str, str, str), optional
        What it is.
    site : (str, str, str), optional
        Where it is.
    """

    identifier: str
    measurements: tuple[Measurement, ...]
    finding: Code | None = None
    site: Code | None = None


def build_segmentation(
    header: SeriesHeader,
    mask: NDArray[Any],
    segments: Sequence[Segment],
    *,
    kind: Literal["BINARY", "FRACTIONAL", "LABELMAP"] = "BINARY",
    key: str | None = None,
) -> Dataset:
    """Build a segmentation of the header's sources.

    Parameters
    ----------
    header : SeriesHeader
        Made from :data:`~dicomnode.dicom.blueprints.segmentation_blueprint` or one that adds to it.
    mask : ndarray
        Shape (slices, rows, columns), one slice for each source in the header's order: bool for one segment,
        integers where 0 is background and n the n-th segment, floats from 0 to 1 for ``FRACTIONAL``. Or
        (slices, rows, columns, segments) where segments overlap.
    segments : sequence of Segment
        What the values mean, in order.
    kind : {"BINARY", "FRACTIONAL", "LABELMAP"}
        SegmentationType.
    key : str, optional
        The name of the series, see :meth:`~dicomnode.dicom.values.uids.UIDSource.series`.

    Returns
    -------
    Dataset
        A Segmentation Storage instance (Label Map Segmentation Storage for ``LABELMAP``) with its file meta.

    Raises
    ------
    PixelDataError
        When the mask does not have a slice for each source or a value for each segment.
    DicomError
        When highdicom is not installed.
    """
    hd = _highdicom("a segmentation")
    pixels = _mask(mask, header, segments, kind)
    software, uids = header.equipment or Equipment(), _uids(header, key)
    common = header.instance(InstanceEnvironment(0, 1))
    made = hd.seg.Segmentation(
        source_images=list(header.sources),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[_segment(hd, n, s, software) for n, s in enumerate(segments, start=1)],
        series_instance_uid=uids.SeriesInstanceUID,
        series_number=int(common.get("SeriesNumber") or 1),
        sop_instance_uid=uids.SOPInstanceUID(0),
        instance_number=1,
        manufacturer=software.manufacturer[:64],
        manufacturer_model_name=software.name[:64],
        software_versions=software.version[:64] or "unknown",
        device_serial_number=software.serial_number[:64],
    )
    return _finished(made, common)


def build_report(
    header: SeriesHeader,
    groups: Sequence[MeasurementGroup],
    *,
    title: Code = ("126000", "DCM", "Imaging Measurement Report"),
    procedure: Code = ("363679005", "SCT", "Imaging procedure"),
    key: str | None = None,
) -> Dataset:
    """Build a measurement report on the header's sources (PS3.16 TID 1500).

    Parameters
    ----------
    header : SeriesHeader
        Made from :data:`~dicomnode.dicom.blueprints.report_blueprint` or one that adds to it.
    groups : sequence of MeasurementGroup
        What was measured.
    title : (str, str, str)
        What kind of report it is, of CID 7021.
    procedure : (str, str, str)
        The procedure that is reported on.
    key : str, optional
        The name of the series.

    Returns
    -------
    Dataset
        An Enhanced SR Storage instance with its file meta.

    Raises
    ------
    DicomError
        When highdicom is not installed.
    """
    hd = _highdicom("a report")
    software, uids = header.equipment or Equipment(), _uids(header, key)
    common = header.instance(InstanceEnvironment(0, 1))
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer(hd, software)),
        procedure_reported=_code(procedure),
        imaging_measurements=[_group(hd, group, uids) for group in groups],
        title=_code(title),
        referenced_images=list(header.sources),
    )
    made = hd.sr.EnhancedSR(
        evidence=list(header.sources),
        content=content,
        series_instance_uid=uids.SeriesInstanceUID,
        series_number=int(common.get("SeriesNumber") or 1),
        sop_instance_uid=uids.SOPInstanceUID(0),
        instance_number=1,
        manufacturer=software.manufacturer[:64],
        is_complete=True,
    )
    return _finished(made, common)


def _highdicom(what: str) -> Any:
    try:
        import highdicom
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise DicomError(
            f'{what} needs highdicom, which is not installed: pip install "dicomnode-host[highdicom]"'
        ) from error
    module: ModuleType = highdicom
    return module


def _mask(mask: NDArray[Any], header: SeriesHeader, segments: Sequence[Segment], kind: str) -> NDArray[Any]:
    """Check a mask against sources and segments, and return it in a dtype that highdicom takes."""
    if mask.ndim not in (_VOLUME_DIMENSIONS, _STACK_DIMENSIONS) or mask.shape[0] != len(header.sources):
        raise PixelDataError(
            f"a mask of shape {mask.shape} does not have a slice for each of {len(header.sources)} sources"
        )
    source = header.sources[0]
    if mask.shape[1:3] != (source.Rows, source.Columns):
        raise PixelDataError(
            f"a mask of {mask.shape[1]} x {mask.shape[2]} is not of {source.Rows} x {source.Columns} pixels"
        )
    if mask.ndim == _STACK_DIMENSIONS and mask.shape[3] != len(segments):
        raise PixelDataError(f"a mask with {mask.shape[3]} planes does not fit {len(segments)} segments")
    if mask.dtype.kind == "f":
        if kind != "FRACTIONAL":
            raise PixelDataError(
                f"a mask of {mask.dtype} can only become a FRACTIONAL segmentation, not {kind}"
            )
        return mask
    highest = int(mask.max(initial=0))
    if mask.min(initial=0) < 0 or (mask.ndim == _VOLUME_DIMENSIONS and highest > len(segments)):
        raise PixelDataError(
            f"a mask with values from {mask.min()} to {highest} does not fit {len(segments)} segments"
        )
    return mask.astype("uint8" if highest < 2**8 else "uint16")


def _segment(hd: Any, number: int, segment: Segment, software: Equipment) -> Any:
    algorithm = None
    if not segment.manual:
        algorithm = hd.AlgorithmIdentificationSequence(
            name=software.name[:64],
            version=software.version[:64] or "unknown",
            family=_code(segment.family),
        )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.kind),
        algorithm_type="MANUAL" if segment.manual else "AUTOMATIC",
        algorithm_identification=algorithm,
    )


def _observer(hd: Any, software: Equipment) -> Any:
    identity = UIDSource.derived(
        f"{software.manufacturer}\n{software.name}\n{software.version}\n{software.serial_number}"
    )
    return hd.sr.ObserverContext(
        observer_type=PydicomCode("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=identity.uid("device"),
            name=software.name,
            manufacturer_name=software.manufacturer,
            model_name=f"{software.name} {software.version}".strip(),
        ),
    )


def _group(hd: Any, group: MeasurementGroup, uids: SeriesUIDs) -> Any:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=uids.uid("tracking", group.identifier), identifier=group.identifier
        ),
        finding_type=None if group.finding is None else _code(group.finding),
        finding_sites=None if group.site is None else [hd.sr.FindingSite(_code(group.site))],
        measurements=[
            hd.sr.Measurement(name=_code(m.name), value=float(m.value), unit=_code(m.unit))
            for m in group.measurements
        ],
    )


def _uids(header: SeriesHeader, key: str | None) -> SeriesUIDs:
    return (header.uids or UIDSource.random()).series(key)


def _code(code: Code) -> PydicomCode:
    return PydicomCode(*code)


def _finished(made: Dataset, common: Dataset) -> Dataset:
    """Return a plain dataset in which the header's elements win."""
    # highdicom copies patient and study from the sources; the blueprint may say otherwise, and is asked last.
    result = Dataset()
    result.update(made)
    result.update(common)
    result.file_meta = made.file_meta
    return result
