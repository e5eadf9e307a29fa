"""One file of the spool: written whole, synced once, closed once, kept or removed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from dicomnode.host.parsing.file_meta import FileMeta, encode_prefix
from dicomnode.host.spool.spool_writer import DescriptorSource, FinishedFile, IncomingFiles, SpoolWriter

META = FileMeta("1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.840.10008.1.2.1", "FROM", "TO")
PREFIX = encode_prefix(META)


class Keeper:
    """Keeps files under a name that says what it was asked for, or fails."""

    def __init__(self, *, durable: bool = False, fails: bool = False) -> None:
        self.durable, self.fails = durable, fails
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def keep(self, path: str, name_parts: tuple[str, ...]) -> str:
        """Rename it."""
        self.asked.append((path, name_parts))
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        final = f"{path}-kept"
        Path(path).rename(final)
        return final


def writer(tmp_path: Path, keeper: Keeper | None = None) -> SpoolWriter:
    return SpoolWriter(str(tmp_path / "new"), META, keeper or Keeper())


def finished(tmp_path: Path, keeper: Keeper | None = None) -> FinishedFile:
    made = writer(tmp_path, keeper)
    made.write([b"data"])
    return made.finish()


def open_files(below: Path) -> list[Path]:
    links = []
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and path.readlink().is_relative_to(below):
            links.append(path.readlink())
    return links


# -- writing ------------------------------------------------------------------------------------------------


def test_a_file_holds_prefix_and_data(tmp_path: Path) -> None:
    """The first write makes the file, for its owner alone, and begins with the meta information."""
    made = writer(tmp_path)
    assert list(tmp_path.iterdir()) == []
    made.write([b"one", memoryview(b"two")])
    made.write([b"three"])
    path = tmp_path / "new"
    assert path.read_bytes() == PREFIX + b"onetwothree"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (made.size, made.dataset_offset, made.prefix) == (len(PREFIX) + 11, len(PREFIX), PREFIX)


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    """Thousands of buffers are written in their order, however many the kernel takes at once."""
    pieces = [bytes([number % 256]) * (number % 3) for number in range(5000)]
    made = writer(tmp_path)
    made.write(pieces)
    assert (tmp_path / "new").read_bytes() == PREFIX + b"".join(pieces)
    assert made.size == len(PREFIX) + sum(map(len, pieces))


def test_as_many_buffers_as_one_call_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call gets more buffers than IOV_MAX, and none is needed twice for fewer."""
    counts: list[int] = []
    writev = os.writev

    def record(descriptor: int, buffers: Sequence[bytes]) -> int:
        counts.append(len(buffers))
        return writev(descriptor, buffers)

    monkeypatch.setattr(os, "writev", record)
    most = os.sysconf("SC_IOV_MAX")
    made = writer(tmp_path)
    made.write([b"x"] * (most - 1))
    made.write([b"x"] * (most + 1))
    assert counts == [most, most, 1]


def test_what_a_call_leaves_is_written_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write, and one after it, are gone on with; the size is that of all of it."""
    writev, write = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda descriptor, buffers: writev(descriptor, [b"".join(buffers)[:5]]))
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    made = writer(tmp_path)
    made.write([b"one", b"two", b"three"])
    assert (tmp_path / "new").read_bytes() == PREFIX + b"onetwothree"
    assert made.size == len(PREFIX) + 11


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    """The name must be new; what has it stays as it is."""
    (tmp_path / "new").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        writer(tmp_path).write([b"data"])
    assert (tmp_path / "new").read_bytes() == b"other"


def test_what_was_written_can_be_read_before_it_is_finished(tmp_path: Path) -> None:
    """The source of a writer reads the file, and takes the beginning from what is at hand."""
    made = writer(tmp_path)
    made.write([b"data"])
    assert made.source().window(len(PREFIX), 4) == b"data"
    assert made.source(b"at hand").window(3, 4) == b"hand"


# -- finishing and abandoning -----------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_finished_file_is_synced_once_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """With durability "power" the whole file is synced, else nothing is; no descriptor stays open."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    file = finished(tmp_path, Keeper(durable=durable))
    assert synced == ([len(PREFIX) + 4] if durable else [])
    assert open_files(tmp_path) == []
    assert (file.file, file.path) == (str(tmp_path / "new"), tmp_path / "new")
    assert (file.size, file.dataset_offset) == (len(PREFIX) + 4, len(PREFIX))


def test_a_file_of_nothing_has_its_meta_information(tmp_path: Path) -> None:
    """A data set of no bytes is a file that says whose it is."""
    file = writer(tmp_path).finish()
    assert file.path.read_bytes() == PREFIX
    assert file.size == file.dataset_offset == len(PREFIX)


def test_a_sync_that_fails_leaves_neither_file_nor_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised, and abandoning afterwards does not close the number of somebody else's file."""

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    made = writer(tmp_path, Keeper(durable=True))
    made.write([b"data"])
    with pytest.raises(OSError, match="Input/output"):
        made.finish()
    assert list(tmp_path.iterdir()) == []
    assert open_files(tmp_path) == []
    with (tmp_path / "other").open("w") as other:
        made.abandon()
        other.write("still open")
    assert (tmp_path / "other").read_text() == "still open"


def test_a_close_that_fails_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number may be another file's at once: it is closed a single time, and the file is gone."""
    closed: list[int] = []

    def failing(descriptor: int) -> None:
        closed.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    made = writer(tmp_path)
    made.write([b"data"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", failing)
        with pytest.raises(OSError, match="Input/output"):
            made.finish()
    os.close(closed[0])
    assert len(closed) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_file_is_gone(tmp_path: Path) -> None:
    """It is closed and removed, once; one of which nothing was written leaves what has its name."""
    made = writer(tmp_path)
    made.write([b"data"])
    made.abandon()
    assert list(tmp_path.iterdir()) == []
    assert open_files(tmp_path) == []
    (tmp_path / "new").touch()
    made.abandon()
    writer(tmp_path).abandon()
    assert (tmp_path / "new").exists()


# -- what becomes of a finished file ----------------------------------------------------------------------


def test_a_kept_file_has_its_new_path(tmp_path: Path) -> None:
    """The spool is asked once, with all parts of the name; the paths are the new ones from then on."""
    keeper = Keeper()
    file = finished(tmp_path, keeper)
    assert file.path == tmp_path / "new"
    assert file.keep("a", "b") == file.keep("c") == file.file == f"{tmp_path}/new-kept"
    assert file.path == tmp_path / "new-kept"
    assert keeper.asked == [(f"{tmp_path}/new", ("a", "b"))]
    file.discard()
    assert file.path.exists()


def test_a_file_that_cannot_be_kept_is_gone(tmp_path: Path) -> None:
    """It was not acknowledged, so nothing of it may be found after a restart."""
    file = finished(tmp_path, Keeper(fails=True))
    with pytest.raises(OSError, match="Input/output"):
        file.keep("a")
    assert list(tmp_path.iterdir()) == []


def test_a_discarded_file_is_gone(tmp_path: Path) -> None:
    """Discarding removes it; a second time it leaves what has the name by then."""
    keeper = Keeper()
    file = finished(tmp_path, keeper)
    file.discard()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").touch()
    file.discard()
    assert file.keep("a") == f"{tmp_path}/new"
    assert (tmp_path / "new").exists()
    assert keeper.asked == []


def test_a_file_that_was_handed_over_is_left(tmp_path: Path) -> None:
    """Another process has decided about it: it is neither removed nor kept here."""
    keeper = Keeper()
    file = finished(tmp_path, keeper)
    file.hand_over()
    file.discard()
    file.keep("a")
    assert file.path == tmp_path / "new"
    assert file.path.exists()
    assert keeper.asked == []


def test_the_digest_is_of_the_data_set_and_read_once(tmp_path: Path) -> None:
    """It is the SHA-256 of what follows the meta information."""
    file = finished(tmp_path)
    assert file.digest() == hashlib.sha256(b"data").digest()
    file.discard()
    assert file.digest() == hashlib.sha256(b"data").digest()


# -- the files of another process -------------------------------------------------------------------------


def test_new_files_of_another_process(tmp_path: Path) -> None:
    """They are numbered below their prefix, synced if wanted, and cannot be kept here."""
    files = IncomingFiles(f"{tmp_path}/p-", durable=True)
    assert files.durable
    made = [files.new(META) for _ in range(3)]
    assert [each.path for each in made] == [f"{tmp_path}/p-{number:08x}" for number in range(3)]
    file = made[0].finish()
    with pytest.raises(RuntimeError, match=r"cannot be kept by this process \(2 name parts\)"):
        file.keep("a", "b")


# -- reading ------------------------------------------------------------------------------------------------


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    """Return an open file of two megabytes, in which each four bytes say where they are."""
    path = tmp_path / "large"
    path.write_bytes(b"".join(at.to_bytes(4, "big") for at in range(0, 2**21, 4)))
    return os.open(path, os.O_RDONLY)


def test_windows_grow_while_a_file_is_read_through(descriptor: int) -> None:
    """Reading on doubles what is read at once, up to a bound; a jump begins with little again."""
    source = DescriptorSource(descriptor)
    at, sizes = 0, []
    for _ in range(8):
        data = source.window(at, 4)
        assert int.from_bytes(data[:4], "big") == at
        at += len(data)
        sizes.append(len(data))
    assert sizes == [min(sizes[0] * 2**n, 262_144) for n in range(8)]
    assert sizes[0] <= 8192
    assert len(source.window(2**20, 4)) == 4096
    assert len(source.window(0, 4)) == 4096


@pytest.mark.parametrize(
    ("step", "size"), [(0, 8192), (-4096, 8192), (4096, 8192), (-4100, 4096), (4100, 4096)]
)
def test_what_is_near_counts_as_reading_on(descriptor: int, step: int, size: int) -> None:
    """A window that begins within 4 kB of the end of the last one is part of reading through."""
    source = DescriptorSource(descriptor)
    start = 2**20
    source.window(start, 4)
    assert len(source.window(start + 4096 + step, 4)) == size


def test_a_window_holds_what_was_asked_for(descriptor: int) -> None:
    """More than a window is read where more is needed, less at the end of the file."""
    source = DescriptorSource(descriptor)
    assert len(source.window(2**20, 300_000)) == 300_000
    assert len(source.window(2**21 - 8, 100)) == 8
    assert source.window(2**21, 4) == b""


def test_the_beginning_at_hand_is_not_read(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the given bytes hold to the last is taken from them, what goes beyond from the file."""
    source = DescriptorSource(descriptor, b"0123456789")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", lambda *_arguments: pytest.fail("read"))
        assert source.window(2, 8) == b"23456789"
    assert source.window(0, 11)[:4] == bytes(4)
