"""Write sample images into a folder, and print how many results they give: python tests/images.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from dicomnode.testing import synthetic_series

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for index, image in enumerate(synthetic_series("CT", (6, 64, 64))):
    image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
sys.stdout.write(f"{6}\n")
