"""Synthetic images: series and studies of any modality and geometry, valid enough for every pipeline rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

_MOMENT = ("20260102", "101500")
_DIMENSIONS = 3


@dataclass(frozen=True)
class _Kind:
    """How images of a modality differ from those of others.

    Attributes
    ----------
    sop_class : str
        Their SOP class.
    slope, intercept : float
        From stored to physical values.
    low, high : float
        Physical values of background and ball of the phantom.
    signed : bool
        Whether stored values are signed.
    frames : bool
        Whether all slices are frames of one instance.
    located : bool
        Whether slices lie somewhere in the patient.
    attributes : mapping of str to Any
        What else the IOD wants.
    """

    sop_class: str
    slope: float = 1.0
    intercept: float = 0.0
    low: float = 0.0
    high: float = 1000.0
    signed: bool = False
    frames: bool = False
    located: bool = True
    attributes: Mapping[str, Any] = field(default_factory=dict)


_PET = {
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "Units": "BQML",
    "CountsSource": "EMISSION",
    "SeriesType": ["STATIC", "IMAGE"],
    "DecayCorrection": "START",
    "DecayFactor": "1.02",
    "CorrectedImage": ["DECY", "ATTN", "SCAT"],
    "CollimatorType": "",
    "RadiopharmaceuticalInformationSequence": [],
    "PatientOrientationCodeSequence": [],
    "PatientGantryRelationshipCodeSequence": [],
    "RandomsCorrectionMethod": "DLYD",
    "AttenuationCorrectionMethod": "measured",
    "ScatterCorrectionMethod": "model",
    "ActualFrameDuration": "120000",
    "FrameReferenceTime": "60000",
    "PatientWeight": "70",
    "PatientPosition": None,
}
_NM = {
    "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
    "NumberOfEnergyWindows": 1,
    "NumberOfDetectors": 1,
    "NumberOfRotations": 1,
    "CountsAccumulated": "",
    "EnergyWindowInformationSequence": [],
    "RadiopharmaceuticalInformationSequence": [],
    "RotationInformationSequence": [],
    "PatientOrientationCodeSequence": [],
    "PatientGantryRelationshipCodeSequence": [],
    "PatientPosition": None,
}
_MR = {
    "ScanningSequence": "SE",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "EchoTime": "10",
    "RepetitionTime": "500",
    "EchoTrainLength": "1",
    "MagneticFieldStrength": "3",
}
_PROJECTION = {
    "PatientOrientation": ["L", "F"],
    "BodyPartExamined": "CHEST",
    "ViewPosition": "AP",
    "Laterality": None,
}
_KINDS: Mapping[str, _Kind] = {
    "CT": _Kind(
        uid.CTImageStorage,
        intercept=-1024.0,
        low=-1000.0,
        high=60.0,
        signed=True,
        attributes={"KVP": "120", "RescaleType": "HU", "AcquisitionNumber": 1},
    ),
    "MR": _Kind(uid.MRImageStorage, attributes=_MR),
    "PT": _Kind(uid.PositronEmissionTomographyImageStorage, slope=0.5, low=0.0, high=8000.0, attributes=_PET),
    "NM": _Kind(
        uid.NuclearMedicineImageStorage,
        frames=True,
        attributes=_NM,
    ),
    "RTDOSE": _Kind(
        uid.RTDoseStorage,
        slope=0.001,
        high=50.0,
        frames=True,
        attributes={
            "DoseUnits": "GY",
            "DoseType": "PHYSICAL",
            "DoseSummationType": "PLAN",
            "OperatorsName": "",
        },
    ),
    "CR": _Kind(uid.ComputedRadiographyImageStorage, located=False, attributes=_PROJECTION),
}
_OTHER = _Kind(
    uid.SecondaryCaptureImageStorage,
    located=False,
    attributes={"ConversionType": "WSD", "PatientOrientation": ""},
)
"""Any other modality: Secondary Capture may have each (PS3.3 section A.8.1)."""


def synthetic_series(
    modality: str = "CT",
    shape: tuple[int, int, int] = (5, 32, 32),
    *,
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    orientation: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    array: ArrayLike | None = None,
    patient: str = "TEST-1",
    study: int = 1,
    series: int = 1,
    **attributes: Any,
) -> list[Dataset]:
    """Make the images of one series: a ball in a box, or an array of your own.

    The same arguments give the same images, UIDs included.

    Parameters
    ----------
    modality : str
        ``CT``, ``MR``, ``PT``, ``NM``, ``RTDOSE``, ``CR``; any other makes Secondary Captures that
        say so.
    shape : (int, int, int)
        Slices, rows, columns.
    spacing : (float, float, float)
        Between slices, rows and columns, in mm.
    origin : (float, float, float)
        Where the centre of the first voxel lies, in mm (PS3.3 section C.7.6.2.1.1).
    orientation : sequence of six floats
        ImageOrientationPatient: direction of a row, then of a column. Slices go along their cross product.
    array : array_like, shape ``shape``, optional
        Values in physical units (HU, Bq/ml, Gy); rounded to what the modality's slope can store.
    patient : str
        PatientID.
    study, series : int
        Which study of the patient and which series of the study; UIDs follow from it.
    **attributes : Any
        Attributes by keyword to add or replace: a value, or a function of the slice's index. ``None`` leaves
        the attribute out.

    Returns
    -------
    list of pydicom.Dataset
        One for each slice, with file meta information; one for all of them where the modality has frames.

    Raises
    ------
    ValueError
        When ``array`` has another shape.

    Examples
    --------
    >>> images = synthetic_series("MR", (4, 16, 16), SeriesDescription="T1", EchoTime=lambda index: index + 1)
    >>> len(images), images[3].EchoTime, images[3].ImagePositionPatient
    (4, '4', [0.0, 0.0, 9.0])
    """
    kind = _KINDS.get(modality, _OTHER)
    values = _phantom(shape, kind) if array is None else np.asarray(array, dtype=np.float64)
    if array is not None:
        shape = _three(values, shape)
        values = values.reshape(shape)
    stored = _stored(values, kind)
    place = _Place(np.asarray(origin, float), np.asarray(orientation, float), spacing)
    name = f"{modality} {patient} {study} {series}"
    made = []
    for index in range(1 if kind.frames else len(stored)):
        image = _image(modality, kind, patient=patient, study=study, series=series, index=index)
        if kind.located:
            image.update(_located(place, index, kind, len(stored), f"{patient} {study}"))
        image.update(_pixels(stored if kind.frames else stored[index], kind))
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = _uid(name, "instance", index)
        _apply(image, attributes, index)
        made.append(image)
    return made


def synthetic_study(
    modalities: Iterable[str] = ("CT", "PT"), *, patient: str = "TEST-1", study: int = 1, **options: Any
) -> list[Dataset]:
    """Make the images of one study: a series of each modality, in one frame of reference.

    Parameters
    ----------
    modalities : iterable of str
        The modality of each series; one may come twice.
    patient, study
        As in :func:`synthetic_series`.
    **options : Any
        Further arguments of :func:`synthetic_series`, for every series.

    Returns
    -------
    list of pydicom.Dataset
        The images of the first series, then those of the second, and so on.
    """
    return [
        image
        for number, modality in enumerate(modalities, 1)
        for image in synthetic_series(modality, patient=patient, study=study, series=number, **options)
    ]


@dataclass(frozen=True)
class _Place:
    origin: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: tuple[float, float, float]

    def position(self, index: int) -> list[float]:
        """Return ImagePositionPatient of a slice."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return [round(float(each), 6) for each in self.origin + index * self.spacing[0] * normal]


def _three(values: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if values.ndim == _DIMENSIONS - 1:
        values = values[np.newaxis]
    if values.ndim != _DIMENSIONS:
        msg = f"array has the shape {values.shape}, not (slices, rows, columns) as {shape}"
        raise ValueError(msg)
    return values.shape


def _phantom(shape: tuple[int, int, int], kind: _Kind) -> NDArray[np.float64]:
    """Return a ball in a box."""
    grid = np.meshgrid(
        *(np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1) for size in shape), indexing="ij"
    )
    inside = sum(axis**2 for axis in grid) < 0.5  # noqa: PLR2004 - the ball's radius is 0.7 of the box's
    return np.where(inside, kind.high, kind.low)


def _stored(values: NDArray[np.float64], kind: _Kind) -> NDArray[Any]:
    limits = np.iinfo(np.int16 if kind.signed else np.uint16)
    stored = np.rint((values - kind.intercept) / kind.slope)
    return np.clip(stored, limits.min, limits.max).astype(limits.dtype)


def _image(modality: str, kind: _Kind, *, patient: str, study: int, series: int, index: int) -> Dataset:
    """Return an image without place and pixels."""
    image = Dataset()
    image.SOPClassUID = kind.sop_class
    image.StudyInstanceUID = _uid(patient, study)
    image.SeriesInstanceUID = _uid(patient, study, modality, series)
    image.PatientID, image.PatientName = patient, "Synthetic^Patient"
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyDate, image.StudyTime = _MOMENT
    image.SeriesDate, image.SeriesTime = _MOMENT
    image.AcquisitionDate, image.AcquisitionTime = _MOMENT
    image.ContentDate, image.ContentTime = _MOMENT
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = str(study), f"A{study}", ""
    image.Modality, image.Manufacturer = modality, "dicomnode.testing"
    image.SeriesDescription = f"synthetic {modality}"
    image.SeriesNumber, image.InstanceNumber = series, index + 1
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.PositionReferenceIndicator, image.PatientPosition, image.Laterality = "", "HFS", ""
    _apply(image, kind.attributes, index)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = uid.UID(kind.sop_class)
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return image


def _located(place: _Place, index: int, kind: _Kind, slices: int, frame_of_reference: str) -> Dataset:
    located = Dataset()
    located.FrameOfReferenceUID = _uid(frame_of_reference, "frame of reference")
    located.ImagePositionPatient = place.position(index)
    located.ImageOrientationPatient = [float(each) for each in place.orientation]
    located.PixelSpacing = [float(each) for each in place.spacing[1:]]
    located.SliceThickness = float(place.spacing[0])
    if kind.frames:
        located.NumberOfFrames = slices
    if kind.sop_class == uid.RTDoseStorage:
        located.GridFrameOffsetVector = [frame * float(place.spacing[0]) for frame in range(slices)]
        located.FrameIncrementPointer = 0x3004000C
        plan = Dataset()
        plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = uid.RTPlanStorage, _uid("plan")
        located.ReferencedRTPlanSequence = [plan]
    if kind.sop_class == uid.NuclearMedicineImageStorage:
        located.NumberOfSlices, located.SliceVector = slices, list(range(1, slices + 1))
        located.FrameIncrementPointer = 0x00540080
        located.SpacingBetweenSlices = float(place.spacing[0])
        detector = Dataset()
        detector.CollimatorType, detector.FocalDistance = "PARA", [0]
        detector.ImagePositionPatient = located.ImagePositionPatient
        detector.ImageOrientationPatient = located.ImageOrientationPatient
        located.DetectorInformationSequence = [detector]
        del located.ImagePositionPatient, located.ImageOrientationPatient
    if kind.sop_class == uid.PositronEmissionTomographyImageStorage:
        located.NumberOfSlices, located.ImageIndex = slices, index + 1
    return located


def _pixels(stored: NDArray[Any], kind: _Kind) -> Dataset:
    pixels = Dataset()
    pixels.Rows, pixels.Columns = stored.shape[-2:]
    pixels.SamplesPerPixel, pixels.PhotometricInterpretation = 1, "MONOCHROME2"
    pixels.BitsAllocated, pixels.BitsStored, pixels.HighBit = 16, 16, 15
    pixels.PixelRepresentation = int(kind.signed)
    if kind.sop_class == uid.RTDoseStorage:
        pixels.DoseGridScaling = str(kind.slope)
    elif kind.sop_class in (uid.CTImageStorage, uid.PositronEmissionTomographyImageStorage):
        pixels.RescaleSlope, pixels.RescaleIntercept = str(kind.slope), str(kind.intercept)
    pixels.PixelData = stored.tobytes()
    return pixels


def _apply(image: Dataset, attributes: Mapping[str, Any], index: int) -> None:
    for keyword, given in attributes.items():
        value: Any = given(index) if isinstance(given, Callable) else given  # type: ignore[arg-type]  # mypy does not take Callable for a class
        if value is None:
            image.pop(keyword, None)
        else:
            setattr(image, keyword, value)


def _uid(*names: object) -> uid.UID:
    return uid.generate_uid(entropy_srcs=["dicomnode.testing", *map(str, names)])


__all__ = ["synthetic_series", "synthetic_study"]
