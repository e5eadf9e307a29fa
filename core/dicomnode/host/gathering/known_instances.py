"""Which instances of a pipeline are here: asked on the threads of associations, one look-up under a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class KnownInstances:
    """The files of the instances that wait or are inputs of a job, by SOP Instance UID.

    Whether an image is admitted depends on the image alone. This is about the instance: the same SOP Instance
    UID is stored once, and never overwritten by other bytes.
    """

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._being_stored: set[str] = set()
        self._waiters = 0
        self._lock = threading.Lock()
        self._stored = threading.Condition(self._lock)

    @contextmanager
    def storing(self, SOPInstanceUID: str) -> Iterator[Path | None]:  # noqa: N803 - DICOM's own spelling
        """Keep an instance to this thread while it is stored; others that bring it too wait.

        Yields
        ------
        pathlib.Path or None
            Its file, when it is here already: waiting, or in a job.
        """
        with self._lock:
            while SOPInstanceUID in self._being_stored:
                self._waiters += 1
                self._stored.wait()
                self._waiters -= 1
            self._being_stored.add(SOPInstanceUID)
            held = self._files.get(SOPInstanceUID)
        try:
            yield None if held is None else Path(held)
        finally:
            with self._lock:
                self._being_stored.discard(SOPInstanceUID)
                if self._waiters:
                    self._stored.notify_all()

    def add(self, SOPInstanceUID: str, file: str, *, waiting: bool = True) -> None:  # noqa: N803 - DICOM's own spelling
        """Enter an instance, in the place of another file of its UID."""
        with self._lock:
            self._files[SOPInstanceUID] = file
            if waiting:
                self._waiting.add(SOPInstanceUID)
            else:
                self._waiting.discard(SOPInstanceUID)

    def add_of_job(self, SOPInstanceUID: str, file: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Enter the input of a job, unless an instance of its UID waits: that one stays."""
        with self._lock:
            if SOPInstanceUID not in self._waiting:
                self._files.setdefault(SOPInstanceUID, file)

    def not_waiting(self, uids: Iterable[str]) -> None:
        """Note that instances are inputs of a job now."""
        with self._lock:
            self._waiting.difference_update(uids)

    def forget(self, instances: Iterable[tuple[str, str]]) -> None:
        """Forget instances, given by UID and file, so that they may come again."""
        with self._lock:
            for uid, file in instances:
                if self._files.get(uid) == file:
                    del self._files[uid]
                    self._waiting.discard(uid)

    def file_of(self, SOPInstanceUID: str) -> Path | None:  # noqa: N803 - DICOM's own spelling
        """Return the file of an instance, ``None`` where it is not here."""
        with self._lock:
            file = self._files.get(SOPInstanceUID)
        return None if file is None else Path(file)

    def is_file_of(self, SOPInstanceUID: str, file: Path) -> bool:  # noqa: N803 - DICOM's own spelling
        """Say whether a file is still the one of an instance: its job may have ended meanwhile."""
        with self._lock:
            return self._files.get(SOPInstanceUID) == str(file)

    def is_waiting(self, SOPInstanceUID: str) -> bool:  # noqa: N803 - DICOM's own spelling
        """Say whether an instance waits in a container."""
        with self._lock:
            return SOPInstanceUID in self._waiting

    def where(self, SOPInstanceUID: str) -> str | None:  # noqa: N803 - DICOM's own spelling
        """Say where an instance is, in words; ``None`` where it is not here."""
        with self._lock:
            if SOPInstanceUID not in self._files:
                return None
            return "waiting" if SOPInstanceUID in self._waiting else "in a job"

    def __len__(self) -> int:
        with self._lock:
            return len(self._files)
