"""Instances that are here already: is it the same, and what becomes of one that is replaced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from .file_meta import decode_prefix
from .ledger import Ledger
from .ledger_records import InstanceRecord
from .ledger_writes import add_instance, move_instances
from .pipeline_tree import PipelineTree
from .reception_types import SpooledFile
from .spool import Spool
from .states import InstanceState

_HEAD = 16_384


def same_dataset(held: Path, spooled: SpooledFile) -> bool:
    """Say whether a file that is here has the very data set that came, byte for byte.

    Parameters
    ----------
    held : pathlib.Path
        A file of the spool.
    spooled : SpooledFile
        What came.
    """
    try:
        with held.open("rb") as file:
            _, offset = decode_prefix(file.read(_HEAD))
            if held.stat().st_size - offset != spooled.size - spooled.dataset_offset:
                return False
            file.seek(offset)
            return hashlib.file_digest(file, "sha256").digest() == spooled.digest()
    except FileNotFoundError:
        return False


def quarantine_instance(
    spool: Spool, ledger: Ledger, record: InstanceRecord, path: Path, reason: str
) -> None:
    """Put a kept file aside for the operator, and enter it."""
    aside = spool.quarantine(path, reason)
    ledger.post(
        add_instance(
            replace(record, path=spool.name_of(aside), state=InstanceState.QUARANTINED, reason=reason)
        )
    )


@dataclass(frozen=True, slots=True)
class Twin:
    """The instance that has the UID of one that comes, with other content.

    Parameters
    ----------
    tree : PipelineTree
        Where it is.
    spool : Spool
    ledger : Ledger
    path : pathlib.Path
        Its file.
    """

    tree: PipelineTree
    spool: Spool
    ledger: Ledger
    path: Path

    @property
    def waits(self) -> bool:
        """Whether it waits in a container; the input of a job is not replaced."""
        return self.tree.find(self.path) is not None

    def put_aside(self, reason: str) -> None:
        """Take it out of the tree, and keep its file aside."""
        found = self.tree.find(self.path)
        if found is None:
            return
        uid, key = found
        self.tree.remove(uid, key)
        aside = self.spool.quarantine(self.path, reason)
        self.ledger.post(
            move_instances(
                (self.spool.name_of(self.path),),
                InstanceState.QUARANTINED,
                reason,
                moved_to=self.spool.name_of(aside),
            )
        )
