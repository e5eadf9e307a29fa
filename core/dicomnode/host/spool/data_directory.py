"""The host's data directory: where each thing lies in it, closed to others, locked by one host at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dicomnode.errors import DataDirectoryError
from dicomnode.host.foundation.durability import sync_directory

_LOCK = "host.lock"


class DataDirectory:
    """A data directory.

    ::

        data/
          host.lock       locked (flock) by the host that runs on it; its process id
          control.sock    where the running host takes orders from the command line
          ledger.sqlite   instances, jobs, deliveries
          spool/          received files
          outbox/         results that wait for delivery, a folder a job
          work/           what jobs use while they run
          results/        where results go when no destination is configured

    Parameters
    ----------
    root : pathlib.Path
        The directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = root / "ledger.sqlite"
        self.spool = root / "spool"
        self.outbox = root / "outbox"
        self.work = root / "work"
        self.results = root / "results"
        self.control = root / "control.sock"
        self._descriptor = -1

    def lock(self) -> Self:
        """Make the directory, where there is none, durably, and lock it.

        Raises
        ------
        DataDirectoryError
            When it cannot be made or written, or another host has locked it.
        """
        try:
            for directory in (self.root, self.outbox, self.work):
                _make_durably(directory)
                directory.chmod(0o700)
            descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            msg = (
                f"the data directory {self.root} cannot be used: {error.strerror}. Set host.data to a"
                " directory that this user may write"
            )
            raise DataDirectoryError(msg) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            process = f" (process {holder})" if holder.isdecimal() else ""
            msg = (
                f"the data directory {self.root} is in use by another host{process}. Stop that one, or set"
                " host.data to another directory"
            )
            raise DataDirectoryError(msg) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def unlock(self) -> None:
        """Let another host use it."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self.lock()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.unlock()


def _make_durably(directory: Path) -> None:
    """Make a directory and those above it, so that a power cut removes none of them.

    What the host acknowledges is synced up to its own directories; an ext4 would make these durable on the
    way, but no file system need do so.
    """
    if directory.is_dir():
        return
    _make_durably(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)
