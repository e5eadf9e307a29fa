"""One file of the spool, from its first byte to its fate."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from dicomnode.host.file_meta import FileMeta, encode_prefix

_MOST_BUFFERS: Final = 1024  # IOV_MAX on Linux
_SMALL_WINDOW: Final = 4096
_LARGE_WINDOW: Final = 262_144


class _Keeper(Protocol):
    """What a file needs of its spool."""

    durable: bool

    def keep(self, path: Path, name_parts: tuple[str, ...]) -> Path: ...


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
    path : Path
    dataset_offset : int
        Where the data set begins.
    size : int
        How much was written so far.
    """

    __slots__ = ("_descriptor", "_spool", "dataset_offset", "path", "size")

    def __init__(self, path: Path, meta: FileMeta, spool: _Keeper) -> None:
        self.path, self._spool = path, spool
        prefix = encode_prefix(meta)
        self.dataset_offset, self.size = len(prefix), 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.write([prefix])
        except BaseException:
            self.abandon()
            raise

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Append the buffers.

        Raises
        ------
        OSError
            If they cannot be written, or not entirely.
        """
        if len(buffers) > _MOST_BUFFERS:
            for at in range(0, len(buffers), _MOST_BUFFERS):
                self.write(buffers[at : at + _MOST_BUFFERS])
            return
        expected = sum(map(len, buffers))
        written = os.writev(self._descriptor, buffers)
        self.size += written
        if written < expected:  # a signal or a nearly full disk; what follows tells which
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                written = os.write(self._descriptor, rest)
                self.size += written
                rest = rest[written:]

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
            if self._spool.durable:
                os.fsync(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        except BaseException:
            self.abandon()
            raise
        return FinishedFile(self.path, self.size, self.dataset_offset, self._spool)

    def abandon(self) -> None:
        """Close and remove the file. Doing so twice does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class FinishedFile:
    """A whole, synced file waiting for its fate; see :class:`~dicomnode.host.reception_types.SpooledFile`."""

    __slots__ = ("_decided", "_digest", "_spool", "dataset_offset", "path", "size")

    def __init__(self, path: Path, size: int, dataset_offset: int, spool: _Keeper) -> None:
        self.path, self.size, self.dataset_offset = path, size, dataset_offset
        self._spool, self._decided = spool, False
        self._digest: bytes | None = None

    def keep(self, *name_parts: str) -> Path:
        """Give the file its final name, durably, and return the final path."""
        if not self._decided:
            self._decided = True
            temporary = self.path
            try:
                self.path = self._spool.keep(temporary, name_parts)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
        return self.path

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set's bytes as received."""
        if self._digest is None:
            with self.path.open("rb") as file:
                file.seek(self.dataset_offset)
                self._digest = hashlib.file_digest(file, "sha256").digest()
        return self._digest

    def discard(self) -> None:
        """Remove the file, unless it was kept."""
        if not self._decided:
            self._decided = True
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
