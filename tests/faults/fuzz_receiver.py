"""Coverage-guided fuzzing of what reads bytes from the network, with atheris (which is no dependency).

::

    pip install atheris
    python tests/faults/fuzz_receiver.py (walk|recall|command|lane) [-max_total_time=60] [CORPUS]

An input that raises anything but what is documented, or takes more than two seconds, is reported and kept.
"""

from __future__ import annotations

import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicomnode"]):
    from dicomnode.host.dimse.bounded_reader import (
        ABORT,
        P_DATA,
        RELEASE_RQ,
        BoundedReader,
        ConnectionEndedError,
    )
    from dicomnode.host.dimse.message_templates import StoreTemplates, decode_command, decode_store_response
    from dicomnode.host.parsing.inspection import RefusedDataSetError, inspect
    from dicomnode.host.parsing.layout_cache import LayoutCache
    from dicomnode.host.parsing.structure import BytesSource

import pydicom
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset

SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5")
WANTED = frozenset({0x00080008, 0x00080060, 0x00100010, 0x00100020, 0x00200013, 0x00200032})
MR = "1.2.840.10008.5.1.4.1.1.4"


def _good(syntax: str) -> bytes:
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    encoded = BytesIO()
    file = DicomFileLike(encoded)
    file.is_implicit_VR, file.is_little_endian = syntax == SYNTAXES[0], syntax != SYNTAXES[2]
    dataset.PixelData, dataset.Rows, dataset.Columns = b"\0\0", 1, 1
    write_dataset(file, dataset)
    return encoded.getvalue()


GOOD = {syntax: _good(syntax) for syntax in SYNTAXES[:3]}
EXPECTED = MR, str(pydicom.dcmread(get_testdata_file("MR_small.dcm")).SOPInstanceUID)


def fuzz_walk(data: bytes) -> None:
    """Inspect any bytes: they are refused, or an index comes of it."""
    provider = atheris.FuzzedDataProvider(data)
    syntax = provider.PickValueInList(list(SYNTAXES))
    body = provider.ConsumeBytes(1 << 20)
    try:
        inspect(BytesSource(body), 0, len(body), syntax, WANTED)
    except RefusedDataSetError:
        return


def fuzz_recall(data: bytes) -> None:
    """Damage an instance that comes after its like: the outcome is the one that it has by itself."""
    provider = atheris.FuzzedDataProvider(data)
    syntax = provider.PickValueInList(list(GOOD))
    layouts = LayoutCache()
    for _ in range(4):
        _outcome(GOOD[syntax], syntax, layouts)
    damaged = bytearray(GOOD[syntax])
    for _ in range(provider.ConsumeIntInRange(0, 6)):
        damaged[provider.ConsumeIntInRange(0, len(damaged) - 1)] = provider.ConsumeIntInRange(0, 255)
    alone, remembered = _outcome(damaged, syntax, None), _outcome(damaged, syntax, layouts)
    if alone != remembered:
        raise AssertionError(f"{alone} by itself, {remembered} after its like")


def _outcome(data: bytes | bytearray, syntax: str, layouts: LayoutCache | None) -> object:
    try:
        source = BytesSource(bytes(data))
        return inspect(source, 0, len(data), syntax, WANTED, expected=EXPECTED, layouts=layouts)
    except RefusedDataSetError as refused:
        return refused.response


def fuzz_command(data: bytes) -> None:
    """Read any bytes as command sets, one after the other: templates read what the general case reads."""
    provider = atheris.FuzzedDataProvider(data)
    templates = StoreTemplates(provider.ConsumeIntInRange(0, 200))
    for _ in range(3):
        command = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 300))
        decode_store_response(command)
        read = templates.decode(command)
        if read != decode_command(command):
            raise AssertionError(command)
        if read is not None and read.store is not None:
            templates.respond(1, read.store, provider.ConsumeIntInRange(0, 0xFFFF), "comment")


def fuzz_lane(data: bytes) -> None:
    """Send any bytes to the reader, in any pieces: PDUs come of it, within limits, or the connection ends."""
    provider = atheris.FuzzedDataProvider(data)
    ours, theirs = _connected()
    pieces = [provider.ConsumeBytes(provider.ConsumeIntInRange(1, 5000)) for _ in range(4)]

    def send() -> None:
        with theirs, suppress(OSError):  # the reader has ended the connection
            for piece in pieces:
                theirs.sendall(piece)

    sender = threading.Thread(target=send)
    with ours:
        sender.start()
        reader = BoundedReader(ours, 4096, 1.0, lambda: None)
        if provider.ConsumeBool():
            reader.established()
        try:
            for _ in range(1000):
                kind, begin, end = reader.next_pdu(float("inf"))
                if not 0 <= begin <= end <= len(reader.buffer) or kind not in {
                    0x01,
                    P_DATA,
                    RELEASE_RQ,
                    6,
                    ABORT,
                }:
                    raise AssertionError((kind, begin, end))
        except ConnectionEndedError:
            pass
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        sender.join()


def _connected() -> tuple[socket.socket, socket.socket]:
    theirs = socket.create_connection(_SERVER.getsockname())
    return _SERVER.accept()[0], theirs


_SERVER = socket.create_server(("127.0.0.1", 0))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "walk": fuzz_walk,
    "recall": fuzz_recall,
    "command": fuzz_command,
    "lane": fuzz_lane,
}


def main() -> None:
    """Fuzz one target."""
    logging.disable(logging.CRITICAL)
    target = TARGETS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as seeds:
        for number, good in enumerate(GOOD.values()):
            Path(seeds, str(number)).write_bytes(good + bytes([number]))
        options = [each for each in sys.argv[1:] if each.startswith("-")]
        corpora = [each for each in sys.argv[1:] if not each.startswith("-")]
        arguments = ["-timeout=2", "-max_len=20000", *options, *corpora, *([] if corpora else [seeds])]
        atheris.Setup([sys.argv[0], *arguments], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
