"""Write sample images into a folder, and print how many results they give: python tests/images.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.testing import synthetic_series

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
isotope = Dataset()
isotope.RadionuclideTotalDose, isotope.RadionuclideHalfLife = 350e6, 6586.2
isotope.RadiopharmaceuticalStartTime, isotope.RadionuclideCodeSequence = "091500", []
pet = synthetic_series(
    "PT", (8, 32, 32), spacing=(3.0, 4.0, 4.0), RadiopharmaceuticalInformationSequence=[isotope]
)
ct = synthetic_series("CT", (12, 96, 96), spacing=(2.0, 1.4, 1.4), series=2)
for number, image in enumerate(pet + ct):
    image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
sys.stdout.write(f"{2 * len(pet)}\n")
