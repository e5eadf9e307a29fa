"""Rules of a hospital, for every pipeline on its node: a plugin of hooks and nothing else.

The rules are told by the environment, since hooks have no settings of their own:

- ``SITE_INSTITUTION``: the name that results carry.
- ``SITE_COPY_TO``: the name of a peer in the configuration that gets a copy of every DICOM result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pydicom.dataset import Dataset

from dicomnode import Blueprint, DicomOutput, PipelineOutput, StaticElement, hookimpl, looks_at


@hookimpl
@looks_at("ImageType", "BurnedInAnnotation")
def dicomnode_validate_image(image: Dataset) -> str | None:
    """Refuse localizers, and images with text in their pixels. The sender is told why."""
    if "LOCALIZER" in image.get("ImageType", ()):
        return "this site does not process localizers"
    if image.get("BurnedInAnnotation") == "YES":
        return "this site does not process images with burned-in annotation"
    return None


@hookimpl
def dicomnode_blueprint() -> Blueprint | None:
    """Write the institution into every result, whatever the pipeline's own blueprint says."""
    institution = os.environ.get("SITE_INSTITUTION")
    if not institution:
        return None
    return Blueprint(
        [
            StaticElement("InstitutionName", institution),
            StaticElement("InstitutionalDepartmentName", "Image processing"),
        ]
    )


@hookimpl
def dicomnode_output(output: PipelineOutput) -> Iterable[PipelineOutput] | None:
    """Send a copy of every DICOM result to another peer, besides where the pipeline sends it."""
    copy_to = os.environ.get("SITE_COPY_TO")
    if not copy_to or not isinstance(output, DicomOutput):
        return None
    return [DicomOutput(output.datasets, destinations=[copy_to])]
