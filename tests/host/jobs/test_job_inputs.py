"""The input files of a job: other names for the plugin, and found out when they were changed all the same."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_inputs import InputFiles
from plugin_factory import write_inputs
from sources import mr_slices


class Files:
    """Three images, of which two inputs share one."""

    def __init__(self, root: Path) -> None:
        self.images = write_inputs(root / "spool", mr_slices(3))
        self.links = root / "links"
        self.links.mkdir()
        self.paths = [Path(path) for path, _index in self.images]

    def open(self, **checksums: str) -> InputFiles:
        """Take them as the inputs of a job."""
        inputs = {"one": self.images[:2], "two": self.images[1:]}
        return InputFiles(
            inputs, self.links, {str(self.paths[int(key[1:])]): each for key, each in checksums.items()}
        )

    def digest(self, number: int) -> str:
        """Return the digest of a file."""
        return hashlib.sha256(self.paths[number].read_bytes()).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write three images."""
    return Files(tmp_path)


def uids(images: object) -> list[str]:
    return [str(image.SOPInstanceUID) for image in images]  # type: ignore[attr-defined]  # a tuple of datasets


def test_images_are_there_by_input(files: Files) -> None:
    """Each input has its images in order, under names of their own; an image of two inputs is two objects."""
    opened = files.open()
    expected = [pydicom.dcmread(path).SOPInstanceUID for path in files.paths]
    assert uids(opened.images["one"]) == expected[:2]
    assert uids(opened.images["two"]) == expected[1:]
    assert opened.images["one"][1] is not opened.images["two"][0]
    linked = [image.path for images in opened.images.values() for image in images]
    assert {path.parent for path in linked} == {files.links}
    assert sorted(path.name for path in files.links.iterdir()) == [f"{number:06d}.dcm" for number in range(3)]
    assert all(path.samefile(other) for path, other in zip(linked[:2], files.paths, strict=False))


def test_nobody_may_write_to_them(files: Files) -> None:
    """The files can be read by their owner, and written by nobody."""
    files.open()
    assert {path.stat().st_mode & 0o777 for path in files.paths} == {0o400}


def test_without_hard_links_the_files_themselves_are_given(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that has none is no reason to fail."""

    def failing(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", failing)
    monkeypatch.setattr(Path, "chmod", failing)
    opened = files.open()
    assert [image.path for image in opened.images["one"]] == files.paths[:2]
    opened.check_unchanged()


def test_sources_are_fresh_handles(files: Files) -> None:
    """Every image once, at its own place, without what a plugin did to its dataset."""
    opened = files.open()
    opened.images["one"][0].PatientID = "changed"
    sources = opened.sources
    assert [image.path for image in sources] == files.paths
    assert "changed" not in {image.PatientID for image in sources}
    assert opened.sources[0] is not sources[0]


def test_a_file_that_is_gone(files: Files) -> None:
    """The job fails and names the file."""
    files.paths[1].unlink()
    with pytest.raises(JobFailedError, match=r"000001\.dcm cannot be read: No such file") as caught:
        files.open()
    assert caught.value.kind == Failure.INPUT


def test_a_file_that_is_not_what_was_received(files: Files) -> None:
    """A digest that differs is damage that running again cannot mend; files without one are not compared."""
    files.open(n0=files.digest(0), n1=files.digest(1))
    with pytest.raises(
        JobFailedError, match=r"1 of its 3 input files are not what was received: .*000001"
    ) as caught:
        files.open(n0=files.digest(0), n1="0" * 64)
    assert caught.value.kind == Failure.DAMAGED


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
        lambda path: os.truncate(path, 10),
        lambda path: path.unlink(),
        lambda path: path.replace(path.with_name("moved")),
    ],
)
def test_a_file_that_was_changed_is_named(files: Files, change: Callable[[Path], None]) -> None:
    """Written to, cut off, deleted or moved: the job fails by that file alone."""
    opened = files.open()
    opened.check_unchanged()
    files.paths[1].chmod(0o600)
    change(files.paths[1])
    with pytest.raises(
        JobFailedError, match=r"changed 1 of its 3 input files, the first of them .*000001"
    ) as caught:
        opened.check_unchanged()
    assert caught.value.kind == Failure.INPUT


def test_bytes_count_and_not_times(files: Files) -> None:
    """A change that sets the old times again is found; a file that was touched only is what it was."""
    opened = files.open()
    path = files.paths[0]
    path.chmod(0o600)
    os.utime(path, (1, 1))
    opened.check_unchanged()
    before = path.stat()
    path.write_bytes(b"x" + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(JobFailedError, match="changed 1 of its 3"):
        opened.check_unchanged()


def test_a_file_that_looks_the_same_is_not_read_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says of a file is enough where nothing has touched it."""
    opened = files.open()
    monkeypatch.setattr(hashlib, "file_digest", lambda *_arguments: pytest.fail("read again"))
    opened.check_unchanged()


def test_what_the_manifest_says(files: Files) -> None:
    """Of each image of each input its path, instance and digest."""
    plain = files.open().to_json()
    assert {name: [each["path"] for each in images] for name, images in plain.items()} == {
        "one": [str(path) for path in files.paths[:2]],
        "two": [str(path) for path in files.paths[1:]],
    }
    assert plain["one"][0]["sha256"] == files.digest(0)
    assert plain["one"][0]["SOPInstanceUID"] == pydicom.dcmread(files.paths[0]).SOPInstanceUID
    nameless = InputFiles({"one": [(str(files.paths[0]), {})]}, files.links / "..", {})
    assert nameless.to_json()["one"][0]["SOPInstanceUID"] == ""
