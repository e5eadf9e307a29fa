"""One file of the spool, from its first byte until it is kept or discarded."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.parsing.file_meta import FileMeta, encode_prefix

_MOST_BUFFERS: Final = 1024  # IOV_MAX on Linux
_SMALL_WINDOW: Final = 4096
_LARGE_WINDOW: Final = 262_144
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class _FileOwner(Protocol):
    """What a file needs of its spool."""

    durable: bool

    def keep(self, path: str, name_parts: tuple[str, ...]) -> str: ...


class IncomingFiles:
    """New files of a spool that another process keeps.

    Parameters
    ----------
    prefix : str
        Path and beginning of their names, used by no other process.
    durable : bool
        Whether they are synced.
    """

    def __init__(self, prefix: str, *, durable: bool) -> None:
        self._prefix, self.durable = prefix, durable
        self._count = itertools.count()

    def new(self, meta: FileMeta) -> SpoolWriter:
        """Begin a file."""
        return SpoolWriter(f"{self._prefix}{next(self._count):08x}", meta, self)

    def keep(self, path: str, name_parts: tuple[str, ...]) -> str:
        """Raise: final names are given by the process that holds the spool."""
        raise RuntimeError(f"{path} cannot be kept by this process ({len(name_parts)} name parts)")


class DescriptorSource:
    """The bytes of an open file, for a walk.

    Parameters
    ----------
    descriptor : int
        Open for reading; remains the caller's.
    head : bytes
        The first bytes of the file, when they are at hand.
    """

    def __init__(self, descriptor: int, head: bytes = b"") -> None:
        self._descriptor, self._head = descriptor, head
        self._next, self._size = -1, _SMALL_WINDOW

    def window(self, position: int, at_least: int) -> bytes:
        """Return bytes from `position` on, more of them when the file is read from one end to the other."""
        if position + at_least <= len(self._head):
            return self._head[position:]
        near = 0 <= position - self._next + _SMALL_WINDOW <= 2 * _SMALL_WINDOW
        self._size = min(2 * self._size, _LARGE_WINDOW) if near else _SMALL_WINDOW
        data = os.pread(self._descriptor, max(self._size, at_least), position)
        self._next = position + len(data)
        return data


class SpoolWriter:
    """A file that is being written, under a temporary name.

    It must be finished or abandoned. Any OSError while writing is final: abandon it.

    Attributes
    ----------
    path : str
    prefix : bytes
        What precedes the data set: it is written together with the first of its bytes.
    size : int
        How much was written so far.
    """

    __slots__ = ("_descriptor", "_spool", "path", "prefix", "size")

    def __init__(self, path: str, meta: FileMeta, spool: _FileOwner) -> None:
        self.path, self._spool = path, spool
        self.prefix = encode_prefix(meta)
        self.size = 0
        self._descriptor = -1

    @property
    def dataset_offset(self) -> int:
        """Where the data set begins in the file."""
        return len(self.prefix)

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Append the buffers; the first call makes the file.

        Raises
        ------
        OSError
            If the file cannot be made, or they cannot be written, or not entirely.
        """
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, _NEW_FILE, 0o600)
            buffers = [self.prefix, *buffers]
        if len(buffers) > _MOST_BUFFERS:
            for at in range(0, len(buffers), _MOST_BUFFERS):
                self.write(buffers[at : at + _MOST_BUFFERS])
            return
        expected = sum(map(len, buffers))
        written = os.writev(self._descriptor, buffers)
        self.size += written
        if written < expected:  # a signal or a nearly full disk; what follows tells which
            remaining = memoryview(b"".join(buffers))[written:]
            while remaining:
                written = os.write(self._descriptor, remaining)
                self.size += written
                remaining = remaining[written:]

    def source(self, head: bytes = b"") -> DescriptorSource:
        """Return what was written, to be walked over; `head` is the beginning of the file if at hand."""
        return DescriptorSource(self._descriptor, head)

    def finish(self) -> FinishedFile:
        """Sync (with ``durability = "power"``) and close the file.

        Raises
        ------
        OSError
            If it cannot be synced. The file is abandoned then: a second sync could only seem to succeed.
        """
        try:
            if self._descriptor < 0:
                self.write([])
            failpoint("written")
            if self._spool.durable:
                os.fsync(self._descriptor)
            failpoint("synced")
            # Whether or not closing fails, the number may be another file's at once: never close it twice.
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        except BaseException:
            self._remove()
            raise
        return FinishedFile(self.path, self.size, len(self.prefix), self._spool)

    def abandon(self) -> None:
        """Close and remove the file. Doing so twice does nothing."""
        if self._descriptor >= 0:
            self._remove()

    def _remove(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            if descriptor >= 0:
                os.close(descriptor)
        with suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - no Path objects on the way of every instance


class FinishedFile:
    """A whole, synced file that is to be kept or discarded: a :class:`~.dimse.spooled_file.SpooledFile`."""

    __slots__ = ("_decided", "_digest", "_named", "_path", "_spool", "dataset_offset", "size")

    def __init__(self, path: str, size: int, dataset_offset: int, spool: _FileOwner) -> None:
        self._path, self.size, self.dataset_offset = path, size, dataset_offset
        self._spool, self._decided = spool, False
        self._digest: bytes | None = None
        self._named: Path | None = None  # made when asked for: it takes as long as the renaming

    @property
    def file(self) -> str:
        """Where the bytes lie now, as text."""
        return self._path

    @property
    def path(self) -> Path:
        """Where the bytes lie now."""
        if self._named is None:
            self._named = Path(self._path)
        return self._named

    def keep(self, *name_parts: str) -> str:
        """Give the file its final name, durably, and return the final path as text."""
        if not self._decided:
            self._decided = True
            try:
                self._path, self._named = self._spool.keep(self._path, name_parts), None
            except BaseException:
                with suppress(OSError):
                    os.unlink(self._path)  # noqa: PTH108 - as above
                raise
        return self._path

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set's bytes as received."""
        if self._digest is None:
            with self.path.open("rb") as file:
                file.seek(self.dataset_offset)
                self._digest = hashlib.file_digest(file, "sha256").digest()
        return self._digest

    def hand_over(self) -> None:
        """Leave the file to whoever has decided about it in another process."""
        self._decided = True

    def discard(self) -> None:
        """Remove the file, unless it was kept."""
        if not self._decided:
            self._decided = True
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - as above
