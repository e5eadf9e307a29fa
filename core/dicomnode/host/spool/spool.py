"""The spool: received files on disk, exactly as they were sent.

::

    spool/
      incoming/      files being written, under temporary names; emptied at start
      kept/00002a/   whole files under their final names, some thousands in a directory
      released/      which of them are inputs of jobs that are over, a note a job
      quarantine/    quarantined files, each with a ``.reason`` beside it

A file is written under a temporary name, synced, renamed, and its directory synced: it is there whole or not
at all. Files fill one directory after the other, because associations that finish at the same time can then
share one directory sync. Names hold digests, never text from the network.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import DataDirectoryError
from dicomnode.host.foundation.durability import Durability, sync_directory
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.parsing.file_meta import FileMeta, decode_prefix
from dicomnode.host.parsing.inspection import InspectionLimits, inspect
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.spool.shared_sync import SharedSync
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.host.spool.spool_writer import DescriptorSource, SpoolWriter

_FILES_PER_DIRECTORY = 2000
_HEAD = 16_384


class _Directory:
    """The directory that is being filled."""

    def __init__(self, path: Path, free: int) -> None:
        path.mkdir(mode=0o700)
        self.path = str(path)
        self.free = free
        self.sync = SharedSync(lambda: sync_directory(path))


class Spool(SpoolFiles):
    """Received files, and the one place that names, keeps, removes and quarantines them.

    Parameters
    ----------
    root : Path
        Created (0700) if it is not there. It must be one file system.
    durability : {"power", "process"}
        Whether files and directories are synced.
    limits : InspectionLimits, optional
        For :meth:`read_index`.

    Raises
    ------
    DataDirectoryError
        If the directories cannot be made or read.
    """

    def __init__(
        self, root: Path, durability: Durability = "power", limits: InspectionLimits | None = None
    ) -> None:
        super().__init__(root, durable=durability == "power")
        self._limits = limits or InspectionLimits()
        self._incoming = root / "incoming"
        # Names are unique without asking the file system: a random part for this run, a count within it.
        self._incoming_prefix = f"{self._incoming}/{secrets.token_hex(6)}-"
        self._count = itertools.count()
        self._filling: _Directory | None = None
        self._lock = threading.Lock()
        try:
            for directory in (root, self._incoming, self._kept, self.quarantine_folder):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                directory.chmod(0o700)
            self._remove_leftovers()
            if self.durable:
                sync_directory(root)
                sync_directory(root.parent)
        except OSError as error:
            raise DataDirectoryError(f"the spool {root} cannot be used: {error}") from error

    def _remove_leftovers(self) -> None:
        """Drop what was never acknowledged, and directories that have become empty."""
        for leftover in self._incoming.iterdir():
            remove_or_move_aside(leftover)
        last = 0
        for directory in self._kept.iterdir():
            with suppress(ValueError):  # not one of ours: an operator's, a file system's
                last = max(last, int(directory.name, 16))
                with suppress(OSError):
                    directory.rmdir()
        self._numbers = itertools.count(last + 1)

    # -- writing --------------------------------------------------------------------------------------------

    def new(self, meta: FileMeta) -> SpoolWriter:
        """Begin a file; the data set's bytes are then written to it, as they come.

        Raises
        ------
        OSError
            Not here, but by the first write.
        """
        return SpoolWriter(f"{self._incoming_prefix}{next(self._count):08x}", meta, self)

    @property
    def incoming_prefix(self) -> str:
        """How paths of new files begin in this run."""
        return self._incoming_prefix

    def drop_incoming(self, prefix: str) -> None:
        """Remove the files that were begun under a prefix of this run, and not kept."""
        for leftover in self._incoming.glob(prefix.removeprefix(f"{self._incoming}/") + "*"):
            leftover.unlink(missing_ok=True)

    def keep(self, path: str, name_parts: tuple[str, ...]) -> str:
        """Move a finished file to its final name, durably; see :meth:`SpooledFile.keep`."""
        directory = self._directory_to_fill()
        digest = hashlib.sha256("\0".join(name_parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        # In order of arrival: the ledger's rows, whose key the name is, then go where the last ones went.
        final = f"{directory.path}/{path[path.rindex('/') + 1 :]}-{digest}.dcm"
        os.rename(path, final)  # noqa: PTH104 - no Path objects on the way of every instance
        failpoint("renamed")
        if self.durable:
            try:
                directory.sync()
            except OSError:
                # The kernel reports a failed write-back once; a second sync would only seem to succeed. So
                # this file is not acknowledged, and this directory is not written to again.
                self._abandon(directory)
                with suppress(OSError):
                    os.unlink(final)  # noqa: PTH108 - as above
                raise
        failpoint("kept")
        return final

    def _directory_to_fill(self) -> _Directory:
        with self._lock:
            if self._filling is None or self._filling.free == 0:
                self._filling = None
                new = _Directory(self._kept / f"{next(self._numbers):06x}", _FILES_PER_DIRECTORY)
                if self.durable:
                    sync_directory(self._kept)
                self._filling = new  # only now: a directory that may go with the power is not filled
            self._filling.free -= 1
            return self._filling

    def _abandon(self, directory: _Directory) -> None:
        with self._lock:
            if self._filling is directory:
                self._filling = None

    # -- reading --------------------------------------------------------------------------------------------

    def read_index(
        self, path: Path, wanted: frozenset[int], layouts: LayoutCache | None = None
    ) -> tuple[FileMeta, dict[int, IndexedValue]]:
        """Read a kept file as it was read when it was received; see :func:`read_index`."""
        return read_index(path, wanted, self._limits, layouts)


def read_index(
    path: Path,
    wanted: frozenset[int],
    limits: InspectionLimits,
    layouts: LayoutCache | None = None,
    *,
    as_named: bool = True,
) -> tuple[FileMeta, dict[int, IndexedValue]]:
    """Read any PS3.10 file as the receiver reads what comes.

    Parameters
    ----------
    path : Path
        The file.
    wanted : frozenset of int
        As :attr:`StoreHandler.wanted`.
    limits : InspectionLimits
        What its data set may not exceed.
    layouts : LayoutCache, optional
        Those of files that were read before, to be fast with one that is laid out alike.
    as_named : bool
        Whether it must hold the instance that its meta information names, as a file of the spool must.

    Raises
    ------
    StructureError
        If the file cannot be read to its end, or is not what its meta information says.
    OSError
        If it cannot be opened or read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, _HEAD, 0)
        meta, offset = decode_prefix(head)
        expected = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) if as_named else None
        source = DescriptorSource(descriptor, head)
        syntax = meta.TransferSyntaxUID
        index = inspect(source, offset, size, syntax, wanted, limits, expected=expected, layouts=layouts)
        return meta, index
    finally:
        os.close(descriptor)
