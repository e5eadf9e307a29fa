"""The folder of a job's results: built under another name, and there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dicomnode.errors import JobFailedError, OutputError
from dicomnode.host.foundation.durability import sync_directory
from dicomnode.host.foundation.file_trees import remove_or_move_aside, remove_tree
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.pipeline.destination import OutboxItem

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
_SYNCS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the manifest of a finished folder says.

    Attributes
    ----------
    job, identity : str
        Whose result it is.
    items : tuple of OutboxItem
        What is to be delivered.
    warnings : tuple of str
        What the output checks found and let pass.
    plain : dict
        The whole of it, as JSON data.
    """

    job: str
    identity: str
    items: tuple[OutboxItem, ...]
    warnings: tuple[str, ...]
    plain: dict[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a finished folder.

    Raises
    ------
    OutputError
        When there is none, or it is not one of ours: the folder is no result.
    """
    try:
        plain = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if plain["format"] != MANIFEST_FORMAT:
            msg = (
                f"{folder / MANIFEST} is of format {plain['format']!r}, and this host reads {MANIFEST_FORMAT}"
            )
            raise OutputError(msg)
        items = tuple(OutboxItem.from_json(each, folder) for each in plain["items"])
        return Manifest(plain["job"], plain["identity"], items, tuple(plain["warnings"]), plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder} holds no result: its {MANIFEST} cannot be read ({type(error).__name__})"
        raise OutputError(msg) from error


def building_folder(folder: Path) -> Path:
    """Return the name under which a folder is built: a hidden one beside it."""
    return folder.with_name(f".{folder.name}.building")


def links_folder(workdir: Path) -> Path:
    """Return where the inputs of a job have their names for the plugin: beside its working folder."""
    return workdir.with_name(f".{workdir.name}.inputs")


class JobFolder:
    """A job's folder in the outbox, its working folder and the names of its inputs, in a ``with`` block.

    What an earlier attempt left under the same names is removed at the start. When the block ends without
    :meth:`finish`, nothing is left.

    Parameters
    ----------
    folder : pathlib.Path
        The finished folder. It must not exist; its parent must.
    workdir : pathlib.Path
        The working folder.
    durable : bool
        Whether results are synced.

    Raises
    ------
    JobFailedError
        On entering, when the folder exists or its place cannot be used.
    """

    def __init__(self, folder: Path, workdir: Path, *, durable: bool) -> None:
        self.folder, self.workdir, self.durable = folder, workdir, durable
        self.building, self.links = building_folder(folder), links_folder(workdir)

    def __enter__(self) -> Self:
        if self.folder.exists():
            msg = f"{self.folder} exists: the job has a result already"
            raise JobFailedError(msg, Failure.OUTPUT)
        try:
            self.workdir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (self.building, self.workdir, self.links):
                remove_or_move_aside(directory)
                directory.mkdir(mode=0o700)
        except OSError as error:
            msg = f"the job's folder cannot be made: {error}"
            raise JobFailedError(msg, Failure.DISK) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for directory in (self.building, self.workdir, self.links):
            remove_tree(directory)  # what is left of it is taken away by the host, or by the next attempt

    def output_folder(self, number: int) -> Path:
        """Make the folder of one output."""
        made = self.building / f"{number:02d}"
        made.mkdir(mode=0o700)
        return made

    def check_item(self, item: object, folder: Path) -> OutboxItem:
        """Check that what an output says it wrote is a file of its own folder.

        Raises
        ------
        OutputError
            When it is not.
        """
        if not isinstance(item, OutboxItem):
            msg = f"it returned a {type(item).__name__} among its items; it returns OutboxItems"
            raise OutputError(msg)
        try:
            mode = item.path.lstat().st_mode
        except OSError as error:
            msg = f"it named {item.path.name}, which cannot be found: {error.strerror}"
            raise OutputError(msg) from error
        if not stat.S_ISREG(mode) or folder.resolve() not in item.path.resolve().parents:
            msg = f"it named {item.path.name}, which is no plain file in the folder that it was given"
            raise OutputError(msg)
        return item

    def finish(self, record: dict[str, Any], items: Sequence[OutboxItem]) -> None:
        """Make everything durable, write the manifest, and put the folder into its place.

        Parameters
        ----------
        record : dict
            What the manifest says besides its items.
        items : sequence of OutboxItem
            What is to be delivered.

        Raises
        ------
        JobFailedError
            When the disk is full or fails.
        """
        try:
            self._finish(record, items)
        except OSError as error:
            msg = f"the result could not be made durable: {error}"
            raise JobFailedError(msg, Failure.DISK) from error

    def _finish(self, record: dict[str, Any], items: Sequence[OutboxItem]) -> None:
        plain = {
            "format": MANIFEST_FORMAT,
            **record,
            "items": [item.to_json(self.building) for item in items],
            "files": {str(item.path.relative_to(self.building)): _digest(item.path) for item in items},
        }
        for item in items:
            item.path.chmod(0o600)
        directories = _directories_of(items, self.building)
        if self.durable:
            with ThreadPoolExecutor(
                _SYNCS_AT_ONCE
            ) as syncing:  # syncs at the same time share a commit of the journal
                list(syncing.map(_sync_file, (item.path for item in items)))
                list(syncing.map(sync_directory, directories))
        manifest = self.building / MANIFEST
        manifest.write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
        manifest.chmod(0o600)
        if self.durable:
            _sync_file(manifest)
            sync_directory(self.building)
        self.building.rename(self.folder)
        if self.durable:
            sync_directory(self.folder.parent)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _directories_of(items: Iterable[OutboxItem], top: Path) -> list[Path]:
    """Return the directories that hold items, from one on: no others need be durable."""
    found = {top}
    for item in items:
        for directory in item.path.parents:
            if directory in found:
                break
            found.add(directory)
    return sorted(found)
