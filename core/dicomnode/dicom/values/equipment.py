"""The software that makes a result, as the result names it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.dicom.values.codes import Code, code_item

PROCESSING_EQUIPMENT: Final[Code] = ("109102", "DCM", "Processing Equipment")
IMAGE_PROCESSING: Final[Code] = ("110001", "DCM", "Image Processing")


@dataclass(frozen=True)
class Equipment:
    """The software that made a result, for ContributingEquipmentSequence (PS3.3 C.12.1).

    Parameters
    ----------
    name : str
        The plugin's name: ManufacturerModelName.
    version : str
        Its version: SoftwareVersions.
    manufacturer : str
        Who makes it: Manufacturer.
    description : str, optional
        What it did to the images: ContributionDescription and DerivationDescription.
    codes : tuple of (str, str, str)
        What it did, as codes of CID 7203 for DerivationCodeSequence: (value, scheme, meaning). Without any it
        is "Image Processing" (DCM 110001).
    moment : datetime.datetime, optional
        When: ContributionDateTime, ContentDate and ContentTime. A host gives the moment when the job was
        made, so that a job that is run again makes the same bytes. Without it ContentDate and ContentTime are
        those of the header's making.
    serial_number : str
        DeviceSerialNumber, where an IOD wants one of the software itself (PS3.3 C.7.5.2).

    Examples
    --------
    >>> Equipment("smooth", "1.2", codes=(("113088", "DCM", "Gaussian blur"),)).item().SoftwareVersions
    '1.2'
    """

    name: str = "dicomnode-host"
    version: str = ""
    manufacturer: str = "dicomnode-host"
    description: str | None = None
    codes: tuple[Code, ...] = ()
    moment: dt.datetime | None = None
    serial_number: str = "0"

    def item(self) -> Dataset:
        """Return the item of ContributingEquipmentSequence."""
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
        item.Manufacturer = self.manufacturer[:64]
        item.ManufacturerModelName = self.name[:64]
        if self.version:
            item.SoftwareVersions = self.version[:64]
        if self.description:
            item.ContributionDescription = self.description[:1024]
        if self.moment:
            item.ContributionDateTime = self.moment.strftime("%Y%m%d%H%M%S.%f%z")
        return item

    def derivation_description(self) -> str:
        """Return what DerivationDescription says, at most 1024 characters (an ST)."""
        return (self.description or f"Processed by {self.name} {self.version}".strip())[:1024]

    def derivation_codes(self) -> list[Dataset]:
        """Return the items of DerivationCodeSequence; always at least one, as PS3.3 C.7.6.16.2.6 wants."""
        return [code_item(code) for code in self.codes or (IMAGE_PROCESSING,)]
