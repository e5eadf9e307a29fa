"""Programs that tests need and pip does not install: found, or the test is skipped with what to install."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRED = "DICOMNODE_REQUIRE_PEERS"
"""Set to 1 in the environment, as ``.ci/run`` does, it makes a missing program a failure."""

_PACKAGES = {
    "dciodvfy": "dicom3tools",
    "gcc": "gcc libc6-dev",
    "openssl": "openssl",
    "Orthanc": "orthanc",
    "systemd-analyze": "systemd",
}


def program(name: str) -> Path:
    """Find a program; without it the test is skipped, or fails where programs are required.

    What lies beside this Python is passed over: pynetdicom installs an ``echoscu`` and a ``storescu`` there,
    and these tests want those of DCMTK.
    """
    folders = [folder for folder in os.get_exec_path() if Path(folder) != Path(sys.executable).parent]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))
    if found is None:
        missing(f"{name} is not installed (apt-get install {_PACKAGES.get(name, 'dcmtk')})")
    return Path(found)


def missing(reason: str) -> NoReturn:
    """Skip the test with a reason, or fail it where programs are required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)
