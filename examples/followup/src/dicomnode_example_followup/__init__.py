"""Compare a CT with the one before it: an input whose images the host fetches from the PACS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    DicomOutput,
    HistoricAbstractInput,
    InputContainer,
    Measurement,
    MeasurementGroup,
    NumpyGrinder,
    Volume,
    blueprints,
    build_report,
)

BONE = ("272673000", "SCT", "Bone")
VOLUME = ("118565006", "SCT", "Volume")
CUBIC_CENTIMETRE = ("cm3", "UCUM", "cubic centimeter")


class CT(AbstractInput):
    """The new CT series, without gaps."""

    required_values = {"Modality": "CT"}
    required_tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    image_grinder = NumpyGrinder()
    complete_volume = True


class EarlierCT(HistoricAbstractInput):
    """The largest CT series of the last study before, if there was one."""

    level = "series"
    required_values = {"Modality": "CT"}
    image_grinder = NumpyGrinder()

    def query(self, image: Dataset) -> Mapping[str, str]:  # noqa: ARG002 - the host's argument
        """Ask for CT series; the host asks for the patient, and drops answers about anybody else."""
        return {"ModalitiesInStudy": "CT", "Modality": "CT", "NumberOfSeriesRelatedInstances": ""}

    def choose(self, found: Sequence[Dataset], image: Dataset) -> Iterable[Dataset]:
        """Choose one of the answers. Those of the new study and of later ones are not earlier."""
        earlier = sorted(super().choose(found, image), key=lambda each: each.StudyDate)
        last = [each for each in earlier if each.StudyInstanceUID == earlier[-1].StudyInstanceUID]
        return sorted(last, key=lambda each: int(each.NumberOfSeriesRelatedInstances))[-1:]


@dataclass(frozen=True)
class Settings:
    """What a site can set.

    Attributes
    ----------
    threshold : float
        In HU; what lies above it is bone.
    """

    threshold: float = 300.0


class FollowUp(AbstractPipeline):
    """Report how much bone a CT shows, now and before."""

    inputs = {"ct": CT, "earlier": EarlierCT}
    header_input = "ct"
    blueprint = blueprints.report_blueprint
    Settings = Settings

    def process(self, inputs: InputContainer) -> DicomOutput:
        """Measure the new series, and the earlier one where there is one."""
        groups = [self.measured("Now", inputs["ct"])]
        if inputs.images("earlier"):
            before = inputs["earlier"]
            groups.append(self.measured(f"Earlier, {before.sources[0].get('StudyDate', '')}", before))
        return DicomOutput(build_report(inputs.header, groups))

    def measured(self, name: str, volume: Volume) -> MeasurementGroup:
        """Return the volume of the voxels above the threshold."""
        measurement = Measurement(VOLUME, bone_volume(volume, self.settings.threshold), CUBIC_CENTIMETRE)
        return MeasurementGroup(name, (measurement,), finding=BONE)


def bone_volume(volume: Volume, threshold: float) -> float:
    """Return the volume of all voxels above a threshold, in cubic centimetres."""
    voxel = abs(np.linalg.det(volume.affine[:3, :3])) / 1000  # mm3 to cm3
    return float(np.count_nonzero(volume.array > threshold) * voxel)
