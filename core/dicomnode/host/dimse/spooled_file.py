"""What the DIMSE side asks of the spool: a file to write to, and then a whole file to keep or to discard.

The spool comes after this room and implements these protocols (:mod:`dicomnode.host.spool.spool_writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dicomnode.host.parsing.file_meta import FileMeta
from dicomnode.host.parsing.structure import ByteSource


class SpooledFile(Protocol):
    """A whole, synced file under a temporary name in the spool, waiting for its fate.

    What is neither kept nor discarded when :meth:`StoreHandler.received` returns (or raises) is discarded by
    the receiver.
    """

    @property
    def path(self) -> Path:
        """Where the bytes lie now; after :meth:`keep`, the final path."""
        ...

    @property
    def file(self) -> str:
        """The same as text: path objects take as long to make as all else that is done with them."""
        ...

    @property
    def size(self) -> int:
        """The size of the whole file, in bytes."""
        ...

    @property
    def dataset_offset(self) -> int:
        """Where the data set begins in the file: after preamble, prefix and file meta information."""
        ...

    def keep(self, *name_parts: str) -> str:
        """Give the file its final name, durably, and return the final path as text.

        Parameters
        ----------
        *name_parts : str
            Whatever identifies the instance (a scope such as the pipeline's name, the SOPInstanceUID, ...).
            Only their digest becomes part of a name. A file that exists already is never replaced: the new
            one gets another name.

        Returns
        -------
        str
            The directory entry is synced when this returns (with ``durability = "power"``).
        """
        ...

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set's bytes as received (read from the file, cached)."""
        ...

    def hand_over(self) -> None:
        """Leave the file to another process, which has decided about it."""
        ...

    def discard(self) -> None:
        """Remove the file. Doing so twice, or after :meth:`keep`, does nothing."""
        ...


class IncomingFile(Protocol):
    """A file that is being written, under a temporary name. It must be finished or abandoned."""

    @property
    def prefix(self) -> bytes:
        """What precedes the data set: preamble, prefix and file meta information."""
        ...

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        ...

    @property
    def dataset_offset(self) -> int:
        """Where the data set begins in the file."""
        ...

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Append the buffers.

        Raises
        ------
        OSError
            If they cannot be written, or not entirely. The file must be abandoned then.
        """
        ...

    def source(self, head: bytes = b"") -> ByteSource:
        """Return what was written, to be walked over; `head` is the beginning of the file if at hand."""
        ...

    def finish(self) -> SpooledFile:
        """Sync (with ``durability = "power"``) and close the file.

        Raises
        ------
        OSError
            If it cannot be synced. The file is abandoned then.
        """
        ...

    def abandon(self) -> None:
        """Close and remove the file. Doing so twice does nothing."""
        ...


class IncomingSpool(Protocol):
    """Where new files are begun."""

    @property
    def durable(self) -> bool:
        """Whether files are synced."""
        ...

    def new(self, meta: FileMeta) -> IncomingFile:
        """Begin a file."""
        ...
