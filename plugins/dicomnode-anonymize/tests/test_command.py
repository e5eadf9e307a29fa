"""``dicomnode-host anonymize IN OUT``, as it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from instances import SECRET, bare, ct, wheel_file

from dicomnode import IdentityMapping

KEY = "a key for the tests"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def run(*arguments: object, cwd: Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dicomnode.cli", "anonymize", *map(str, arguments)],
        capture_output=True, check=False, text=True, cwd=cwd, timeout=100,
        env={"ANONYMIZE_KEY": key, "HOME": str(cwd), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two images of one patient, in folders and under names that identify."""
    place = tmp_path / "in" / SECRET
    place.mkdir(parents=True)
    ct(PatientName=SECRET).save_as(place / f"{SECRET}.dcm")
    ct(PatientName=SECRET, SOPInstanceUID="1.2.3.4", BodyPartExamined="HEAD").save_as(place / "2")
    return tmp_path / "in"


def written(out: Path) -> list[Path]:
    """Return the files that were written."""
    return sorted(path for path in out.rglob("*") if path.is_file())


def test_a_folder(folder: Path, tmp_path: Path) -> None:
    """All is written under new UIDs, nothing identifies in paths, bytes or on the terminal; exit code 0."""
    done = run(folder, tmp_path / "out", "--key-env", "ANONYMIZE_KEY", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 instances written" in done.stdout
    assert "look at 1 of them: pixels may show a recognizable face" in done.stdout
    files = written(tmp_path / "out")
    assert len(files) == 2
    uid = IdentityMapping(KEY).uid
    for path in files:
        made = pydicom.dcmread(path)
        parts = (made.StudyInstanceUID, made.SeriesInstanceUID, f"{made.SOPInstanceUID}.dcm")
        assert path.relative_to(tmp_path / "out").parts == parts
        assert SECRET.encode() not in path.read_bytes()
    assert uid("1.2.3.4") in {path.stem for path in files}
    assert SECRET not in done.stdout + done.stderr + str(files)


def test_it_can_be_repeated(folder: Path, tmp_path: Path) -> None:
    """A second run with the same key writes nothing new; another key gives other instances."""
    arguments = (folder, tmp_path / "out", "--key-env", "ANONYMIZE_KEY")
    run(*arguments, cwd=tmp_path)
    before = {path: path.read_bytes() for path in written(tmp_path / "out")}
    again = run(*arguments, cwd=tmp_path)
    assert again.returncode == 0
    assert "2 files were instances that had been written already" in again.stdout
    assert {path: path.read_bytes() for path in written(tmp_path / "out")} == before
    run(*arguments, cwd=tmp_path, key=KEY[::-1])
    assert len(written(tmp_path / "out")) == 4


def test_bad_files_are_told_and_do_not_stop_the_rest(folder: Path, tmp_path: Path) -> None:
    """Broken, refused and conflicting files are named at the end with their reasons; exit code 1."""
    (folder / "notes.txt").write_text(SECRET)
    (folder / "broken.dcm").write_bytes((folder / SECRET / "2").read_bytes()[:300])
    bare(CAPTURE, Rows=1, PatientComments=SECRET).save_as(folder / "capture.dcm", enforce_file_format=True)
    shutil.copy(wheel_file("dicomdirtests/DICOMDIR"), folder / "DICOMDIR")
    ct(PatientName=SECRET, InstanceNumber=99).save_as(folder / "\x1bz")
    (folder / "link").symlink_to("/etc/passwd")
    done = run(folder, tmp_path / "out", "--key-env", "ANONYMIZE_KEY", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 instances written" in done.stdout
    assert "1 files are not DICOM" in done.stdout
    assert "4 files were NOT de-identified" in done.stderr
    lines = {line.split(":")[0].strip(" '"): line for line in done.stderr.splitlines()[1:]}
    assert "capture or a photograph" in lines["capture.dcm"]
    assert "a list of files" in lines["DICOMDIR"]
    assert "broken.dcm" in lines
    assert "other content" in lines.get("\\x1bz", lines.get(f"{SECRET}/{SECRET}.dcm", ""))
    assert "\x1b" not in done.stderr
    assert len(written(tmp_path / "out")) == 2
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in written(tmp_path / "out"))


def test_flagged_instead_of_refused(folder: Path, tmp_path: Path) -> None:
    """--burned-in flag writes such images and says how many to look at."""
    bare(CAPTURE, Rows=1).save_as(folder / "capture.dcm", enforce_file_format=True)
    done = run(folder, tmp_path / "out", "--burned-in", "flag", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "look at 1 of them: pixels may hold burned-in text" in done.stdout


def test_the_table_leads_back(folder: Path, tmp_path: Path) -> None:
    """With --table alone the key is random and the table reverses; a second run goes on with it."""
    table = tmp_path / "who.json"
    assert run(folder, tmp_path / "out", "--table", table, cwd=tmp_path).returncode == 0
    assert table.stat().st_mode & 0o077 == 0
    made = pydicom.dcmread(written(tmp_path / "out")[0])
    assert IdentityMapping.load(table).original("PatientID", made.PatientID) == "1CT1"
    again = run(folder, tmp_path / "out", "--table", table, cwd=tmp_path)
    assert "2 files were instances that had been written already" in again.stdout


def test_the_key_file(folder: Path, tmp_path: Path) -> None:
    """--key-file makes the file; without anything the key is in the user's configuration folder."""
    run(folder / SECRET / "2", tmp_path / "one", "--key-file", tmp_path / "key", cwd=tmp_path)
    key = (tmp_path / "key").read_text().strip()
    assert [path.stem for path in written(tmp_path / "one")] == [IdentityMapping(key).uid("1.2.3.4")]
    run(folder, tmp_path / "two", cwd=tmp_path)
    assert (tmp_path / ".config" / "dicomnode" / "anonymize.key").stat().st_mode & 0o077 == 0
    assert len(written(tmp_path / "two")) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--options", "retain-everything"), "there is no option 'retain-everything'"),
        (("--options", "retain-longitudinal-full-dates,retain-longitudinal-modified-dates"), "choose one"),
        (("--safe-private", "nonsense"), "write it as"),
        (("--key-env", "A", "--key-file", "b"), "choose one"),
        (("--key-env", "NOT_SET"), "no variable NOT_SET"),
    ],
)
def test_wrong_use(folder: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """What cannot be done is told in a line before anything is written; exit code 2."""
    done = run(folder, tmp_path / "out", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_out_must_not_lie_in_in(folder: Path, tmp_path: Path) -> None:
    """Results that would be read again are refused."""
    done = run(folder, folder / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "OUT lies in IN" in done.stderr


def test_options_work_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    """Options, vocabulary and private attributes reach the profile; UIDs of the network become safe paths."""
    (tmp_path / "words").write_text("siteword\n")
    hostile = ct(SeriesDescription=f"Siteword {SECRET}", SOPInstanceUID="1.2.3.4.5")
    hostile.StudyInstanceUID = "../../../1"
    hostile.save_as(folder / "hostile")
    done = run(
        folder / "hostile", tmp_path / "out", "--options", "retain-uids,clean-descriptors",
        "--vocabulary", tmp_path / "words", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = written(tmp_path / "out")
    assert path.name == "1.2.3.4.5.dcm"
    assert pydicom.dcmread(path).SeriesDescription == "Siteword"
    assert not (tmp_path / "1").exists()
