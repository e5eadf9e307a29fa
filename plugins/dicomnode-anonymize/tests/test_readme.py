"""What the README and the command's help say."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from dicomnode_anonymize import Option
from dicomnode_anonymize.command import anonymize
from instances import ct

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It de-identifies a file."""
    monkeypatch.chdir(tmp_path)
    ct().save_as("image.dcm")
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    exec(block, {})
    assert pydicom.dcmread("new.dcm").PatientIdentityRemoved == "YES"


def test_the_help_names_every_option() -> None:
    """Options of the profile are found where they are looked for."""
    told = CliRunner().invoke(anonymize, ["--help"]).output
    assert [option for option in Option if option not in told.split()] == []
