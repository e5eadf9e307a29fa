"""Programs that tests need: what is missing skips a test here, and fails it where programs are required."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from programs import REQUIRED, program


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the only one programs are looked for in, beside Python's own."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{tmp_path}")
    monkeypatch.delenv(REQUIRED, raising=False)
    return tmp_path


def test_a_missing_program_skips_the_test(folder: Path) -> None:
    """The reason names the program and the package that has it."""
    with pytest.raises(pytest.skip.Exception, match=r"dciodvfy is not .*\(apt-get install dicom3tools\)"):
        program("dciodvfy")


def test_a_missing_program_fails_the_test_where_programs_are_required(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI cannot pass by skipping."""
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="storescu is not installed"):
        program("storescu")


def test_a_program_beside_python_is_not_dcmtks(folder: Path) -> None:
    """The storescu that pynetdicom installs is passed over; one elsewhere in PATH is taken."""
    assert (Path(sys.executable).parent / "storescu").exists()
    made = folder / "storescu"
    made.touch()
    made.chmod(stat.S_IRWXU)
    assert program("storescu") == made
