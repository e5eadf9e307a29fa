"""A peer that is asked by C-FIND and the like, and a study that it may have, for the tests of the SCUs."""

from __future__ import annotations

import time

from pydicom.dataset import Dataset

from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.dimse.peer import Peer


def asking(port: int, timeout: float = 5) -> Peer:
    """Return the peer that listens on a port of this machine."""
    table = PeerTable(ae_title="PACS", address=f"127.0.0.1:{port}", timeout=timeout)
    return Peer("PACS", table, "NODE")


def study(**values: str) -> Dataset:
    """Return what a peer says of a study."""
    made = Dataset()
    for keyword, value in {"StudyInstanceUID": "1.2", "PatientID": "P1", **values}.items():
        setattr(made, keyword, value)
    return made


def soon() -> float:
    """Return a deadline in five seconds."""
    return time.monotonic() + 5
