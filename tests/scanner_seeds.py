"""Inputs to begin with when scanners are fuzzed: sound ones, drawn at random, and damage done to them.

Everything is made from a :class:`random.Random`, so that a number says which input it was.
"""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO

import pydicom
from pydicom.data import get_testdata_file

from encoded_data_sets import BIG, EXPLICIT, IMPLICIT, RLE, Element, Fragments, Item, Nested, Plain
from raw_peer import MR, command, element, message, p_data

DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, RLE, DEFLATED)
INSTANCE = "1.2.3.4.5"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"

_TAGS = (
    0x00080005,
    0x00080060,
    0x00081030,
    0x00091001,
    0x00100010,
    0x00180050,
    0x00200013,
    0x00280008,
    0xFFFFFFFF,
)
_VRS = [
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "FD",
    "FL",
    "IS",
    "LO",
    "OB",
    "OW",
    "PN",
    "SS",
    "UI",
    "UL",
    "UN",
    "US",
    "UT",
]
_SEQUENCES = (0x00081115, 0x00081140, 0x00091002)
_WORDS = (
    b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0", b"\0\1",
    b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0",
    b"\xff\xfe\xe0\x00", b"\xff\xfe\xe0\x0d", b"\xff\xfe\xe0\xdd", b"\xe0\x7f\x10\x00", b"\x02\x00\x10\x00",
    b"\x1b$B", b"\\", b"9" * 400, b"\x04\0\0\0\0\x06",
)  # fmt: skip


def damaged(random_: random.Random, data: bytes) -> bytes:
    """Return `data` cut, or with some of its bytes overwritten, repeated, left out or followed by others."""
    out = bytearray(data)
    for _ in range(random_.choice((0, 1, 1, 1, 2, 3, 6))):
        at = random_.randrange(len(out) + 1)
        end = min(at + random_.choice((1, 2, 4, 8, 12, 60)), len(out))
        match random_.randrange(6):
            case 0:
                del out[at:]
            case 1:
                del out[at:end]
            case 2:
                out[at:at] = out[at:end] * random_.choice((1, 2, 50))
            case 3:
                word = random_.choice(_WORDS)
                out[at : at + len(word)] = word
            case 4:
                out[at:at] = random_.choice(_WORDS)
            case _:
                out[at : at + 1] = bytes([random_.randrange(256)])
    return bytes(out[:20_000])


def data_set(random_: random.Random, syntax: str) -> bytes:
    """Return a data set: elements of every nesting, and what an image needs."""
    inner = EXPLICIT if syntax == DEFLATED else syntax
    uids = {0x00080016: MR, 0x00080018: INSTANCE, 0x0020000D: "1.2.3", 0x0020000E: "1.2.4"}
    elements: list[Element] = [Plain(tag, "UI", _even(uid.encode())) for tag, uid in uids.items()]
    elements += [_content(random_, 0) for _ in range(random_.randrange(4))]
    order = ">" if inner == BIG else "<"
    for tag, number in {0x00280002: 1, 0x00280010: 2, 0x00280011: 2, 0x00280100: 16}.items():
        elements.append(Plain(tag, "US", struct.pack(order + "H", number)))
    if syntax == RLE:
        elements.append(Fragments(tuple(bytes(2 * n) for n in range(random_.randrange(1, 4)))))
    else:
        elements.append(Plain(0x7FE00010, "OW", bytes(8)))
    encoded = b"".join(each.encoded(inner) for each in elements)
    if syntax != DEFLATED:
        return encoded
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(encoded) + packer.flush()


def _content(random_: random.Random, depth: int) -> Plain | Nested:
    if depth > 4 or random_.random() < 0.5:
        vr = random_.choice(_VRS)
        return Plain(random_.choice(_TAGS), vr, _even(random_.randbytes(random_.randrange(12))))
    items = tuple(
        Item(tuple(_content(random_, depth + 1) for _ in range(random_.randrange(3))), random_.random() < 0.5)
        for _ in range(random_.randrange(3))
    )
    if random_.random() < 0.3:
        return Nested(0x00091001, "UN", items, defined=False)
    return Nested(random_.choice(_SEQUENCES), "SQ", items, random_.random() < 0.5)


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def file(random_: random.Random, syntax: str) -> bytes:
    """Return a PS3.10 file."""
    return file_meta(random_, syntax) + data_set(random_, syntax)


def file_meta(random_: random.Random, syntax: str) -> bytes:
    """Return preamble, prefix and file meta information; now and then without a group length."""
    values = {0x0002: MR, 0x0003: INSTANCE, 0x0010: syntax, 0x0016: "NODE"}
    body = b"".join(
        Plain(0x20000 | number, "UI", _even(text.encode())).encoded(EXPLICIT)
        for number, text in values.items()
    )
    length = Plain(0x00020000, "UL", struct.pack("<I", len(body))).encoded(EXPLICIT)
    return bytes(128) + b"DICM" + (length if random_.random() < 0.8 else b"") + body


def mr_small(syntax: str) -> bytes:
    """Return the data set of a real image, of a single pixel."""
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    dataset.SOPInstanceUID = INSTANCE
    dataset.PixelData, dataset.Rows, dataset.Columns = b"\0\0", 1, 1
    encoded = BytesIO()
    stream = pydicom.filebase.DicomFileLike(encoded)
    stream.is_implicit_VR, stream.is_little_endian = syntax == IMPLICIT, syntax != BIG
    pydicom.filewriter.write_dataset(stream, dataset)
    return encoded.getvalue()


def responses(random_: random.Random, field: int) -> bytes:
    """Return some responses to the first request on an association, as PDUs; the last is not pending."""
    out = b""
    for _ in range(random_.randrange(3)):
        out += _response(field, 0xFF00, data_follows=True) + p_data(1, 2, data_set(random_, EXPLICIT))
    return out + _response(field, random_.choice((0, 0xA700, 0xB000)), data_follows=False)


def _response(field: int, status: int, *, data_follows: bool) -> bytes:
    body = element(0x0100, struct.pack("<H", field)) + element(0x0120, b"\1\0")
    body += element(0x0800, b"\1\0" if data_follows else b"\1\1") + element(0x0900, struct.pack("<H", status))
    body += element(0x0902, b"why")
    return p_data(1, 3, element(0, struct.pack("<I", len(body))) + body)


def event_report(random_: random.Random) -> bytes:
    """Return a request that a peer makes of its own accord: a report about storage commitment."""
    report = command(0x0100, "1.2.840.10008.1.20.1", data_set=True, instance="1.2.840.10008.1.20.1.1")
    return message(1, report + element(0x1002, b"\1\0"), data_set(random_, EXPLICIT))


def requests(random_: random.Random) -> bytes:
    """Return what a peer sends to a receiver: instances, an echo."""
    out = b""
    for number in range(random_.randrange(1, 4)):
        first = command(1, MR, number, data_set=True, instance=INSTANCE)
        out += message(1, first, data_set(random_, EXPLICIT), random_.choice((40, 16_000)))
        if random_.random() < 0.3:
            out += p_data(3, 3, command(0x30, "1.2.840.10008.1.1", data_set=False))
    return out


def association_accept(contexts: dict[int, str]) -> bytes:
    """Return an A-ASSOCIATE-AC (PS3.8 section 9.3.3) with transfer syntaxes by context ID."""
    body = struct.pack(">HH", 1, 0) + b"PEER".ljust(16) + b"NODE".ljust(16) + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, syntax in contexts.items():
        body += _item(0x21, bytes([number, 0, 0, 0]) + _item(0x40, syntax.encode()))
    body += _item(0x50, _item(0x51, struct.pack(">I", 16_384)) + _item(0x52, b"1.2.3"))
    return struct.pack(">BxI", 2, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body
