"""dciodvfy finds nothing wrong that was not wrong before."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from dicomnode_anonymize import Anonymizer, Option
from instances import wheel_file

from conftest import KEY
from dicomnode import IdentityMapping

pytestmark = pytest.mark.peers

# A list of instances, not alternatives: each with what an option brings in.
ALL = [option for option in Option if option is not Option.RETAIN_LONGITUDINAL_FULL_DATES]


@pytest.fixture(autouse=True)
def _tool() -> None:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("DICOMNODE_REQUIRE_PEERS") == "1":
            pytest.fail("dciodvfy is missing: apt-get install dicom3tools")
        pytest.skip("dciodvfy is not installed")


def errors_in(path: Path) -> set[str]:
    """Return the errors, without the values that they quote."""
    told = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace"
    )
    lines = (told.stdout + told.stderr).splitlines()
    return {re.sub(r"<[^>]*>", "<>", line) for line in lines if line.startswith("Error")}


@pytest.mark.parametrize(
    "options", [[], [Option.RETAIN_LONGITUDINAL_FULL_DATES], ALL], ids=["none", "dates", "all"]
)
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm", "rtplan.dcm",
        "rtdose.dcm", "liver_1frame.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm",
        "rtstruct.dcm", "waveform_ecg.dcm",
    ],
)  # fmt: skip
def test_no_new_errors(tmp_path: Path, name: str, options: list[Option]) -> None:
    """What is de-identified is as valid as it was."""
    source = wheel_file(name)
    made = Anonymizer(IdentityMapping(KEY), options, burned_in="flag").anonymize(
        pydicom.dcmread(source, force=True)
    )
    made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
    assert errors_in(tmp_path / "made.dcm") - errors_in(source) == set()
