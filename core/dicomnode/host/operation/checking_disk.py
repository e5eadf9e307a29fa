"""Checks of the disk: the data directory, and the folders that results go to."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicomnode.errors import DataDirectoryError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.configuration.references import FILE_SCHEME
from dicomnode.host.foundation.free_space import disk_space
from dicomnode.host.ledger.states import DEAD_LETTERS
from dicomnode.host.operation.finding import Finding, Verdict
from dicomnode.host.operation.operations import Operations

_SLOW_SYNC = 0.1
_FEW_FILES = 0.02
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "ceph")
_MEMORY = ("tmpfs", "ramfs")


def check_data(operations: Operations, reserve: int) -> Iterator[Finding]:
    """Check whether the data directory can be used, has room, and holds a sound ledger."""
    root = operations.data.root

    def found(verdict: Verdict, message: str) -> Finding:
        return Finding("data", str(root), verdict, message)

    if not root.is_dir():
        trouble = _not_writable(root)
        if trouble is not None:
            yield found(Verdict.FAILED, f"it does not exist and cannot be made: {trouble}. Set host.data")
            return
        yield found(Verdict.OK, "it does not exist yet; the first start makes it")
    else:
        yield from (found(*each) for each in _directory(root))
    yield from (found(*each) for each in _room(_existing(root), reserve))
    yield from (found(*each) for each in _ledger(operations))


def _directory(root: Path) -> Iterator[tuple[Verdict, str]]:
    mode = stat.S_IMODE(root.stat().st_mode)
    if mode & 0o077:
        yield Verdict.WARNING, f"others may enter it (mode {mode:04o}); the next start closes it"
    try:
        started = time.monotonic()
        with tempfile.NamedTemporaryFile(dir=root, prefix=".check-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        seconds = time.monotonic() - started
    except OSError as error:
        yield Verdict.FAILED, f"it cannot be written: {error.strerror}. It must belong to the host's user"
        return
    slow = " (each image waits so long for its answer)" if seconds > _SLOW_SYNC else ""
    verdict = Verdict.WARNING if slow else Verdict.OK
    yield verdict, f"it is writable; a file is on disk after {seconds * 1000:.0f} ms{slow}"


def _room(directory: Path, reserve: int) -> Iterator[tuple[Verdict, str]]:
    space = disk_space(directory)
    free = space.free
    summary = f"{free / 2**30:.1f} GiB are free, {reserve / 2**30:.1f} GiB of them in reserve (host.reserve)"
    if free < reserve:
        yield Verdict.FAILED, f"{summary}: every image would be refused"
    elif free < 2 * reserve:
        yield Verdict.WARNING, f"{summary}: little is left"
    else:
        yield Verdict.OK, summary
    if space.total_files and space.free_files < _FEW_FILES * space.total_files:
        yield Verdict.WARNING, f"only {space.free_files} more files fit on its file system"
    kind = _file_system(directory)
    if kind.startswith(_NETWORK):
        yield Verdict.FAILED, f"it is on a network file system ({kind}), where the ledger's locks do not hold"
    elif kind in _MEMORY:
        yield Verdict.WARNING, f"it is in memory ({kind}): nothing outlasts a reboot"


def _ledger(operations: Operations) -> Iterator[tuple[Verdict, str]]:
    if not operations.data.ledger.is_file():
        return
    try:
        with operations.ledger() as ledger:
            dead = len(ledger.jobs(*DEAD_LETTERS))
    except DataDirectoryError as error:
        yield Verdict.FAILED, str(error)
        return
    if dead:
        yield Verdict.WARNING, f"{dead} jobs need attention: dicomnode-host jobs --failed"
    else:
        yield Verdict.OK, "the ledger can be read, and no job needs attention"


def check_folders(config: Config, configured_pipelines: Iterable[ConfiguredPipeline]) -> Iterator[Finding]:
    """Check that the log file and the folders that results go to can be written."""
    if config.log.file is not None:
        trouble = _not_writable(config.log.file)
        verdict = Verdict.OK if trouble is None else Verdict.FAILED
        yield Finding("destinations", f"log.file {config.log.file}", verdict, trouble or "it is writable")
    inside = config.host.data
    names = {
        name
        for configured in configured_pipelines
        for name in configured.destinations
        if name.startswith(FILE_SCHEME)
    }
    for name in sorted(names):
        folder = Path(name.removeprefix(FILE_SCHEME)).expanduser()
        if folder.is_relative_to(inside):
            continue
        trouble = _not_writable(folder)
        verdict = Verdict.OK if trouble is None else Verdict.FAILED
        yield Finding("destinations", name, verdict, trouble or "it is writable")


def _not_writable(path: Path) -> str | None:
    """Say why a file or folder cannot be made or written; ``None`` where it can."""
    existing = _existing(path)
    if existing != path and not existing.is_dir():
        return f"{existing} is no folder"
    if not os.access(existing, os.W_OK | (os.X_OK if existing.is_dir() else 0)):
        return f"{existing} cannot be written by this user"
    return None


def _existing(path: Path) -> Path:
    """Return a path, or the nearest above it that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, as mountinfo names it (proc(5))."""
    device = os.stat(directory).st_dev  # noqa: PTH116 - the device number
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2] == wanted:
            return rest.split(" ")[0]
    return ""
