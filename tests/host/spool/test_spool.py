"""The spool: whole files or none, durable in the right order, never overwritten."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import DataDirectoryError, StructureError
from dicomnode.host.parsing.file_meta import FileMeta
from dicomnode.host.parsing.inspection import InspectionLimits
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.structure import WalkLimits
from dicomnode.host.spool import spool as spool_module
from dicomnode.host.spool.spool import Spool, read_index
from dicomnode.host.spool.spool_writer import FinishedFile
from receiving import encoded, small_dataset

META = FileMeta("1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.840.10008.1.2.1", "FROM", "TO")


def spooled(spool: Spool, data: bytes = b"data", meta: FileMeta = META) -> FinishedFile:
    writer = spool.new(meta)
    writer.write([data])
    return writer.finish()


def test_order_of_a_durable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, sync the file, rename, sync the directory: in this order, nothing left out."""
    spool = Spool(tmp_path / "spool")
    spooled(spool).keep("first makes the directory")
    calls: list[str] = []

    def record(name: str) -> None:
        original: Callable[..., Any] = getattr(os, name)

        def recording(*arguments: Any, **options: Any) -> Any:
            if name == "fsync":
                calls.append("sync " + Path(f"/proc/self/fd/{arguments[0]}").readlink().parent.name)
            else:
                calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, recording)

    for name in ("writev", "fsync", "rename"):
        record(name)
    spooled(spool).keep("a")
    assert calls == ["writev", "sync incoming", "rename", "sync kept"]


def test_process_durability_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With durability "process" no sync is waited for."""
    spool = Spool(tmp_path / "spool", "process")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: pytest.fail("synced"))
    assert Path(spooled(spool).keep("a")).exists()


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    """The same name parts twice give two files, also after a restart."""
    paths = set()
    for _start in range(2):
        spool = Spool(tmp_path / "spool", "process")
        paths |= {Path(spooled(spool, content).keep("s", "1.2.3")) for content in (b"one", b"two")}
    assert len(paths) == 4
    assert sorted(path.read_bytes()[-3:] for path in paths) == [b"one", b"one", b"two", b"two"]
    assert set(spool.iterate()) == paths


def test_names_hold_no_text_from_outside(tmp_path: Path) -> None:
    """Name parts that are paths, control bytes or endless change nothing but a digest."""
    spool = Spool(tmp_path / "spool", "process")
    for evil in ("../../x", "/etc/passwd", "a\0b\n\x1b[31m", "x" * 10_000, "\ud800"):
        path = Path(spooled(spool).keep(evil))
        assert path.is_relative_to(tmp_path / "spool" / "kept")
        assert set(path.name) <= set("0123456789abcdef-.dcm")


def test_leftovers_go_at_start(tmp_path: Path) -> None:
    """What was not finished before a crash is gone after a start; what was kept is not."""
    spool = Spool(tmp_path / "spool", "process")
    spool.new(META).write([b"half"])
    spooled(spool)
    kept = Path(spooled(spool).keep("a"))
    again = Spool(tmp_path / "spool", "process")
    assert list((tmp_path / "spool" / "incoming").iterdir()) == []
    assert list(again.iterate()) == [kept]
    again.remove(kept)
    again.remove(kept)
    Spool(tmp_path / "spool", "process")
    assert list((tmp_path / "spool" / "kept").iterdir()) == []


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    """Directories are 0700, files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool", "process")
        kept = Path(spooled(spool).keep("a"))
        quarantined = spool.quarantine(Path(spooled(spool).keep("b")), "why")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "spool").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert quarantined.with_name(quarantined.name + ".reason").read_text() == "why\n"
    assert list(spool.iterate()) == [kept]


def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """Folders above are made where they are missing; those of a spool that somebody has opened are closed."""
    root = tmp_path / "above" / "spool"
    Spool(root, "process")
    folders = [root, *(path for path in root.iterdir() if path.is_dir())]
    for path in folders:
        path.chmod(0o755)
    Spool(root, "process")
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_discard_and_keep_exclude_each_other(tmp_path: Path) -> None:
    """A discarded file is gone; a kept one cannot be discarded."""
    spool = Spool(tmp_path / "spool", "process")
    first, second = spooled(spool), spooled(spool)
    first.discard()
    first.discard()
    path = second.keep("a")
    second.discard()
    assert list(spool.iterate()) == [Path(path)]
    assert second.path == Path(path)
    assert second.keep("b") == path


def test_a_file_that_cannot_be_synced_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO from fsync of the file: raised, not retried, nothing left."""
    spool = Spool(tmp_path / "spool")
    calls = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        spooled(spool)
    assert len(calls) == 1
    assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []


def test_a_directory_that_cannot_be_synced_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO from fsync of the directory: raised, the file is gone, another directory is used from then on."""
    spool = Spool(tmp_path / "spool")
    first = Path(spooled(spool).keep("a"))
    original = os.fsync

    def failing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == first.parent:
            raise OSError(errno.EIO, "Input/output error")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        spooled(spool).keep("b")
    assert list(spool.iterate()) == [first]
    second = Path(spooled(spool).keep("c"))
    assert second.parent != first.parent


def test_what_was_received_can_be_read_again(tmp_path: Path) -> None:
    """The index and who sent it are read back from the file alone."""
    dataset = small_dataset(SOPInstanceUID="1.2.3", PatientID="P1")
    spool = Spool(tmp_path / "spool", "process")
    path = Path(spooled(spool, encoded(dataset)).keep("a"))
    meta, index = spool.read_index(path, frozenset({0x00280010}))
    assert meta == META
    assert index[0x00280010] == 64
    assert index[0x00100020] == "P1"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(StructureError):
        spool.read_index(path, frozenset())
    path.write_bytes(b"\0" * 200)
    with pytest.raises(StructureError):
        spool.read_index(path, frozenset())


def test_a_path_outside_is_not_touched(tmp_path: Path) -> None:
    """Removing or quarantining a file that is not the spool's is a mistake, and refused."""
    spool = Spool(tmp_path / "spool", "process")
    other = tmp_path / "other"
    other.touch()
    for path in (other, tmp_path / "spool" / ".." / "other"):
        with pytest.raises(ValueError, match="not in the spool"):
            spool.remove(path)
        with pytest.raises(ValueError, match="not in the spool"):
            spool.quarantine(path, "x")
    assert other.exists()


def test_an_unusable_root_is_said(tmp_path: Path) -> None:
    """A root that is a file is a DataDirectoryError that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match="file"):
        Spool(tmp_path / "file")


def test_digest_is_of_the_data_set(tmp_path: Path) -> None:
    """The digest does not depend on who sent the data set."""
    spool = Spool(tmp_path / "spool", "process")
    one, two = spooled(spool), spooled(spool, meta=FileMeta("1.2", "1.3", "1.4", "X", "Y"))
    assert one.digest() == two.digest()
    assert one.digest() != spooled(spool, b"other").digest()


# -- names and directories ----------------------------------------------------------------------------------


def test_directories_are_filled_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory takes so many files and no more, and the listing is in the order of arrival."""
    monkeypatch.setattr(spool_module, "_FILES_PER_DIRECTORY", 2)
    spool = Spool(tmp_path / "spool", "process")
    kept = [Path(spooled(spool).keep(f"part {number}")) for number in range(5)]
    assert [path.parent.name for path in kept] == ["000001", "000001", "000002", "000002", "000003"]
    assert list(spool.iterate()) == kept


def test_a_restart_begins_a_new_directory(tmp_path: Path) -> None:
    """It has the number after the highest, also of one that was empty; the host's own folders stay."""
    spool = Spool(tmp_path / "spool", "process")
    kept = tmp_path / "spool" / "kept"
    for name in ("00000f", "000003", "lost+found"):
        (kept / name).mkdir()
    spool = Spool(tmp_path / "spool", "process")
    assert [path.name for path in kept.iterdir()] == ["lost+found"]
    first = Path(spooled(spool).keep("a"))
    assert first.parent.name == "000010"
    assert Path(spooled(Spool(tmp_path / "spool", "process")).keep("a")).parent.name == "000011"


def test_a_name_is_of_the_arrival_and_of_all_parts(tmp_path: Path) -> None:
    """It begins with this run and a count, and ends with a digest that tells parts apart."""
    spool = Spool(tmp_path / "spool", "process")
    names = [Path(spooled(spool).keep(*parts)).name for parts in (("a", "b"), ("ab",), ("a", "b"), ("a",))]
    runs, counts, digests = zip(*(name.removesuffix(".dcm").split("-") for name in names), strict=True)
    assert len(set(runs)) == 1
    assert [int(count, 16) for count in counts] == [0, 1, 2, 3]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    assert all(name.startswith(Path(spool.incoming_prefix).name) for name in names)


def test_unfinished_files_of_a_prefix_can_be_dropped(tmp_path: Path) -> None:
    """What another process has begun under its prefix goes; files of other prefixes stay."""
    spool = Spool(tmp_path / "spool", "process")
    prefix = f"{spool.incoming_prefix}7-"
    for name in (f"{prefix}1", f"{prefix}2", f"{spool.incoming_prefix}8-1"):
        Path(name).touch()
    spool.drop_incoming(prefix)
    spool.drop_incoming(prefix)
    assert [str(path) for path in (tmp_path / "spool" / "incoming").iterdir()] == [
        f"{spool.incoming_prefix}8-1"
    ]


# -- durability ---------------------------------------------------------------------------------------------


def test_a_file_that_goes_before_it_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an unfinished file has gone already is no error."""
    spool = Spool(tmp_path / "spool", "process")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [self / "gone"])
    spool.drop_incoming(f"{spool.incoming_prefix}7-")


def test_layouts_that_were_learnt_are_used(tmp_path: Path) -> None:
    """What one file has taught helps to read the next that is laid out alike."""
    spool = Spool(tmp_path / "spool", "process")
    dataset = small_dataset(SOPInstanceUID="1.2.3", PatientID="P1")
    path = Path(spooled(spool, encoded(dataset)).keep("a"))
    layouts, wanted = LayoutCache(), frozenset({0x00280010})
    plain = spool.read_index(path, wanted)
    assert [spool.read_index(path, wanted, layouts) for _ in range(3)] == [plain] * 3
    assert layouts.hits + layouts.recalled > 0


def test_what_is_synced_before_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool's folders when it is made, a new directory before it is filled; nothing with "process"."""
    synced: list[str] = []
    monkeypatch.setattr(spool_module, "sync_directory", lambda path: synced.append(Path(path).name))
    spool = Spool(tmp_path / "spool")
    assert synced == ["spool", tmp_path.name]
    synced.clear()
    for _ in range(2):
        spooled(spool).keep("a")
    assert synced == ["kept", "000001", "000001"]
    synced.clear()
    spooled(Spool(tmp_path / "other", "process")).keep("a")
    assert synced == []


def test_a_directory_that_may_go_with_the_power_is_not_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the directory of directories cannot be synced, the next file tries with another new one."""
    spool = Spool(tmp_path / "spool")
    sync, failures = spool_module.sync_directory, ["once"]

    def failing(path: Path) -> None:
        if Path(path).name == "kept" and failures:
            failures.pop()
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(spool_module, "sync_directory", failing)
    with pytest.raises(OSError, match="Input/output"):
        spooled(spool).keep("a")
    assert Path(spooled(spool).keep("b")).parent.name == "000002"


def test_a_failure_of_an_old_directory_leaves_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails late gives up its own directory, not the one that is filled by then."""
    monkeypatch.setattr(spool_module, "_FILES_PER_DIRECTORY", 2)
    spool = Spool(tmp_path / "spool")
    spooled(spool).keep("a")
    sync, inner = spool_module.sync_directory, []

    def failing(path: Path) -> None:
        if Path(path).name == "000001" and not inner:
            inner.append(Path(spooled(spool).keep("c")).parent.name)
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(spool_module, "sync_directory", failing)
    with pytest.raises(OSError, match="Input/output"):
        spooled(spool).keep("b")
    assert inner == ["000002"]
    assert Path(spooled(spool).keep("d")).parent.name == "000002"


# -- reading ------------------------------------------------------------------------------------------------


def test_a_file_must_be_what_it_is_named(tmp_path: Path) -> None:
    """A data set of another instance than its file meta names is refused, unless names do not count."""
    spool = Spool(tmp_path / "spool", "process")
    dataset = small_dataset(SOPInstanceUID="1.2.4", PatientID="P1")
    path = Path(spooled(spool, encoded(dataset)).keep("a"))
    with pytest.raises(StructureError, match="SOPInstanceUID differs"):
        spool.read_index(path, frozenset())
    meta, index = read_index(path, frozenset(), InspectionLimits(), as_named=False)
    assert meta == META
    assert index[0x00100020] == "P1"


def test_limits_of_the_spool_hold_for_reading(tmp_path: Path) -> None:
    """A file past the limits that the spool was made with is refused."""
    spool = Spool(tmp_path / "spool", "process")
    path = Path(spooled(spool, encoded(small_dataset(SOPInstanceUID="1.2.3"))).keep("a"))
    strict = Spool(tmp_path / "spool", "process", InspectionLimits(WalkLimits(elements=3)))
    with pytest.raises(StructureError):
        strict.read_index(path, frozenset())
    assert spool.read_index(path, frozenset())[0] == META


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    """Whether or not a file can be read."""
    spool = Spool(tmp_path / "spool", "process")
    path = Path(spooled(spool, encoded(small_dataset(SOPInstanceUID="1.2.3"))).keep("a"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    spool.read_index(path, frozenset())
    path.write_bytes(b"broken")
    with pytest.raises(StructureError):
        spool.read_index(path, frozenset())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
