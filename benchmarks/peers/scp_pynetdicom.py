"""pynetdicom's SCP as its documentation shows it: ``scp_pynetdicom.py PORT DIRECTORY MAX_PDU HOW``."""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, evt


def save_as(event: evt.Event, directory: Path) -> int:
    """Decode the data set, and write it."""
    dataset = event.dataset
    dataset.file_meta = event.file_meta
    dataset.save_as(directory / dataset.SOPInstanceUID, enforce_file_format=True)
    return 0x0000


def raw(event: evt.Event, directory: Path) -> int:
    """Write the bytes as they came."""
    with (directory / event.request.AffectedSOPInstanceUID).open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, event.file_meta)
        file.write(event.request.DataSet.getvalue())
    return 0x0000


def main() -> None:
    """Serve until killed."""
    port, directory, max_pdu, how = sys.argv[1:]
    entity = AE("BENCHMARK")
    entity.maximum_pdu_size = int(max_pdu)
    entity.maximum_associations = 100
    entity.supported_contexts = AllStoragePresentationContexts
    handler = {"save_as": save_as, "raw": raw}[how]
    entity.start_server(
        ("127.0.0.1", int(port)), evt_handlers=[(evt.EVT_C_STORE, handler, [Path(directory)])]
    )


if __name__ == "__main__":
    main()
