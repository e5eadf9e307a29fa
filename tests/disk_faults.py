"""Storage that fails or is slow while the host runs: a shim that is compiled and preloaded."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from programs import program

_SOURCE = Path(__file__).with_name("disk_faults.c")


class DiskFaults:
    """Rules for the storage of a host, which come and go while it runs.

    Parameters
    ----------
    directory : pathlib.Path
        Where the compiled shim, the rules and the log of syncs go.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._rules, self._log = directory / "rules", directory / "syncs"
        self._library = directory / "disk_faults.so"
        self._rules.write_text("")
        command = [program("gcc"), "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the host needs in its environment."""
        return {
            "LD_PRELOAD": str(self._library),
            "DISK_FAULTS": str(self._rules),
            "DISK_FAULTS_LOG": str(self._log),
        }

    @contextmanager
    def failing(self, call: str, part: str, number: int = errno.EIO) -> Iterator[None]:
        """Let a call (``fsync``, ``write``) fail on every file whose path holds a text."""
        with self._rule(f"{call} {part} {number} 0"):
            yield

    @contextmanager
    def slow(self, part: str, milliseconds: int) -> Iterator[None]:
        """Let every sync of a file whose path holds a text take longer."""
        with self._rule(f"fsync {part} 0 {milliseconds}"):
            yield

    def stalled(self, part: str) -> AbstractContextManager[None]:
        """Let fsync of such files not return before the block ends."""
        return self._rule(f"fsync {part} 0 -1")

    @contextmanager
    def _rule(self, rule: str) -> Iterator[None]:
        new = self._rules.with_suffix(".new")
        new.write_text(rule + "\n")
        new.rename(self._rules)
        try:
            yield
        finally:
            new.write_text("")
            new.rename(self._rules)

    def syncs(self) -> list[tuple[int, str]]:
        """Return errno (0: it went well) and path of every sync so far, in order."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().splitlines()
        return [(int(number), path) for number, _, path in (line.partition(" ") for line in lines)]

    def synced_again(self) -> list[str]:
        """Return the paths that were synced again after a sync of them had failed."""
        failed: set[str] = set()
        again = []
        for number, path in self.syncs():
            if path in failed:
                again.append(path)
            if number:
                failed.add(path)
        return again
