"""Instances that are here already: are they the same, are their files what they were; quarantining them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Protocol

from dicomnode.errors import StructureError
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance, transition_instances
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.parsing.file_meta import decode_prefix
from dicomnode.host.spool.spool import Spool

_HEAD = 16_384


class Held(Enum):
    """What the file of an instance that is here is to the one that comes."""

    SAME = "same"
    """It has the very data set, byte for byte."""
    OTHER = "other"
    """It is another instance of the same UID."""
    DAMAGED = "damaged"
    """It is not what was received: bits have changed on the disk."""
    GONE = "gone"
    """There is no such file any more."""


class HasDataSet(Protocol):
    """A file with a data set in it: what came (:class:`.SpooledFile`), or what could come."""

    @property
    def size(self) -> int:
        """The size of the whole file, in bytes."""
        ...

    @property
    def dataset_offset(self) -> int:
        """Where the data set begins."""
        ...

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set's bytes."""
        ...


class AnyFile:
    """A PS3.10 file, wherever it lies.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    StructureError
        When its beginning is none of such a file.
    OSError
        When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self._path = path
        with path.open("rb") as file:
            _, self.dataset_offset = decode_prefix(file.read(_HEAD))

    def digest(self) -> bytes:
        """Return the SHA-256 of the data set's bytes."""
        with self._path.open("rb") as file:
            file.seek(self.dataset_offset)
            return hashlib.file_digest(file, "sha256").digest()


def compare(held: Path, spooled: HasDataSet, sha256: str) -> Held:
    """Compare a file that is here with what came.

    Parameters
    ----------
    held : pathlib.Path
        A file of the spool.
    spooled : HasDataSet
        What came.
    sha256 : str
        The checksum that was taken of the file when it was whole; empty if none was.
    """
    try:
        with held.open("rb") as file:
            _, offset = decode_prefix(file.read(_HEAD))
            if held.stat().st_size - offset == spooled.size - spooled.dataset_offset:
                file.seek(offset)
                if hashlib.file_digest(file, "sha256").digest() == spooled.digest():
                    return Held.SAME
            file.seek(0)
            if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return Held.DAMAGED
    except FileNotFoundError:
        return Held.GONE
    except StructureError:  # not even its beginning can be read
        return Held.DAMAGED
    return Held.OTHER


def quarantine(spool: Spool, ledger: Ledger, path: Path, reason: str) -> None:
    """Quarantine a file that the ledger knows, and enter that.

    Where it cannot be moved, the ledger alone says that it is quarantined.
    """
    old = new = spool.name_of(path)
    with suppress(OSError):
        new = spool.name_of(spool.quarantine(path, reason))
    ledger.post(transition_instances((old,), InstanceState.QUARANTINED, reason, moved_to=new))


def quarantine_instance(
    spool: Spool, ledger: Ledger, record: InstanceRecord, path: Path, reason: str
) -> None:
    """Quarantine a kept file, and enter it."""
    quarantined = spool.quarantine(path, reason)
    ledger.post(
        add_instance(
            replace(record, path=spool.name_of(quarantined), state=InstanceState.QUARANTINED, reason=reason)
        )
    )
