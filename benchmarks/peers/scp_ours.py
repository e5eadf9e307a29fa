"""The receiver with all kept: ``scp_ours.py PORT DIRECTORY MAX_PDU DURABILITY RECEIVERS``.

What a whole host adds (tree, ledger, rules) is not here; a real one is measured beside it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.receiver.scp import Receiver
from dicomnode.host.spool.spool import Spool

_STORED = StoreResponse(Status.SUCCESS)
_INDEXED = (
    0x00080008, 0x00080050, 0x00080060, 0x0008103E, 0x00180050, 0x00200011, 0x00200013, 0x00200032,
    0x00200037, 0x00200052, 0x00280008, 0x00280010, 0x00280011, 0x00280030,
)  # fmt: skip


class KeepingStoreHandler:
    """Keeps every instance."""

    wanted = frozenset(_INDEXED)

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        """Accept every title."""
        return True

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Admit everything."""
        return None

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        """Keep it."""
        spooled.keep(request.association.called_ae_title, request.AffectedSOPInstanceUID)
        return _STORED

    def release_requested(self, association: AssociationInfo) -> None:
        """Nothing."""

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Nothing."""


def main() -> None:
    """Serve until told to stop."""
    port, directory, max_pdu, durability, receivers = sys.argv[1:6]
    spool = Spool(Path(directory) / "spool", durability)
    settings = ReceiverSettings(port=int(port), max_pdu_length=int(max_pdu), receivers=int(receivers))
    receiver = Receiver(settings, KeepingStoreHandler(), spool)
    receiver.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    receiver.stop(1)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
