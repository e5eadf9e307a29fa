"""What ``process`` receives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.building.header import SeriesHeader
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.pipeline.inputs import AbstractInput


def patient_id_of(images: Iterable[Dataset]) -> str:
    """Return the Patient ID (0010,0020) of the first image, an empty text where there is none."""
    first = next(iter(images), None)
    return "" if first is None else str(first.get("PatientID") or "")


@dataclass(frozen=True, slots=True)
class Patient:
    """Who the images are of, as the first source dataset says (PS3.3 section C.7.1.1)."""

    PatientID: str
    PatientName: str
    PatientBirthDate: str
    PatientSex: str
    StudyInstanceUID: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job, as ``process`` sees it.

    Attributes
    ----------
    id : str
        The job's number in the ledger.
    identity : str
        What its new UIDs are derived from: pipeline, its settings and version, patient and input instances.
        A job that is run again has the same identity.
    workdir : pathlib.Path
        A folder that is the job's own while it runs, and is removed afterwards.
    """

    id: str
    identity: str
    workdir: Path


class InputContainer(Mapping[str, Any]):
    """What ``process`` receives: input name -> what the input's grinder made of its images.

    Grinding happens when a name is first asked for.

    Parameters
    ----------
    inputs : mapping of str to AbstractInput
        The complete inputs.
    blueprint : Blueprint
        What a header is made with.
    filling_strategy : FillingStrategy
        What becomes of source attributes that the blueprint does not name.
    header_input : str
        The input from whose images :attr:`header` is made.
    job : Job
        The job that this is part of.
    equipment : object, optional
        What made the result (PS3.3 section C.12.1, ContributingEquipmentSequence).
    """

    def __init__(
        self,
        inputs: Mapping[str, AbstractInput],
        *,
        blueprint: Blueprint,
        filling_strategy: FillingStrategy,
        header_input: str,
        job: Job,
        equipment: Any = None,
    ) -> None:
        self._inputs = dict(inputs)
        self._ground: dict[str, Any] = {}
        self._blueprint = blueprint
        self._filling_strategy = filling_strategy
        self._header_input = header_input
        self._equipment = equipment
        self._uids = UIDSource.derived(job.identity)
        self.job = job

    def __getitem__(self, name: str) -> Any:
        if name not in self._ground:
            self._ground[name] = self._inputs[name].ground()
        return self._ground[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    def images(self, name: str) -> tuple[Dataset, ...]:
        """Return the source datasets of an input, in order of arrival."""
        return tuple(self._inputs[name])

    @property
    def sources(self) -> tuple[Dataset, ...]:
        """The source datasets of all inputs."""
        return tuple(image for held in self._inputs.values() for image in held)

    @cached_property
    def patient(self) -> Patient:
        """The patient and study of the input that headers are made from."""
        first = self._header_images(self._header_input)[0]
        return Patient(**{keyword: str(first.get(keyword, "") or "") for keyword in Patient.__slots__})

    @cached_property
    def header(self) -> SeriesHeader:
        """The pipeline's blueprint, instantiated from the images of its ``header_input``."""
        return self.header_from(self._header_input)

    def header_from(self, name: str, blueprint: Blueprint | None = None) -> SeriesHeader:
        """Return a header made from the images of an input.

        Parameters
        ----------
        name : str
            The input whose images are the source.
        blueprint : Blueprint, optional
            Another blueprint than the pipeline's.

        Raises
        ------
        MissingTagsError
            When the images lack attributes that the blueprint copies; all of them are named.
        """
        return NumpyFactory().make_header(
            self._blueprint if blueprint is None else blueprint,
            self._header_images(name),
            uids=self._uids,
            filling_strategy=self._filling_strategy,
            equipment=self._equipment,
        )

    def _header_images(self, name: str) -> tuple[Dataset, ...]:
        """Return the images of an input; where it is empty (and optional), of the first that is not."""
        filled = (each for each in (name, *self._inputs) if len(self._inputs[each]))
        return self.images(next(filled, name))
