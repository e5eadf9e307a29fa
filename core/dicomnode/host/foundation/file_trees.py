"""Folders whose content nobody has checked: removed and measured whatever a job left in them.

A plugin may leave folders nested a hundred thousand deep, without permissions, or with millions of files. So
nothing here recurses, builds a path or holds more than two directories open: a walk opens each name relative
to the directory above it, never through a symbolic link, and goes back by ``..``. Every removal of a tree by
the host goes through this module.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_LOG = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})
_BATCH = 10_000
"""How many folders of one folder are noted before they are removed: the rest of it is read again later."""
_MOST_FAILURES = 1000
"""How many entries may resist before a removal gives up."""
_LEFTOVER = ".leftover-"
"""How the names begin of what was moved aside; hidden, beside where it was."""
_WITHIN = 60.0
_BACKGROUND_WITHIN = 3600.0


@dataclass(frozen=True, slots=True)
class Remains:
    """What could not be removed.

    Attributes
    ----------
    path : pathlib.Path
        Where it is now.
    reason : str
        Why, without names of files: those may be a patient's.
    """

    path: Path
    reason: str


def remove_tree(path: Path, within: float = _WITHIN) -> Remains | None:
    """Remove a file or a folder with all that is in it; symbolic links are removed, not followed.

    Folders without permissions are given them. It goes on past what cannot be removed.

    Parameters
    ----------
    path : pathlib.Path
        What is to go. It need not exist.
    within : float
        Seconds after which it gives up.

    Returns
    -------
    Remains or None
        ``None`` when nothing is left. It raises nothing for what is on the disk.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Remains(path, _words(error))
    try:
        with _Walk(parent) as walk:
            reason = _Removal(walk, time.monotonic() + within).run(path.name)
    finally:
        os.close(parent)
    return None if reason is None else Remains(path, reason)


def remove_or_move_aside(path: Path, within: float = _WITHIN) -> None:
    """Remove a tree; what is left of it is moved aside (:func:`move_aside`) and logged with its path."""
    remains = remove_tree(path, within)
    if remains is not None:
        _log_remains(Remains(move_aside(path), remains.reason), path)


def move_aside(path: Path) -> Path:
    """Rename a tree, so that its name is free: it becomes a hidden ``.leftover-...`` beside where it was.

    Returns
    -------
    pathlib.Path
        Where it is now: the same path, if it is a leftover already or cannot be renamed.
    """
    if path.name.startswith(_LEFTOVER):
        return path
    aside = path.with_name(f"{_LEFTOVER}{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except OSError:
        return path
    return aside


def disk_usage(folders: Iterable[str | os.PathLike[str]], enough: float = math.inf) -> int:
    """Return the bytes on disk of everything below some folders; symbolic links are not followed.

    Parameters
    ----------
    folders : iterable of path
        The folders; one that is not there, or cannot be read, counts nothing.
    enough : float
        Bytes beyond which it need not count on.
    """
    total = 0
    for folder in folders:
        with suppress(OSError), _Walk.of(folder) as walk:
            for size in _sizes(walk):
                total += size
                if total > enough:
                    return total
    return total


class TreeRemover:
    """Removes trees on a thread of its own, so that a caller waits for no disk.

    The thread exists only while there is something to remove.

    Parameters
    ----------
    within : float
        Seconds for one tree.
    """

    def __init__(self, within: float = _BACKGROUND_WITHIN) -> None:
        self._within = within
        self._lock = threading.Lock()
        self._queue: deque[tuple[Path, Path]] = deque()
        self._thread: threading.Thread | None = None

    def remove(self, path: Path) -> None:
        """Rename a tree at once, if it is there, and have it removed soon; what cannot be is logged."""
        aside = move_aside(path)
        if not os.path.lexists(aside):
            return
        with self._lock:
            self._queue.append((path, aside))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tree remover", daemon=True)
                self._thread.start()

    def wait(self, within: float) -> bool:
        """Wait until everything has been dealt with, and return whether it has."""
        thread = self._thread
        if thread is not None:
            thread.join(within)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                path, aside = self._queue.popleft()
            remains = remove_tree(aside, self._within)
            if remains is not None:
                _log_remains(remains, path)


def _log_remains(remains: Remains, was: Path) -> None:
    now = f" It is now {remains.path}." if remains.path != was else ""
    _LOG.error(
        "%s cannot be removed: %s.%s Remove it by hand; every start of the host tries again",
        was,
        remains.reason,
        now,
    )


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__


class _MovedError(OSError):
    """A directory is not where it was found: somebody moves the tree meanwhile."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "another process moved its folders meanwhile")


_Identity = tuple[int, int]


class _Walk:
    """Where a walk is: one open directory, and which directories are above it.

    Parameters
    ----------
    root : int
        An open directory, which stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self.here = root
        self._root = root
        self._above: list[_Identity] = []
        self._identity = _identity(os.fstat(root))

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> Self:
        """Begin a walk in a folder."""
        root = os.open(folder, _DIRECTORY)
        walk = cls(root)
        walk._root = -1
        return walk

    def down(self, name: str) -> os.stat_result:
        """Go into a directory.

        Raises
        ------
        OSError
            When it is none, or cannot be opened.
        """
        opened = os.open(name, _DIRECTORY, dir_fd=self.here)
        status = os.fstat(opened)
        self._above.append(self._identity)
        self._go(opened, _identity(status))
        return status

    def up(self) -> None:
        """Go back to the directory above.

        Raises
        ------
        OSError
            When it is another one by now.
        """
        above = self._above.pop()
        if not self._above and self._root >= 0:
            self._go(self._root, above)
            return
        opened = os.open("..", _DIRECTORY, dir_fd=self.here)
        if _identity(os.fstat(opened)) != above:
            os.close(opened)
            raise _MovedError
        self._go(opened, above)

    def _go(self, descriptor: int, identity: _Identity) -> None:
        if self.here != self._root:
            os.close(self.here)
        self.here, self._identity = descriptor, identity

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._go(self._root, self._identity)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


@dataclass(slots=True)
class _Folder:
    """A directory that is being removed, or measured.

    ``name`` is its name in the one above; ``pending`` holds the folders in it that are still to be seen to,
    ``failed`` the names of what cannot be removed.
    """

    name: str = ""
    pending: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)


class _Removal:
    """One removal, from the deepest directory upwards."""

    def __init__(self, walk: _Walk, until: float) -> None:
        self._walk, self._until = walk, until
        self._device = os.fstat(walk.here).st_dev
        self._folders = [_Folder()]
        self._failures = 0
        self._reason: str | None = None

    def run(self, name: str) -> str | None:
        """Remove one entry of the directory that the walk begins in; return why not, or ``None``."""
        try:
            self._try(self._remove, name)
            while len(self._folders) > 1:
                folder = self._folders[-1]
                if folder.pending:
                    self._try(self._remove, folder.pending.pop())
                elif not self._empty(folder):
                    self._leave()
        except (_GaveUpError, OSError) as error:  # OSError: the way back is gone
            problem = _words(error) if isinstance(error, OSError) else str(error)
            return problem if self._reason is None else f"{self._reason}; {problem}"
        return self._reason

    def _try(self, removing: Callable[[str], None], name: str) -> None:
        """Remove an entry of the current directory, or note that it cannot be."""
        if time.monotonic() > self._until:
            msg = "it took too long"
            raise _GaveUpError(msg)
        try:
            removing(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail(name, error)

    def _fail(self, name: str, error: OSError) -> None:
        self._folders[-1].failed.add(name)
        self._reason = self._reason or _words(error)
        self._failures += 1
        if self._failures > _MOST_FAILURES:
            msg = f"more than {_MOST_FAILURES} entries cannot be removed"
            raise _GaveUpError(msg)

    def _remove(self, name: str) -> None:
        """Remove an entry that is no directory; go into one that is."""
        try:
            self._enter(name)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY:
                raise
            self._unlink(name)

    def _enter(self, name: str) -> None:
        try:
            status = self._walk.down(name)
        except PermissionError:
            _give_permission(name, self._walk.here)
            status = self._walk.down(name)
        if status.st_dev != self._device:
            self._walk.up()
            raise OSError(errno.EXDEV, "another file system is mounted in it")
        self._folders.append(_Folder(name))
        if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with suppress(OSError):
                os.fchmod(self._walk.here, stat.S_IRWXU)

    def _empty(self, folder: _Folder) -> bool:
        """Unlink what is in the current directory, note its folders; return whether there was anything.

        It is read until nothing turns up that was not there before: what a directory that is changed while it
        is read shows of its entries is not defined.
        """
        found = False
        try:
            with os.scandir(self._walk.here) as entries:
                for entry in entries:
                    if entry.name in folder.failed:
                        continue
                    found = True
                    if not entry.is_dir(follow_symlinks=False):
                        self._try(self._unlink, entry.name)
                    elif len(folder.pending) < _BATCH:
                        folder.pending.append(entry.name)
        except OSError as error:
            self._fail("", error)
            return False
        return found

    def _unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._walk.here)

    def _leave(self) -> None:
        folder = self._folders[-1]
        self._walk.up()
        self._folders.pop()
        self._try(self._rmdir, folder.name)

    def _rmdir(self, name: str) -> None:
        os.rmdir(name, dir_fd=self._walk.here)


class _GaveUpError(Exception):
    """A removal has done what it may do."""


def _give_permission(name: str, above: int) -> None:
    """Let this user read and change a directory that it may not even open."""
    opened = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        # fchmod takes no O_PATH descriptor, and chmod by the name could follow a symbolic link.
        os.chmod(f"/proc/self/fd/{opened}", stat.S_IRWXU)  # noqa: PTH101 - no path of ours
    finally:
        os.close(opened)


def _sizes(walk: _Walk) -> Iterator[int]:
    """Yield the bytes on disk of every entry below the directory that a walk begins in."""
    folders = [_Folder()]
    yield from _measure(walk, folders[-1])
    while folders:
        if not folders[-1].pending:
            folders.pop()
            if folders:
                walk.up()
            continue
        try:
            walk.down(folders[-1].pending.pop())
        except OSError:
            continue
        folders.append(_Folder())
        yield from _measure(walk, folders[-1])


def _measure(walk: _Walk, folder: _Folder) -> Iterator[int]:
    with suppress(OSError), os.scandir(walk.here) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folder.pending.append(entry.name)
                yield status.st_blocks * 512
