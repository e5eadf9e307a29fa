"""Write sample images into a folder, and print how many results they give: python tests/images.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from dicomnode.testing import synthetic_study

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
images = synthetic_study(["CT", "MR"], patient="SECRET-4711")
for index, image in enumerate(images):
    image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
sys.stdout.write(f"{len(images)}\n")
