"""The clients: a raw one that is not the bottleneck, and DCMTK's as users have them."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from peers.servers import compiled

CT = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"
_ROOT = "1.2.826.0.1.3680043.8.498.9"
_DIGITS = 12
EXPLICIT = str(ExplicitVRLittleEndian)


@dataclass(frozen=True)
class Images:
    """What is sent: a size, and how many of it."""

    name: str
    rows: int
    columns: int
    frames: int
    count: int
    quick: int

    @property
    def sop_class(self) -> str:
        """The SOP class."""
        return CT if self.frames == 1 else MULTI_FRAME

    def dataset(self, number: int) -> Dataset:
        """Return an image: a CT with the header of a real one."""
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        dataset.SOPClassUID, dataset.SOPInstanceUID = self.sop_class, f"{_ROOT}{number:0{_DIGITS}d}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}1", f"{_ROOT}2"
        dataset.Rows, dataset.Columns = self.rows, self.columns
        dataset.InstanceNumber = number % 10**9
        dataset.ImagePositionPatient = [-100.0, -100.0, 2.5 * (number % 10**6)]
        if self.frames > 1:
            dataset.NumberOfFrames = self.frames
        size = 2 * self.rows * self.columns * self.frames
        dataset.PixelData = (bytes(range(256)) * (size // 256 + 1))[:size]
        del dataset[0xFFFCFFFC]  # Data Set Trailing Padding
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = EXPLICIT
        return dataset


IMAGES = {
    "CT": Images("CT", 512, 512, 1, 500, 150),
    "64x64": Images("64x64", 64, 64, 1, 2000, 500),
    "large": Images("large", 512, 512, 200, 50, 6),
}


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(sop_class: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for one SOP class in explicit VR little endian."""
    body = struct.pack(">HH", 1, 0) + b"BENCHMARK".ljust(16) + b"CLIENT".ljust(16) + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    syntaxes = _item(0x30, sop_class.encode()) + _item(0x40, EXPLICIT.encode())
    body += _item(0x20, bytes([1, 0, 0, 0]) + syntaxes)
    body += _item(0x50, _item(0x51, struct.pack(">I", 16_384)) + _item(0x52, b"1.2.3.4"))
    return struct.pack(">BxI", 1, len(body)) + body


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def store_request(images: Images, max_pdu: int) -> bytes:
    """Return a whole C-STORE-RQ as PDUs of at most `max_pdu` bytes."""
    dataset = images.dataset(0)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    data = buffer.getvalue()
    command = (
        _element(0x0002, images.sop_class.encode()) + _element(0x0100, b"\1\0") + _element(0x0110, b"\1\0")
    )
    command += _element(0x0700, b"\0\0") + _element(0x0800, b"\1\0")
    command += _element(0x1000, dataset.SOPInstanceUID.encode())
    command = _element(0x0000, struct.pack("<I", len(command))) + command
    pdus = [struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, 1, 3) + command]
    room = (max_pdu - 6) & ~1
    for at in range(0, len(data), room):
        piece = data[at : at + room]
        last = 2 if at + room >= len(data) else 0
        pdus.append(struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, 1, last) + piece)
    return b"".join(pdus)


@cache
def _raw_files(images: Images, max_pdu: int, root: Path) -> tuple[Path, Path, tuple[int, ...]]:
    message = store_request(images, max_pdu)
    uid = f"{_ROOT}{0:0{_DIGITS}d}".encode()
    offsets = []
    at = message.find(uid)
    while at >= 0:
        offsets.append(at + len(uid) - _DIGITS)
        at = message.find(uid, at + 1)
    request_file = root / f"request-{images.name}"
    message_file = root / f"message-{images.name}-{max_pdu}"
    request_file.write_bytes(associate_request(images.sop_class))
    message_file.write_bytes(message)
    return request_file, message_file, tuple(offsets)


@dataclass(frozen=True)
class Sent:
    """What a client has done: seconds from its first message to its last answer."""

    count: int
    seconds: float


class RawClient:
    """The thin client, in C."""

    name = "raw"

    def __init__(self, root: Path) -> None:
        self._root = root

    def warm_up(
        self, port: int, images: Images, count: int, *, associations: int, max_pdu: int, first: int = 1
    ) -> Sent:
        """Send images and vanish: a release could complete a patient and start work."""
        return self._send(port, images, count, first, associations, max_pdu, {"ABANDON": "1"})

    def send(
        self, port: int, images: Images, count: int, first: int, *, associations: int, max_pdu: int
    ) -> Sent:
        """Send `count` images, their UIDs counted from `first` on."""
        return self._send(port, images, count, first, associations, max_pdu, {})

    def _send(  # noqa: PLR0917 - as send
        self, port: int, images: Images, count: int, first: int, associations: int, max_pdu: int,
        environment: dict[str, str],
    ) -> Sent:  # fmt: skip
        request, message, offsets = _raw_files(images, max_pdu, self._root)
        command = [
            compiled("raw_client"),
            str(port),
            request,
            message,
            str(count),
            str(associations),
            str(first),
        ]
        done = subprocess.run(
            [*command, str(_DIGITS), *map(str, offsets)],
            capture_output=True, text=True, timeout=900, check=False, env={**os.environ, **environment},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"raw_client failed: {done.stderr}")
        seconds, failed = done.stdout.split()
        if failed != "0":
            raise RuntimeError(f"{failed} of {count} images were refused")
        return Sent(count, float(seconds))


class ToolClient:
    """DCMTK's storescu or dcmsend, with no setting changed. Its whole life is timed."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self._root = name, root

    def send(
        self, port: int, images: Images, count: int, first: int, *, associations: int, max_pdu: int
    ) -> Sent:
        """Send `count` files over one association."""
        del associations, max_pdu
        files = self._files(images, count, first)
        begin = time.perf_counter()
        done = subprocess.run(
            [self.name, "-aec", "BENCHMARK", "127.0.0.1", str(port), *map(str, files)],
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(f"{self.name} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        return Sent(count, seconds)

    def _files(self, images: Images, count: int, first: int) -> list[Path]:
        directory = self._root / f"files-{images.name}"
        directory.mkdir(exist_ok=True)
        files = []
        for number in range(first, first + count):
            file = directory / f"{number}.dcm"
            if not file.exists():
                images.dataset(number).save_as(file, enforce_file_format=True)
            files.append(file)
        return files
