"""Write sample images into a folder, and print how many results they give: python tests/images.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dicomnode.testing import synthetic_series

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
noise = np.random.default_rng(1)
for series in (1, 2, 3):
    array = 500 + noise.normal(0, 50, (5, 64, 64))
    for index, image in enumerate(synthetic_series("MR", series=series, array=array)):
        image.save_as(folder / f"{series}-{index}.dcm", enforce_file_format=True)
sys.stdout.write(f"{5}\n")
