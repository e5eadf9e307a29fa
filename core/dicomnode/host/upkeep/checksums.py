"""Checksums of the files that wait, so that one that has changed on the disk is noticed before it is used.

A checksum costs as much time as receiving the file does, so none is taken on the way of an instance, nor of
one whose job starts at once: that job reads the very bytes that were just written. What waits for longer than
some seconds (for the rest of its patient, or for its job's turn) is read once, from the page cache as a rule,
by a thread that takes at most a quarter of one core. Its SHA-256 goes into the ledger, from there into the
job's description, and the worker, which takes the same digest anyway before the plugin runs, compares.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from pathlib import Path, PurePosixPath

from dicomnode.errors import DicomnodeError
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import note_checksums
from dicomnode.host.spool.spool_files import SpoolFiles

_LOG = logging.getLogger(__name__)
_AT_ONCE = 200
_PIECE = 2**20
_REST = 3.0
"""Seconds of rest for a second of work."""


class Checksums:
    """Takes the checksums of what waits, on a thread of its own.

    Parameters
    ----------
    ledger : Ledger
        Who knows what waits, and keeps the checksums.
    spool : SpoolFiles
        Where the files are.
    waited : float
        Seconds after which an instance counts as waiting; as often it is looked for them.
    """

    def __init__(self, ledger: Ledger, spool: SpoolFiles, waited: float = 30.0) -> None:
        self._ledger, self._spool, self._waited = ledger, spool, waited
        self._from = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checksums", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, in the middle of a file if need be."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._waited):
            try:
                self.look()
            except (DicomnodeError, OSError, sqlite3.Error) as error:
                _LOG.warning("checksums could not be taken: %s; it is tried again", error)
        self._ledger.close_reader()

    def look(self) -> int:
        """Take every checksum that is due, and return how many there were.

        Files are named in the order of the directories that they fill, so what came before the oldest one
        that is left need not be looked at again.
        """
        taken, after, last, left = 0, self._from, self._from, ""
        while not self._stopping.is_set():
            page = self._ledger.without_checksum(after, _AT_ONCE)
            if not page:
                break
            now = time.time()
            due = {path for path, received in page if not now - self._waited < received <= now}
            young = (path for path, _ in page if path not in due)
            left = left or next(young, "")
            taken += self._take(sorted(due))
            after = last = page[-1][0]
        self._from = _directory_before(left or last)
        return taken

    def _take(self, names: list[str]) -> int:
        found: dict[str, str] = {}
        for name in names:
            if self._stopping.is_set():
                break
            began = time.thread_time()
            sha256 = self._checksum(self._spool.path_of(name))
            if sha256:
                found[name] = sha256
            self._stopping.wait(_REST * (time.thread_time() - began))
        if found:
            self._ledger.post(note_checksums(found))
        return len(found)

    def _checksum(self, path: Path) -> str:
        """Return the digest of a file; nothing, if it has gone or cannot be read, as its job will find."""
        digest = hashlib.sha256()
        try:
            with path.open("rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    if self._stopping.is_set():
                        return ""
        except OSError:
            return ""
        return digest.hexdigest()


def _directory_before(name: str) -> str:
    """Return a text that sorts before the files of a file's directory, and of the one filled before it."""
    if not name:
        return ""
    directory = PurePosixPath(name).parent
    try:
        return str(directory.with_name(f"{max(int(directory.name, 16) - 1, 0):06x}"))
    except ValueError:  # not one of ours
        return ""
