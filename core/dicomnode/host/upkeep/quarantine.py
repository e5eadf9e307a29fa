"""What is quarantined: listed, and removed on demand or when its time has come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_writes import remove_quarantined
from dicomnode.host.spool.spool_files import SpoolFiles


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file that is quarantined.

    Attributes
    ----------
    name : str
        Its file name, by which it is removed.
    path : pathlib.Path
    pipeline : str
        Which pipeline it was for; empty where nobody knows.
    SOPInstanceUID : str
        As far as it could be read.
    since : float
        When it was quarantined (seconds since the epoch).
    reason : str
        Why.
    bytes : int
        Its size.
    """

    name: str
    path: Path
    pipeline: str
    SOPInstanceUID: str
    since: float
    reason: str
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "path": str(self.path), "since": iso_timestamp(self.since)}


def quarantined_files(ledger: LedgerReader, spool: SpoolFiles) -> Iterator[QuarantinedFile]:
    """Yield what is quarantined: the files say so, the ledger knows more of them."""
    known = ledger.quarantined()
    for path in spool.iterate_quarantine():
        try:
            size, since = path.stat().st_size, spool.quarantined_since(path)
        except OSError:  # removed in this moment
            continue
        pipeline, uid, reason = known.get(spool.name_of(path), ("", "", ""))
        yield QuarantinedFile(path.name, path, pipeline, uid, since, spool.reason_of(path) or reason, size)


class Quarantine:
    """Removes what is quarantined, in the ledger first.

    Parameters
    ----------
    ledger : Ledger
    spool : SpoolFiles
    """

    def __init__(self, ledger: Ledger, spool: SpoolFiles) -> None:
        self._ledger, self._spool = ledger, spool

    def remove(self, names: Iterable[str], reason: str) -> int:
        """Remove files by their names; return how many.

        Raises
        ------
        JobStateError
            When one of them is not quarantined; none is removed then.
        """
        lying = {path.name: path for path in self._spool.iterate_quarantine()}
        wanted = list(dict.fromkeys(names))
        if strangers := [name for name in wanted if name not in lying]:
            msg = f"no file {strangers[0]} is quarantined; `dicomnode-host quarantine` lists what there is"
            raise JobStateError(msg)
        return self._remove([lying[name] for name in wanted], reason)

    def remove_older(self, age: float, reason: str, now: float | None = None) -> int:
        """Remove what is quarantined more than so many seconds ago; return how many files."""
        before = (time.time() if now is None else now) - age
        return self._remove(
            [path for path in self._spool.iterate_quarantine() if self._since(path) < before], reason
        )

    def _since(self, path: Path) -> float:
        try:
            return self._spool.quarantined_since(path)
        except OSError:
            return time.time()

    def _remove(self, paths: list[Path], reason: str) -> int:
        self._ledger.flush()  # what is quarantined just now is in the ledger, too
        if paths:
            self._ledger.write(remove_quarantined(map(self._spool.name_of, paths), reason))
        for path in paths:
            self._spool.remove_quarantined(path)
        return len(paths)


def quarantine_orders(quarantine: Quarantine) -> dict[str, Any]:
    """Return what may be done to what is quarantined: order -> callable, as the control socket's."""

    def remove(order: Mapping[str, Any]) -> int:
        reason = str(order["reason"])
        if order.get("older") is not None:
            return quarantine.remove_older(float(order["older"]), reason)
        return quarantine.remove(map(str, order["names"]), reason)

    return {"remove quarantined": remove}
