"""Values that mean nothing and fit their VR (action D of PS3.15 Table E.1-1a)."""

from __future__ import annotations

from typing import Any

TEXT = "REMOVED"

_BY_VR: dict[str, Any] = {
    "AE": TEXT,
    "AS": "000D",
    "AT": 0,
    "CS": TEXT,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "FD": 0.0,
    "FL": 0.0,
    "IS": "0",
    "SL": 0,
    "SS": 0,
    "SV": 0,
    "TM": "000000",
    "UL": 0,
    "US": 0,
    "UV": 0,
    "UR": "urn:removed",
    "OB": b"\0\0",
    "OW": b"\0\0",
    "UN": b"\0\0",
    "OF": b"\0" * 4,
    "OL": b"\0" * 4,
    "OD": b"\0" * 8,
    "OV": b"\0" * 8,
}


def dummy(vr: str) -> Any:
    """Return a dummy value.

    Parameters
    ----------
    vr : str
        The VR; of an ambiguous one (``"US or SS"``) the first counts. UI and SQ have no dummy of their own.
    """
    return _BY_VR.get(vr.split(" ", maxsplit=1)[0], TEXT)


def pdf() -> bytes:
    """Return a PDF document with one empty page: the dummy for an encapsulated one (PS3.3 section A.45.1)."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<<>>>>",
    )
    made, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(made))
        made += b"%d 0 obj%s endobj\n" % (number, content)
    table = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    made += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(made + b"\0" * (len(made) % 2))
