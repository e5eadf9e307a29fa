"""What was put aside for the operator: listed, and removed on demand or when its time has come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomnode.errors import JobStateError
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_writes import remove_aside
from dicomnode.host.operation.status import moment
from dicomnode.host.spool.spool_files import SpoolFiles


@dataclass(frozen=True, slots=True)
class AsideFile:
    """A file that lies aside.

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
        When it was put aside (seconds since the epoch).
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
        return {**plain, "path": str(self.path), "since": moment(self.since)}


def aside_files(ledger: LedgerReader, spool: SpoolFiles) -> Iterator[AsideFile]:
    """Yield what lies aside: the files say so, the ledger knows more of them."""
    known = ledger.aside()
    for path in spool.iterate_aside():
        try:
            size, since = path.stat().st_size, spool.aside_since(path)
        except OSError:  # removed in this moment
            continue
        pipeline, uid, reason = known.get(spool.name_of(path), ("", "", ""))
        yield AsideFile(path.name, path, pipeline, uid, since, spool.reason_of(path) or reason, size)


class Aside:
    """Removes what lies aside, in the ledger first.

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
            When one of them does not lie aside; none is removed then.
        """
        lying = {path.name: path for path in self._spool.iterate_aside()}
        wanted = list(dict.fromkeys(names))
        if strangers := [name for name in wanted if name not in lying]:
            msg = f"there is no {strangers[0]} aside; `dicomnode-host aside` lists what there is"
            raise JobStateError(msg)
        return self._remove([lying[name] for name in wanted], reason)

    def remove_older(self, age: float, reason: str, now: float | None = None) -> int:
        """Remove what was put aside more than so many seconds ago; return how many files."""
        before = (time.time() if now is None else now) - age
        return self._remove(
            [path for path in self._spool.iterate_aside() if self._since(path) < before], reason
        )

    def _since(self, path: Path) -> float:
        try:
            return self._spool.aside_since(path)
        except OSError:
            return time.time()

    def _remove(self, paths: list[Path], reason: str) -> int:
        self._ledger.flush()  # what was put aside just now is in the ledger, too
        if paths:
            self._ledger.write(remove_aside(map(self._spool.name_of, paths), reason))
        for path in paths:
            self._spool.remove_aside(path)
        return len(paths)


def aside_orders(aside: Aside) -> dict[str, Any]:
    """Return what may be done to what lies aside: order -> callable, as the control socket's."""

    def remove(order: Mapping[str, Any]) -> int:
        reason = str(order["reason"])
        if order.get("older") is not None:
            return aside.remove_older(float(order["older"]), reason)
        return aside.remove(map(str, order["names"]), reason)

    return {"remove aside": remove}
