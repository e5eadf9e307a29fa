"""Is a received data set what it claims to be, and can it be read? For reception and for rebuild.

Above the structure (:mod:`dicomnode.host.parsing.structure`) it checks identity (the SOP class and instance
that the C-STORE-RQ named, a study and a series) and that the pixels are all there.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from dicomnode.dicom.values.encodings import DEFLATED, JPIP_DEFLATED, NATIVE
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.dicom.values.iod import iod_of
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import StructureError
from dicomnode.host.parsing.index import ALWAYS_WANTED
from dicomnode.host.parsing.index_values import SPECIFIC_CHARACTER_SET, index_of, text_of, vr_of
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.parsing.structure import ByteSource, BytesSource, Findings, WalkLimits, walk

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
STUDY, SERIES = 0x0020000D, 0x0020000E
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS = 0x00280010, 0x00280011, 0x00280100
# What may stand in the place of Pixel Data: Float and Double Float Pixel Data (PS3.3 sections C.7.6.24 and
# C.7.6.25), Spectroscopy Data (C.8.14.4), Pixel Data Provider URL (PS3.5 section A.6).
_INSTEAD_OF_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x56000020, 0x00287FE0})
_PIXEL_TAGS = frozenset({_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS}) | _INSTEAD_OF_PIXELS
_CHECKED = _PIXEL_TAGS | {SOP_CLASS, STUDY, SERIES, SPECIFIC_CHARACTER_SET}

# PS3.5 section 9.1. Leading zeros of a component are forbidden too, but seen often, and do no harm.
_UID = re.compile(r"[0-9.]{1,64}")
_MOST_DIGITS = 13
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.(4\.10[0-8](\.1)?|7\..*)")


class RefusedDataSetError(StructureError):
    """A data set that is refused; `response` is how a C-STORE of it is answered."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.response = StoreResponse.plain(status, comment)


@dataclass(frozen=True, slots=True)
class InspectionLimits:
    """Bounds of an inspection.

    Parameters
    ----------
    walk : WalkLimits
        Of the structure.
    inflated : int
        Bytes that a deflated data set may inflate to; they are held in memory while it is inspected.
    """

    walk: WalkLimits = field(default_factory=WalkLimits)
    inflated: int = 256 * 2**20


def is_uid(text: str) -> bool:
    """Say whether `text` has the characters and the length of a UID (PS3.5 section 9.1)."""
    return _UID.fullmatch(text) is not None


def inspect(  # noqa: PLR0917 - as walk
    source: ByteSource,
    start: int,
    end: int,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    limits: InspectionLimits = InspectionLimits(),
    *,
    expected: tuple[str, str] | None = None,
    layouts: LayoutCache | None = None,
) -> dict[int, IndexedValue]:
    """Check a data set and return its index.

    Parameters
    ----------
    source, start, end, transfer_syntax_uid
        As for :func:`~dicomnode.host.parsing.structure.walk`.
    wanted : frozenset of int
        The top-level tags to index, besides :data:`~dicomnode.host.parsing.index.ALWAYS_WANTED`.
    limits : InspectionLimits, optional
        What the data set may not exceed.
    expected : (str, str), optional
        The SOP class and SOP instance UIDs that the data set must hold.
    layouts : LayoutCache, optional
        Those of data sets that came before, to be fast with one that is laid out alike.

    Raises
    ------
    RefusedDataSetError
        If it cannot be read, or is not what was expected.
    """
    if transfer_syntax_uid == DEFLATED or transfer_syntax_uid in JPIP_DEFLATED:
        source = BytesSource(_inflated(source, start, end, limits.inflated))
        start, end = 0, len(source)
    collected = _collected(wanted)
    if layouts is not None and expected is not None:
        recalled = layouts.recall(source, start, end, transfer_syntax_uid, collected, expected)
        if recalled is not None:
            return recalled
    try:
        if layouts is None:
            findings = walk(source, start, end, transfer_syntax_uid, collected, limits.walk)
        else:
            findings = layouts.walk(source, start, end, transfer_syntax_uid, collected, limits.walk, _CHECKED)
    except StructureError as error:
        raise RefusedDataSetError(Status.UNREADABLE, f"unreadable: {error}") from None
    sop_class = _check_identity(findings, expected)
    _check_pixels(findings, transfer_syntax_uid, sop_class)
    index = index_of(findings, wanted | ALWAYS_WANTED)
    if layouts is not None:
        layouts.learn(findings, index, sop_class)
    return index


_collected_cache: dict[frozenset[int], frozenset[int]] = {}


def _collected(wanted: frozenset[int]) -> frozenset[int]:
    known = _collected_cache.get(wanted)
    if known is None:
        if len(_collected_cache) > 64:  # noqa: PLR2004 - a process has one set; this only bounds a mistake
            _collected_cache.clear()
        tags = frozenset(tag & ~STORED_BYTES for tag in wanted)
        known = _collected_cache[wanted] = tags | ALWAYS_WANTED | _PIXEL_TAGS
    return known


def _inflated(source: ByteSource, start: int, end: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    out = bytearray()
    at = start
    try:
        while at < end and not inflater.eof:
            piece = source.window(at, min(end - at, 65536))[: end - at]
            if not piece:
                break
            at += len(piece)
            while piece and not inflater.eof:
                out += inflater.decompress(piece, limit + 1 - len(out))
                piece = inflater.unconsumed_tail
                if len(out) > limit:
                    raise RefusedDataSetError(
                        Status.INFLATED_TOO_LONG, f"inflates to more than {limit} bytes"
                    )
    except zlib.error:
        raise RefusedDataSetError(Status.UNREADABLE, "unreadable: broken deflated data set") from None
    if not inflater.eof:
        raise RefusedDataSetError(Status.UNREADABLE, "unreadable: deflated data set is cut off")
    return bytes(out)


def _check_identity(findings: Findings, expected: tuple[str, str] | None) -> str:
    values = findings.values
    uids = [text_of(values, tag) for tag in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES)]
    for uid, name in zip(
        uids, ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"), strict=True
    ):
        if _UID.fullmatch(uid) is None:
            what = "is not a UID" if uid else "is missing"
            raise RefusedDataSetError(Status.UID_MISSING, f"{name} {what}")
    if findings.too_long & ALWAYS_WANTED:
        raise RefusedDataSetError(Status.VALUE_TOO_LONG, "an identifying value is too long")
    if expected is not None:
        if uids[0] != expected[0]:
            raise RefusedDataSetError(Status.DATA_SET_MISMATCH, "SOPClassUID differs from the request's")
        if uids[1] != expected[1]:
            raise RefusedDataSetError(Status.OTHER_INSTANCE, "SOPInstanceUID differs from the request's")
    return uids[0]


@lru_cache(maxsize=1024)
def _must_have_pixels(sop_class: str) -> bool:
    """Say whether the Image Pixel module is mandatory (PS3.3 section A)."""
    iod = iod_of(sop_class)
    return iod is not None and iod.modules.get("image-pixel") == "M"


def _check_pixels(findings: Findings, transfer_syntax_uid: str, sop_class: str) -> None:
    """Compare Pixel Data with what Rows, Columns and so on promise (PS3.3 section C.7.6.3)."""
    if findings.pixel_data_length is None and findings.fragments is None:
        # Cut off between two elements, an image still has a sound structure.
        instead = _INSTEAD_OF_PIXELS & (findings.values.keys() | findings.too_long)
        sized = _number(findings, _ROWS, 0) and _number(findings, _COLUMNS, 0)
        if not instead and (sized or _must_have_pixels(sop_class)):
            raise RefusedDataSetError(Status.PIXELS_INCOMPLETE, "an image without PixelData")
        return
    frames = max(_number(findings, _FRAMES, 1), 1)
    if findings.fragments is not None:
        least = 1 if _VIDEO.fullmatch(transfer_syntax_uid) else frames
        if findings.fragments < least:
            message = f"PixelData holds {findings.fragments} fragments for {frames} frames"
            raise RefusedDataSetError(Status.PIXELS_INCOMPLETE, message)
        return
    if transfer_syntax_uid not in NATIVE:
        raise RefusedDataSetError(
            Status.UNREADABLE, "PixelData is not encapsulated as its transfer syntax says"
        )
    photometric = text_of(findings.values, _PHOTOMETRIC)
    samples: float = _number(findings, _SAMPLES, 1)
    if samples == 3:  # noqa: PLR2004 - subsampled colour: two or one and a half samples for a pixel
        samples = {"YBR_FULL_422": 2, "YBR_PARTIAL_422": 2, "YBR_PARTIAL_420": 1.5}.get(photometric, 3)
    pixels = _number(findings, _ROWS, 0) * _number(findings, _COLUMNS, 0) * frames
    least = int(pixels * samples * _number(findings, _BITS, 0) + 7) // 8
    length = findings.pixel_data_length or 0
    if length < least:
        raise RefusedDataSetError(Status.PIXELS_INCOMPLETE, f"PixelData has {length} of {least} bytes")


def _number(findings: Findings, tag: int, default: int) -> int:
    raw = findings.values.get(tag)
    if raw is None:
        return default
    if (raw.vr or vr_of(tag)) == "US":
        return int.from_bytes(raw.value[:2], "little" if findings.little_endian else "big")
    text = text_of(findings.values, tag)
    # An IS has at most twelve characters. A longer number is cut to one that is still too large for any Pixel
    # Data: Python converts no more than 4,300 digits, and no integer of 309 digits to a float.
    return int(text.lstrip("0")[:_MOST_DIGITS] or 0) if text.isdecimal() else default
