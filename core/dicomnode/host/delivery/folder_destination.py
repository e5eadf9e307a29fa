"""A folder as a destination: ``file:/srv/results``."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from dicomnode.dicom.values.safe import safe_name
from dicomnode.errors import DeliveryError
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome

_SUFFIX: Final = re.compile(r"[A-Za-z0-9]{1,8}")
_OWNER_ONLY: Final = 0o700
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class FolderDestination:
    """Puts files in a folder, whole and durable under their final names, and never over another file.

    A folder that does not exist is made, for the owner only. What is put in it may be read by whoever may
    read the folder itself: new folders have its mode, files the same without execution.

    Parameters
    ----------
    name : str
        The name in the configuration (``file:`` and the folder).
    root : pathlib.Path
        The folder.
    """

    takes_files = True

    def __init__(self, name: str, root: Path) -> None:
        self._name, self.root = name, root

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self._name

    def break_off(self) -> None:
        """Do nothing: a file is written to its end."""

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Put each item under its folders and file name, made safe.

        A file of the same content that is there already is a confirmation; beside one of other content the
        new one gets a name of its own.

        Raises
        ------
        DeliveryError
            When the folder cannot be made or written to.
        """
        mode = self._prepare()
        for item in items:
            yield item, self._deliver(item, mode)

    def _prepare(self) -> int:
        """Make the folder where there is none, and return its permissions."""
        try:
            self.root.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
            return self.root.stat().st_mode & 0o2777  # the set-group-ID bit makes what is in it the group's
        except OSError as error:
            msg = f"the folder {self.root} cannot be used: {error.strerror}"
            raise DeliveryError(msg) from error

    def _deliver(self, item: OutboxItem, mode: int) -> Outcome:
        if not item.path.is_file():
            return Outcome(Delivery.REFUSED, f"the file has gone from the outbox: {item.path}")
        try:
            folder = self._folder(item.folders, mode)
            kept = _put(item.path, folder, _safe_file_name(item.file_name), mode & 0o666)
        except OSError as error:
            what = "the disk is full" if error.errno in _FULL else str(error.strerror)
            return Outcome(Delivery.LATER, f"cannot be written below {self.root}: {what}")
        return Outcome(Delivery.CONFIRMED, kept)

    def _folder(self, names: Sequence[str], mode: int) -> Path:
        folder = self.root
        for name in names:
            parent, folder = folder, folder / safe_name(name)
            if folder.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, "a link stands where a folder should be")
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                folder.chmod(mode)
                _sync_folder(parent)
        return folder


def _safe_file_name(name: str) -> str:
    """Make a file name safe and keep its suffix, by which people and programs know what it is."""
    stem, dot, suffix = name.rpartition(".")
    if stem and _SUFFIX.fullmatch(suffix):
        return f"{safe_name(stem)}{dot}{suffix}"
    return safe_name(name)


def _put(source: Path, folder: Path, name: str, mode: int) -> str:
    """Copy a file into a folder under a name that is free; return what to note of it."""
    final = folder / name
    if os.path.lexists(final):
        if _same(source, final):
            _sync_folder(folder)
            return "it was there already"
        # Named by its content, so that after a crash the next attempt finds it and does not add a third.
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        plain = PurePosixPath(name)
        final = folder / f"{plain.stem}~{digest}{plain.suffix}"
        if _same(source, final):
            _sync_folder(folder)
            return "it was there already, under another name"
    temporary = folder / f".{_digest_of_path(source)}.part"
    try:
        _copy(source, temporary, mode)
        _rename(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)
    return "" if final.name == name else "another file has its name; it was put beside that one"


def _copy(source: Path, temporary: Path, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    with os.fdopen(descriptor, "wb") as target, source.open("rb") as file:
        shutil.copyfileobj(file, target, 2**20)
        target.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _rename(temporary: Path, final: Path) -> None:
    """Give a file its final name without ever replacing another."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links (many network shares): nobody else writes our names there.
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.rename(final)


def _same(source: Path, other: Path) -> bool:
    return other.is_file() and not other.is_symlink() and filecmp.cmp(source, other, shallow=False)


def _digest_of_path(source: Path) -> str:
    """Return a temporary name that is the same at every attempt, so that crashes leave one file at most."""
    text = f"{socket.gethostname()}\0{source}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems cannot sync a directory
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
