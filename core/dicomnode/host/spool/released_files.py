"""Notes beside the spool's files that say of which the job is over: they are kept, and not run again.

The ledger says so, too. But a ledger that is lost is rebuilt from the spool, and a kept file of a job that is
over looks like one that waits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dicomnode.host.foundation.durability import sync_directory

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReleasedNote:
    """What a note says.

    Attributes
    ----------
    ended : float
        When the job ended (seconds since the epoch).
    files : frozenset of str
        The files of its inputs, as the ledger calls them.
    """

    ended: float
    files: frozenset[str]


class ReleasedFiles:
    """The notes of a spool, one a job that is over: whole or not at all. Making this touches nothing.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are; made with the first of them.
    durable : bool
        Whether they are synced.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder, self._durable = folder, durable

    def note(self, files: Iterable[str], ended: float) -> None:
        """Note that the job of these inputs is over; it is no error that it is noted already.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        note = ReleasedNote(ended, frozenset(files))
        if not note.files:
            return
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._sync(self._folder.parent)
        path = self._path_of(note.files)
        temporary = path.with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"ended": ended, "files": sorted(note.files)}, file)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())
        temporary.rename(path)
        self._sync(self._folder)

    def forget(self, files: Iterable[str]) -> None:
        """Take the note of these inputs back: they are needed again, or have gone."""
        path = self._path_of(frozenset(files))
        if path.exists():
            path.unlink(missing_ok=True)
            self._sync(self._folder)

    def notes(self) -> Iterator[ReleasedNote]:
        """Yield every note. One that cannot be read says nothing: its files are taken to be needed."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                plain = json.loads(path.read_text(encoding="utf-8"))
                yield ReleasedNote(float(plain["ended"]), frozenset(map(str, plain["files"])))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                _LOG.warning("the note %s cannot be read: %s", path.name, type(error).__name__)

    def _path_of(self, files: frozenset[str]) -> Path:
        """Return the note's name: the same at every end. A new ledger would use a job's number again."""
        text = "\0".join(sorted(files))
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def _sync(self, folder: Path) -> None:
        if self._durable:
            sync_directory(folder)
