"""Source images for the tests: real ones from pydicom's wheel, and made ones of the modalities it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    RTPlanStorage,
    generate_uid,
)

_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"


def ct_slices() -> list[Dataset]:
    """Return five CT slices of one series, in the order of their files."""
    return _series("98892001/CT5N")


def mr_slices(count: int = 4) -> list[Dataset]:
    """Return MR slices that form a volume: copies of pydicom's MR_small, 5 mm apart."""
    slices = []
    for index in range(count):
        image = pydicom.dcmread(_PYDICOM / "MR_small.dcm")
        image.SOPInstanceUID = generate_uid(entropy_srcs=["mr", str(index)])
        image.InstanceNumber = index + 1
        image.ImagePositionPatient = [
            *image.ImagePositionPatient[:2],
            image.ImagePositionPatient[2] + 5 * index,
        ]
        image.SliceLocation = image.ImagePositionPatient[2]
        slices.append(image)
    return slices


def dose_grid() -> Dataset:
    """Return an RT Dose of fifteen frames, with a valid UID in place of the one that pydicom's file has."""
    dose = pydicom.dcmread(_PYDICOM / "rtdose.dcm")
    del dose.ReferencedRTPlanSequence
    plan = Dataset()
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = RTPlanStorage, "1.2.3.4"
    dose.ReferencedRTPlanSequence = [plan]
    return dose


def _series(folder: str) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted((_PYDICOM / "dicomdirtests" / folder).iterdir())]


def pet_slices(count: int = 4) -> list[Dataset]:
    """Return PET slices, 8 x 8, 3 mm apart, in Bq/ml."""
    study, series, frame = (generate_uid(entropy_srcs=["pet", name]) for name in ("study", "series", "frame"))
    slices = []
    for index in range(count):
        image = _image(PositronEmissionTomographyImageStorage, study, series, f"pet {index}")
        image.Modality = "PT"
        image.ImageType = ["ORIGINAL", "PRIMARY"]
        image.SeriesDate, image.SeriesTime = "20260102", "101500"
        image.AcquisitionDate, image.AcquisitionTime = "20260102", "101530"
        image.FrameOfReferenceUID = frame
        image.Units, image.CountsSource, image.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
        image.DecayCorrection, image.DecayFactor = "START", "1.02"
        image.CorrectedImage = ["DECY", "ATTN", "SCAT"]
        image.CollimatorType = ""
        image.RadiopharmaceuticalInformationSequence = []
        image.PatientOrientationCodeSequence = []
        image.PatientGantryRelationshipCodeSequence = []
        image.PositionReferenceIndicator = ""
        image.RandomsCorrectionMethod = "DLYD"
        image.AttenuationCorrectionMethod = "measured"
        image.ScatterCorrectionMethod = "model"
        image.NumberOfSlices, image.ImageIndex = count, index + 1
        image.ActualFrameDuration, image.FrameReferenceTime = "120000", "60000"
        image.ImagePositionPatient = [-12.0, -12.0, 3.0 * index]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [3.0, 3.0], "3"
        image.InstanceNumber = index + 1
        image.RescaleIntercept, image.RescaleSlope = "0", "1.5"
        slices.append(_with_pixels(image, np.full((8, 8), 100 * index, np.int16)))
    return slices


def nm_image(frames: int = 2) -> Dataset:
    """Return a static NM image of several frames, one a detector."""
    image = _image(NuclearMedicineImageStorage, generate_uid(), generate_uid(), "nm")
    image.Modality = "NM"
    image.ImageType = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
    image.NumberOfFrames = frames
    image.FrameIncrementPointer = [0x00540010, 0x00540020]
    image.EnergyWindowVector, image.DetectorVector = [1] * frames, list(range(1, frames + 1))
    image.NumberOfEnergyWindows, image.NumberOfDetectors = 1, frames
    image.PixelSpacing = [4.4, 4.4]
    image.CountsAccumulated = 12345
    image.AcquisitionDate, image.AcquisitionTime = "20260102", "101530"
    image.ActualFrameDuration = 60000
    image.EnergyWindowInformationSequence = [Dataset()]
    image.DetectorInformationSequence = [_detector() for _ in range(frames)]
    return _with_pixels(image, np.arange(frames * 64, dtype=np.uint16).reshape(frames, 8, 8))


def _detector() -> Dataset:
    detector = Dataset()
    detector.CollimatorType, detector.FocalDistance = "PARA", [0]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    detector.ImagePositionPatient = [0, 0, 0]
    return detector


def _image(sop_class: str, study: str, series: str, name: str) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = sop_class, generate_uid(entropy_srcs=[name, series])
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.PatientName, image.PatientID = "Made^Up", "M1"
    image.PatientBirthDate, image.PatientSex = "19700101", "O"
    image.StudyDate, image.StudyTime, image.StudyID = "20260102", "100000", "1"
    image.AccessionNumber, image.ReferringPhysicianName = "", ""
    image.Manufacturer = "nobody"
    image.SeriesNumber, image.InstanceNumber = 3, 1
    return image


def _with_pixels(image: Dataset, pixels: np.ndarray) -> Dataset:
    image.Rows, image.Columns = pixels.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = pixels.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image
