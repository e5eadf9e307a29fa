"""The files of a spool by their names: for whoever manages them without reading what is in them.

Apart from :mod:`dicomnode.host.spool.spool`, so that an operator's command imports nothing of DICOM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dicomnode.host.foundation.durability import sync_directory
from dicomnode.host.spool.released_files import ReleasedFiles


class SpoolFiles:
    """The files of a spool: listed, named, removed, quarantined. Making one touches nothing.

    Parameters
    ----------
    root : Path
        The spool.
    durable : bool
        Whether what is quarantined is synced.

    Attributes
    ----------
    quarantine_folder : pathlib.Path
        The folder of what is quarantined.
    released : ReleasedFiles
        Which of the kept files are inputs of jobs that are over.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root, self.durable = root, durable
        self._kept, self.quarantine_folder = root / "kept", root / "quarantine"
        self.released = ReleasedFiles(root / "released", durable=durable)

    def iterate(self) -> Iterator[Path]:
        """Yield every kept file, oldest directory first; for rebuilding the ledger."""
        return map(self.path_of, self.names())

    def names(self) -> Iterator[str]:
        """Yield every kept file's name in the ledger, oldest directory first; there may be a million."""
        kept = self._kept.name
        for directory in sorted(os.listdir(self._kept)):  # noqa: PTH208 - no Path objects for a million files
            if _is_number(directory):  # one of ours, and neither an operator's nor a file system's
                for name in sorted(os.listdir(self._kept / directory)):  # noqa: PTH208 - as above
                    if name.endswith(".dcm"):
                        yield f"{kept}/{directory}/{name}"

    def iterate_quarantine(self) -> Iterator[Path]:
        """Yield every file that is quarantined."""
        yield from (path for path in sorted(self.quarantine_folder.iterdir()) if path.suffix == ".dcm")

    def reason_of(self, path: Path) -> str:
        """Return why a file was quarantined; empty where there is no note."""
        try:
            return _note_of(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def quarantined_since(self, path: Path) -> float:
        """Return when a file was quarantined: by its note, or, without one, when it was received.

        Raises
        ------
        OSError
            When it is not there any more.
        """
        received = path.stat().st_mtime
        try:
            return max(received, _note_of(path).stat().st_mtime)
        except OSError:
            return received

    def remove_quarantined(self, path: Path) -> None:
        """Remove a file that is quarantined, with its reason."""
        self.remove(path)
        _note_of(path).unlink(missing_ok=True)

    def name_of(self, path: Path | str) -> str:
        """Return how a file of this spool is called in the ledger: its path within the spool."""
        return str(path).removeprefix(f"{self.root}/")  # no Path objects on the way of every instance

    def file_of(self, name: str) -> str:
        """Return the file that the ledger calls so, as text."""
        return f"{self.root}/{name}"

    def path_of(self, name: str) -> Path:
        """Return the file that the ledger calls so."""
        return self.root / name

    def remove(self, path: Path) -> None:
        """Remove a file of this spool; that it is gone already is no error."""
        self._check_inside(path).unlink(missing_ok=True)

    def quarantine(self, path: Path, reason: str) -> Path:
        """Quarantine a file of this spool, with the reason beside it; return its new path.

        The reason is shown to the operator: it should say what happened, without patient data.
        """
        quarantined = self.quarantine_folder / self._check_inside(path).name
        with suppress(OSError):  # on a full disk the ledger alone has the reason
            self._write_note(_note_of(quarantined), reason)
        path.rename(quarantined)
        if self.durable:
            sync_directory(self.quarantine_folder)
        return quarantined

    def _write_note(self, note: Path, reason: str) -> None:
        descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(reason + "\n")
            if self.durable:
                file.flush()
                os.fsync(file.fileno())

    def _check_inside(self, path: Path) -> Path:
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} is not in the spool {self.root}")
        return path


def _note_of(quarantined: Path) -> Path:
    return quarantined.with_name(quarantined.name + ".reason")


def _is_number(name: str) -> bool:
    try:
        return int(name, 16) >= 0
    except ValueError:
        return False
