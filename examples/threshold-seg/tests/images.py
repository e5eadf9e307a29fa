"""Write sample images into a folder, and print how many results they give: python tests/images.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dicomnode.testing import synthetic_series

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
array = np.full((6, 64, 64), -1000.0)
array[1:5, 20:40, 10:50] = 700
for index, image in enumerate(synthetic_series("CT", array=array)):
    image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
sys.stdout.write(f"{1}\n")
