"""Trees that nobody has checked: they are removed and measured whatever is in them, and nothing is raised."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deep_folders import nest
from dicomnode.host.foundation import file_trees
from dicomnode.host.foundation.file_trees import (
    TreeRemover,
    disk_usage,
    move_aside,
    remove_or_move_aside,
    remove_tree,
)
from file_systems import immutable


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder to be filled."""
    made = tmp_path / "tree"
    made.mkdir()
    return made


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Make a folder in memory, where there is such a file system: an ext4 takes 1 ms to remove a folder."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as made:
        yield Path(made)


def descriptors() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# -- removing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 1200, 5000, 20_000])
def test_deep_folders(memory: Path, depth: int) -> None:
    """A tree of any depth is removed, though its path is longer than any path may be; no file stays open."""
    before = descriptors()
    tree = memory / "tree"
    tree.mkdir()
    nest(tree, depth, "name" * 10)
    assert remove_tree(tree) is None
    assert not tree.exists()
    assert descriptors() == before


def test_what_is_not_there(tmp_path: Path) -> None:
    """There is nothing to do for what has gone already, nor where the folder above it has gone, too."""
    assert remove_tree(tmp_path / "gone") is None
    assert remove_tree(tmp_path / "gone" / "below") is None


def test_a_file(tmp_path: Path) -> None:
    """A file is removed as well as a folder."""
    file = tmp_path / "file"
    file.write_text("x")
    assert remove_tree(file) is None
    assert not file.exists()


def test_symbolic_links_are_not_followed(tree: Path, tmp_path: Path) -> None:
    """A link goes, whatever it points to, which stays: in the tree and at its top."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    for name, target in (
        ("folder", elsewhere),
        ("file", elsewhere / "precious"),
        ("dangling", tmp_path / "no"),
    ):
        (tree / name).symlink_to(target)
    (tree / "itself").symlink_to(tree)
    top = tmp_path / "top"
    top.symlink_to(elsewhere)
    assert remove_tree(tree) is remove_tree(top) is None
    assert not tree.exists()
    assert not top.is_symlink()
    assert (elsewhere / "precious").read_text() == "x"


def test_what_is_neither_file_nor_folder(tree: Path) -> None:
    """A FIFO without a reader does not hold the removal up; sockets and names that are no UTF-8 go, too."""
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "socket"))
    (tree / os.fsdecode(b"\xff\xfe")).mkdir()
    (tree / "line\nbreak").write_text("x")
    assert remove_tree(tree) is None
    assert not tree.exists()


def test_many_files_and_folders(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is more than one reading of a folder takes in is removed in several."""
    monkeypatch.setattr(file_trees, "_BATCH", 10)
    for number in range(200):
        (tree / f"{number}").mkdir()
        (tree / f"{number}" / "file").write_text("x")
        (tree / f"file-{number}").write_text("x")
    assert remove_tree(tree) is None
    assert not tree.exists()


def test_hard_links_keep_their_mode(tree: Path, tmp_path: Path) -> None:
    """A file that has another name elsewhere is not changed: an input of a job is one."""
    kept = tmp_path / "kept"
    kept.write_text("x")
    kept.chmod(0o440)
    (tree / "link").hardlink_to(kept)
    assert remove_tree(tree) is None
    assert kept.stat().st_mode & 0o777 == 0o440


REMOVE_AS_USER = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from dicomnode.host.foundation.file_trees import remove_tree
os.setgid(65534), os.setuid(65534)
top = Path({top!r})
for name, mode in (("none", 0o000), ("read-only", 0o500), ("closed", 0o600)):
    (top / "tree" / name / "below").mkdir(parents=True)
    (top / "tree" / name / "below" / "file").write_text("x")
    (top / "tree" / name / "below").chmod(mode)
    (top / "tree" / name).chmod(mode)
(top / "tree").chmod(0)
print(remove_tree(top / "tree"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_folders_without_permissions(tmp_path: Path) -> None:
    """A user who is not root removes folders that it may neither read, nor search, nor write to."""
    import sys

    top = Path("/tmp") / f"{tmp_path.parent.name}-{os.getpid()}"
    top.mkdir()
    try:
        shutil.chown(top, 65534, 65534)
        code = REMOVE_AS_USER.format(path=sys.path, top=str(top))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout == "None\n", done.stderr
        assert list(top.iterdir()) == []
    finally:
        shutil.rmtree(top)


def test_permissions_are_given_before_a_second_attempt(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be opened is opened once it has been given permission."""
    (tree / "closed").mkdir()
    (tree / "closed").chmod(0)
    (tree / "closed" / "file").write_text("x")
    opening, given = os.open, []

    def as_user(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "closed" and not flags & os.O_PATH and not (tree / path).stat().st_mode & 0o700:
            given.append(path)
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", as_user)
    assert remove_tree(tree) is None
    assert given == ["closed"]


# -- what cannot be removed ----------------------------------------------------------------------------------


def test_what_cannot_be_removed_stays_alone(tree: Path) -> None:
    """Everything else of the tree goes; what is left is told with its path and without names in it."""
    for name in ("a", "b", "c"):
        (tree / name).mkdir()
        (tree / name / "Smith^John").write_text("x")
    with immutable(tree / "b" / "Smith^John", tree.parent):
        remains = remove_tree(tree)
        assert remains is not None
        assert (remains.path, remains.reason) == (tree, "Operation not permitted")
        assert [path.name for path in sorted(tree.rglob("*"))] == ["b", "Smith^John"]
    assert remove_tree(tree) is None


def test_what_cannot_be_removed_is_moved_aside(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its name is free afterwards, and the log says where it is now; the next start may remove it."""
    (tree / "file").write_text("x")
    with immutable(tree / "file", tree.parent):
        remove_or_move_aside(tree)
        assert not tree.exists()
        (aside,) = tree.parent.glob(".leftover-*")
        assert [path.name for path in aside.iterdir()] == ["file"]
        assert f"{tree} cannot be removed: Operation not permitted. It is now {aside}." in caplog.text
        remove_or_move_aside(aside)  # as at the next start: it keeps its name
        assert aside.exists()
        assert f"{aside} cannot be removed" in caplog.text
    remove_or_move_aside(aside)
    assert list(tree.parent.iterdir()) == []


def test_what_cannot_be_moved_either(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that can be neither removed nor renamed stays where it is; that is logged, nothing raised."""
    with immutable(tree, tree.parent):
        remove_or_move_aside(tree)
        assert tree.exists()
    assert f"{tree} cannot be removed: Operation not permitted. Remove it by hand" in caplog.text


def test_a_tree_that_takes_too_long(tree: Path) -> None:
    """A removal has an end: it says that it took too long."""
    (tree / "file").write_text("x")
    remains = remove_tree(tree, within=0.0)
    assert remains is not None
    assert remains.reason == "it took too long"


def test_too_much_that_resists(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree in which nothing can be removed is given up before all of it was tried."""
    monkeypatch.setattr(file_trees, "_MOST_FAILURES", 10)
    tried = []

    def refuse(name: str, *, dir_fd: int) -> None:
        tried.append(name)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for number in range(50):
        (tree / str(number)).write_text("x")
    monkeypatch.setattr(os, "unlink", refuse)
    remains = remove_tree(tree)
    assert remains is not None
    assert remains.reason == "Operation not permitted; more than 10 entries cannot be removed"
    assert len(tried) == 11


def test_a_tree_that_is_moved_meanwhile(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is moved elsewhere in the midst of it does not lead the removal there."""
    before = descriptors()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    unlinking = os.unlink

    def move_and_unlink(name: str, *, dir_fd: int) -> None:
        (tree / "a" / "b").rename(elsewhere / "b")
        unlinking(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", move_and_unlink)
    remains = remove_tree(tree)
    assert remains is not None
    assert "another process moved its folders" in remains.reason
    assert (elsewhere / "precious").exists()
    assert descriptors() == before


# -- in the background ---------------------------------------------------------------------------------------


def test_a_remover_frees_the_name_at_once(tree: Path) -> None:
    """The name is free when the call returns, the content is gone soon, and so is the thread."""
    nest(tree, 300)
    threads = threading.active_count()
    remover = TreeRemover()
    remover.remove(tree)
    assert not tree.exists()
    remover.remove(tree)
    remover.remove(tree.parent / "never there")
    assert remover.wait(30)
    assert list(tree.parent.iterdir()) == []
    assert threading.active_count() == threads


def test_a_remover_goes_on_after_what_cannot_be_removed(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says what is left, and removes the next tree."""
    caplog.set_level(logging.ERROR)
    (tree / "file").write_text("x")
    other = tree.parent / "other"
    other.mkdir()
    with immutable(tree / "file", tree.parent):
        remover = TreeRemover()
        remover.remove(tree)
        remover.remove(other)
        assert remover.wait(30)
        (aside,) = tree.parent.iterdir()
        assert f"It is now {aside}." in caplog.text


def test_moving_aside_twice(tree: Path) -> None:
    """What was moved aside keeps its name."""
    aside = move_aside(tree)
    assert move_aside(aside) == aside != tree


# -- measuring -----------------------------------------------------------------------------------------------


def test_disk_usage(tree: Path) -> None:
    """What is on disk counts, in folders below too, and not what a symbolic link points to."""
    (tree / "below").mkdir()
    (tree / "below" / "file").write_bytes(bytes(10 * 2**20))
    (tree / "link").symlink_to("/usr")
    with (tree / "sparse").open("wb") as file:
        file.truncate(2**40)
    before = descriptors()
    assert 10 * 2**20 <= disk_usage([str(tree), str(tree / "missing")]) < 11 * 2**20
    assert descriptors() == before


def test_disk_usage_of_deep_folders(memory: Path) -> None:
    """What lies deeper than a path can name counts as well."""
    nest(memory, 5000)
    assert disk_usage([memory]) >= 4096
    remove_tree(memory / "d")


def test_disk_usage_need_not_count_on(tree: Path) -> None:
    """It stops where it is over what is asked about."""
    nest(tree, 100)
    assert disk_usage([tree], 5 * 4096) == 6 * 4096
