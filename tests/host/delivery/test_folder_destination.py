"""A folder as a destination: whole files, durable, never over another."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.folder_destination import FolderDestination
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome


def item(path: Path, content: bytes = b"content", name: str = "1.2.3.dcm", *folders: str) -> OutboxItem:
    path.mkdir(exist_ok=True)
    file = path / f"{len(list(path.iterdir())):06d}"
    file.write_bytes(content)
    return OutboxItem("file", file, folders=folders, file_name=name)


def send(root: Path, *items: OutboxItem) -> list[Outcome]:
    reports = list(FolderDestination(f"file:{root}", root).send(items))
    assert [each for each, _ in reports] == list(items)
    return [outcome for _, outcome in reports]


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_files_lie_below_their_folders(tmp_path: Path) -> None:
    """A file goes under its folders and its name; the folder is made, for its owner only."""
    root = tmp_path / "a" / "results"
    outcomes = send(root, item(tmp_path / "out", b"x", "1.2.dcm", "P1", "1.2.3"))
    assert [each.delivery for each in outcomes] == [Delivery.CONFIRMED]
    assert files(root) == {"P1/1.2.3/1.2.dcm": b"x"}
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "P1").stat().st_mode & 0o777 == 0o700
    assert (root / "P1/1.2.3/1.2.dcm").stat().st_mode & 0o777 == 0o600


def test_who_may_read_the_folder_may_read_what_is_in_it(tmp_path: Path) -> None:
    """Under a folder that a group may use, folders and files are the group's too."""
    root = tmp_path / "results"
    root.mkdir()
    root.chmod(0o2770)
    send(root, item(tmp_path / "out", b"x", "f", "P1"))
    assert (root / "P1").stat().st_mode & 0o7777 == 0o2770
    assert (root / "P1" / "f").stat().st_mode & 0o777 == 0o660


@given(name=st.text(max_size=80), folders=st.lists(st.text(max_size=80), max_size=3))
def test_no_text_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str, folders: list[str]
) -> None:
    """Whatever names say, one file comes to lie below the folder and none elsewhere."""
    tmp_path = tmp_path_factory.mktemp("names")
    root = tmp_path / "results"
    (outcome,) = send(root, item(tmp_path / "out", b"x", name, *folders))
    assert outcome.delivery is Delivery.CONFIRMED
    assert list(files(root).values()) == [b"x"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "results"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{'1.' * 31}22.dcm", f"{'1.' * 31}22.dcm"),  # a UID has 64 characters at most
        ("mask.nii.gz", "mask.nii.gz"),
        ("a b.json", r"a_b~[0-9a-f]{16}\.json"),
        ("../../x.dcm", r"x~[0-9a-f]{16}\.dcm"),
        (".dcm", r"dcm~[0-9a-f]{16}"),
        ("x.d c", r"x.d_c~[0-9a-f]{16}"),
    ],
)
def test_suffixes_stay(tmp_path: Path, name: str, expected: str) -> None:
    """A name that must be changed, or has the length of a UID, keeps its suffix."""
    send(tmp_path / "results", item(tmp_path / "out", b"x", name))
    (found,) = files(tmp_path / "results")
    assert found == expected or re.fullmatch(expected, found)


def test_the_same_file_again_is_a_confirmation(tmp_path: Path) -> None:
    """After an attempt whose outcome was not entered, the file is found and there is still one."""
    root, one = tmp_path / "results", item(tmp_path / "out")
    send(root, one)
    before = (root / "1.2.3.dcm").stat()
    (outcome,) = send(root, one)
    assert (outcome.delivery, outcome.reason) == (Delivery.CONFIRMED, "it was there already")
    after = (root / "1.2.3.dcm").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_file_of_that_name_stays(tmp_path: Path) -> None:
    """A file is never written over; the new one lies beside it, once however often it is sent."""
    root = tmp_path / "results"
    one, two, three = (item(tmp_path / "out", content) for content in (b"one", b"two", b"three"))
    outcomes = send(root, one, two, three, two, two)
    assert {each.delivery for each in outcomes} == {Delivery.CONFIRMED}
    found = files(root)
    assert found["1.2.3.dcm"] == b"one"
    assert sorted(found.values()) == [b"one", b"three", b"two"]
    assert all(name.startswith("1.2.3") and name.endswith(".dcm") for name in found)


def test_a_folder_or_link_in_the_way(tmp_path: Path) -> None:
    """A folder, or a link that leads elsewhere, under the file's name is not touched."""
    root = tmp_path / "results"
    (root / "f").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"content")
    (root / "g").symlink_to(tmp_path / "elsewhere")
    (root / "h").symlink_to(tmp_path / "nowhere")
    outcomes = send(root, *(item(tmp_path / "out", b"content", name) for name in "fgh"))
    assert {each.delivery for each in outcomes} == {Delivery.CONFIRMED}
    assert not (tmp_path / "nowhere").exists()
    assert len([path for path in root.iterdir() if path.is_file() and not path.is_symlink()]) == 3


def test_a_link_among_the_folders(tmp_path: Path) -> None:
    """A link in place of a patient's folder does not lead a result out of the destination."""
    root = tmp_path / "results"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "P1").symlink_to(tmp_path / "elsewhere")
    (outcome,) = send(root, item(tmp_path / "out", b"x", "f", "P1"))
    assert outcome.delivery is Delivery.LATER
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_that_has_gone_from_the_outbox(tmp_path: Path) -> None:
    """It is a dead letter, and the others go on."""
    one, two = (item(tmp_path / "out", content, content.decode()) for content in (b"a", b"b"))
    one.path.unlink()
    outcomes = send(tmp_path / "results", one, two)
    assert [each.delivery for each in outcomes] == [Delivery.REFUSED, Delivery.CONFIRMED]


@pytest.mark.parametrize("call", ["shutil.copyfileobj", "os.fsync", "os.link"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    """A full, failing or read-only disk means later, and leaves nothing half-written to be seen."""
    root, one = tmp_path / "results", item(tmp_path / "out")

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patched:
        patched.setattr(f"dicomnode.host.delivery.folder_destination.{call}", fail)
        (outcome,) = send(root, one)
    assert outcome.delivery is Delivery.LATER
    assert str(root) in outcome.reason
    assert files(root) == {}
    assert [each.delivery for each in send(root, one)] == [Delivery.CONFIRMED]
    assert files(root) == {"1.2.3.dcm": b"content"}


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Where there are no hard links (many network shares) files are renamed, and never over another."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("dicomnode.host.delivery.folder_destination.os.link", fail)
    root = tmp_path / "results"
    outcomes = send(root, *(item(tmp_path / "out", content) for content in (b"one", b"two")))
    assert {each.delivery for each in outcomes} == {Delivery.CONFIRMED}
    assert sorted(files(root).values()) == [b"one", b"two"]
    assert files(root)["1.2.3.dcm"] == b"one"


_KILLED = """
import os, sys
from pathlib import Path
import dicomnode.host.delivery.folder_destination as module
from dicomnode.pipeline.destination import OutboxItem
module.os.link = lambda *_: os._exit(9)
item = OutboxItem("file", Path(sys.argv[2]), file_name="1.2.3.dcm")
list(module.FolderDestination("file:", Path(sys.argv[1])).send([item]))
"""


def test_what_a_crash_left_is_used_up(tmp_path: Path) -> None:
    """The temporary file of an attempt that was killed is the next attempt's, so nothing gathers."""
    root, one = tmp_path / "results", item(tmp_path / "out")
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", _KILLED, root, one.path], check=False)
        assert killed.returncode == 9
        (left,) = files(root)
        assert left.startswith(".")
    send(root, one)
    assert files(root) == {"1.2.3.dcm": b"content"}


def test_a_root_that_cannot_be_used(tmp_path: Path) -> None:
    """A file where the folder should be: the destination is unusable, and the message names it."""
    (tmp_path / "results").write_bytes(b"")
    with pytest.raises(DeliveryError, match="results cannot be used"):
        send(tmp_path / "results", item(tmp_path / "out"))
