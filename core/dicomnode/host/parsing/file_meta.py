"""File meta information (PS3.10 section 7.1): written as bytes, read without a data set.

What the ledger knows of a received file beyond its data set (who sent it, to whom) is in the meta information
too, so that the ledger can be rebuilt from the spool alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.errors import StructureError

PREAMBLE: Final = b"\0" * 128 + b"DICM"
_LONGEST: Final = 65_536
_SHORT_HEADER = struct.Struct("<HH2sH")
_LONG_HEADER = struct.Struct("<HH2sHI")
_LONG_VRS: Final = frozenset({b"OB", b"UN", b"UT", b"UC", b"UR", b"SQ", b"OW"})


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The meta information of a spooled file.

    Parameters
    ----------
    MediaStorageSOPClassUID, MediaStorageSOPInstanceUID, TransferSyntaxUID : str
        As in PS3.10 table 7.1-1.
    SourceApplicationEntityTitle : str
        (0002,0016): who sent the instance (the calling AE title). Written as (0002,0017), Sending Application
        Entity Title, too: the standard came to divide who wrote a file from who sent its content.
    ReceivingApplicationEntityTitle : str
        (0002,0018): to whom (the called AE title, which chose the pipeline).
    """

    MediaStorageSOPClassUID: str
    MediaStorageSOPInstanceUID: str
    TransferSyntaxUID: str
    SourceApplicationEntityTitle: str = ""
    ReceivingApplicationEntityTitle: str = ""


def encode_prefix(meta: FileMeta) -> bytes:
    """Return preamble, prefix and meta information: all that precedes the data set in a file."""
    fixed = _fixed_part(
        meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle
    )
    body = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _element(0x0002, "UI", meta.MediaStorageSOPClassUID),
            _element(0x0003, "UI", meta.MediaStorageSOPInstanceUID),
            fixed,
        )
    )
    return b"%b\x02\x00\x00\x00UL\x04\x00%b%b" % (PREAMBLE, struct.pack("<I", len(body)), body)


@lru_cache(maxsize=256)
def _fixed_part(transfer_syntax_uid: str, source: str, receiving: str) -> bytes:
    parts = [
        _element(0x0010, "UI", transfer_syntax_uid),
        _element(0x0012, "UI", IMPLEMENTATION_CLASS_UID),
        _element(0x0013, "SH", IMPLEMENTATION_VERSION_NAME),
    ]
    if source:
        parts.append(_element(0x0016, "AE", source))
        parts.append(_element(0x0017, "AE", source))
    if receiving:
        parts.append(_element(0x0018, "AE", receiving))
    return b"".join(parts)


def _element(element: int, vr: str, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return _SHORT_HEADER.pack(0x0002, element, vr.encode("ascii"), len(value)) + value


def decode_prefix(head: bytes) -> tuple[FileMeta, int]:
    """Read what :func:`encode_prefix` wrote, or any other PS3.10 prefix.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, enough for the whole meta information.

    Returns
    -------
    meta : FileMeta
    offset : int
        Where the data set begins.

    Raises
    ------
    StructureError
        If this is no PS3.10 file, or its meta information is broken or does not name class, instance and
        transfer syntax.
    """
    if head[128:132] != b"DICM" or head[132:138] != b"\x02\x00\x00\x00UL" or len(head) < 144:  # noqa: PLR2004 - where the group length ends
        raise StructureError("not a DICOM file: it has no prefix or no group length in its meta information")
    end = 144 + int(struct.unpack_from("<I", head, 140)[0])
    if end > min(len(head), _LONGEST):
        raise StructureError("the file meta information is cut off or too long")
    values = _values(head, 144, end)
    values.setdefault(0x0016, values.get(0x0017, ""))
    meta = FileMeta(*(values.get(element, "") for element in (0x0002, 0x0003, 0x0010, 0x0016, 0x0018)))
    if not (meta.MediaStorageSOPClassUID and meta.MediaStorageSOPInstanceUID and meta.TransferSyntaxUID):
        raise StructureError("the file meta information lacks SOP class, SOP instance or transfer syntax")
    return meta, end


def _values(head: bytes, at: int, end: int) -> dict[int, str]:
    values: dict[int, str] = {}
    while at < end:
        if at + 8 > end:
            raise StructureError("the file meta information is broken")
        group, element, vr, length = _SHORT_HEADER.unpack_from(head, at)
        at += 8
        if vr in _LONG_VRS:
            if at + 4 > end:
                raise StructureError("the file meta information is broken")
            length = int(struct.unpack_from("<I", head, at)[0])
            at += 4
        if group != 0x0002 or at + length > end:  # noqa: PLR2004 - the group of the meta information
            raise StructureError("the file meta information is broken")
        values[element] = head[at : at + length].decode("ascii", "replace").strip(" \0")
        at += length
    return values
