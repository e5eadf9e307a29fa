"""The pipeline ``anonymize``: whatever is sent to it goes on de-identified."""

from __future__ import annotations

import copy
from typing import ClassVar

from pydicom.dataset import Dataset

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    Blueprint,
    DicomOutput,
    InputContainer,
    LazyDataset,
    PipelineOutput,
)
from dicomnode_anonymize import pixels
from dicomnode_anonymize.settings import Settings


class Instances(AbstractInput):
    """Instances of any kind, of one patient."""

    several_series = True


class AnonymizePipeline(AbstractPipeline):
    """De-identifies every instance of a patient by PS3.15 Annex E.

    Pixels stay as they are. An image whose pixels may hold text about the patient is refused when it arrives,
    unless the settings say that such images are only to be marked.
    """

    inputs: ClassVar = {"instances": Instances}
    blueprint = Blueprint()
    changes_identity = True
    index_also = pixels.EXAMINED
    Settings = Settings

    def process(self, inputs: InputContainer) -> PipelineOutput:
        """Return the de-identified instances."""
        settings: Settings = self.settings
        with settings.mapping() as mapping:
            anonymizer = settings.anonymizer(mapping)
            made = [anonymizer.anonymize(_own_copy(image)) for image in inputs.images("instances")]
        return DicomOutput(made)

    def why_refused(self, image: Dataset) -> str | None:
        """Say why an image is not taken by these settings, ``None`` where it is."""
        return pixels.refusal(
            image, burned_in=self.settings.burned_in, visual_features=self.settings.visual_features
        )


def _own_copy(image: Dataset) -> Dataset:
    """Return a data set that may be changed; the pixels of one on disk stay there."""
    return LazyDataset(image.path) if isinstance(image, LazyDataset) else copy.deepcopy(image)
