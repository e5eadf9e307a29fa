"""Help for tests of the receiver: a store handler that records, data sets as bytes."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.receiver.scp import Receiver
from dicomnode.host.spool.spool import Spool
from programs import program


@dataclass
class RecordingStoreHandler:
    """Keeps everything, and remembers what it was told."""

    wanted: frozenset[int] = frozenset({0x00100020, 0x00080060})
    called: str = "DICOMNODE"
    refusal: StoreResponse | None = None
    answer: StoreResponse = field(default_factory=lambda: StoreResponse(Status.SUCCESS))
    kept: list[tuple[StoreRequest, Mapping[int, IndexedValue], Path]] = field(default_factory=list)
    releases: list[AssociationInfo] = field(default_factory=list)
    ended: list[tuple[AssociationInfo, bool]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:
        """Accept one title."""
        return called == self.called

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Answer as told."""
        return self.refusal

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        """Keep what is answered with Success."""
        if self.answer.status == Status.SUCCESS:
            path = Path(spooled.keep(request.association.called_ae_title, request.AffectedSOPInstanceUID))
            with self.changed:
                self.kept.append((request, index, path))
                self.changed.notify_all()
        return self.answer

    def release_requested(self, association: AssociationInfo) -> None:
        """Remember it."""
        self.releases.append(association)

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Remember it."""
        with self.changed:
            self.ended.append((association, end is AssociationEnd.RELEASED))
            self.changed.notify_all()

    def wait_for_end(self, count: int = 1) -> None:
        """Wait until so many associations have ended."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended) >= count, timeout=10)


@contextmanager
def receiving(
    directory: Path,
    store_handler: RecordingStoreHandler | None = None,
    durability: Any = "process",
    **settings: Any,
) -> Iterator[tuple[Receiver, RecordingStoreHandler, Spool]]:
    """Run a receiver on a free port of the loopback interface."""
    store_handler = store_handler or RecordingStoreHandler()
    spool = Spool(directory / "spool", durability)
    receiver = Receiver(ReceiverSettings(**{"port": 0, **settings}), store_handler, spool)
    receiver.start()
    try:
        yield receiver, store_handler, spool
    finally:
        receiver.stop(grace=2)


def small_dataset(**values: Any) -> Dataset:
    """Return a small, whole MR image of its own."""
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    dataset.SOPInstanceUID = generate_uid()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def encoded(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the data set's bytes, without preamble or file meta information."""
    uid = UID(transfer_syntax)
    buffer = pydicom.filebase.DicomFileLike(BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    write_dataset(buffer, dataset)
    return buffer.parent.getvalue()  # type: ignore[no-any-return, union-attr]  # pydicom declares a buffer of any kind


def dataset_bytes(path: Path) -> bytes:
    """Return the bytes of a file's data set as they lie in the file."""
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def run_tool(*command: str | Path, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a real peer's tool; where it is not installed, skip the test, or fail it if peers are required."""
    tool, *arguments = map(str, command)
    done = subprocess.run(
        [program(tool), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if expect is not None:
        assert done.returncode == expect, done.stdout + done.stderr
    return done


def share_without_a_stall(store_handler: RecordingStoreHandler) -> float:
    """Return which share of what was kept came sooner after the one before than a delayed acknowledgement.

    Linux delays an acknowledgement by 40 ms at least. Where each image waits for one, none comes sooner.
    Where none waits, enough come sooner on a busy machine, too.
    """
    written = sorted(path.stat().st_mtime_ns for _request, _index, path in store_handler.kept)
    return sum(after - before < 40_000_000 for before, after in pairwise(written)) / (len(written) - 1)


_PORTS = random.Random(os.getpid()).sample(range(10_000, 32_000), 20_000)


def free_port() -> int:
    """Return a port that nobody listens on, and that neither a connection nor another test may get meanwhile.

    It is below the ports that the kernel gives to connections, and each process takes others, in an order of
    its own.
    """
    while True:
        port = _PORTS.pop()
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
