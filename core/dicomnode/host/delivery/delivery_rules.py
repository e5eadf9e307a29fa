"""What becomes of a delivery: which C-STORE status means what."""

from __future__ import annotations

from typing import Final

from dicomnode.dicom.values.safe import safe_text
from dicomnode.pipeline.destination import Delivery, Outcome

_MEANINGS: Final = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance: it is there already",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "stored, attributes were coerced",
    0xB006: "stored, elements were discarded",
    0xB007: "stored, although the data set does not match its SOP class",
}
# PS3.7 annex C calls 0107 and 0116 warnings: the operation was done. 0111 answers what is sent again because
# its first answer was lost: results have deterministic UIDs, so what is there under this UID is ours.
_STORED: Final = frozenset({0x0001, 0x0107, 0x0111, 0x0116})
_REFUSED: Final = frozenset(
    {0x0105, 0x0106, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124, 0x0211, 0x0212}
)


def described_status(status: int) -> str:
    """Return a C-STORE status and its meaning (PS3.4 table B.2-1, PS3.7 annex C) in words."""
    meaning = _MEANINGS.get(status) or {
        0xA700: "out of resources",
        0xA800: "SOP class not supported",
        0xA900: "data set does not match SOP class",
        0xB000: "stored with a warning",
        0xC000: "cannot understand",
    }.get(status & (0xF000 if status & 0xF000 in (0xB000, 0xC000) else 0xFF00))
    return f"status {status:#06x}" + (f" ({meaning})" if meaning else "")


def outcome_of_status(status: int | None, comment: str = "") -> Outcome:
    """Return what a C-STORE status means for the delivery.

    Parameters
    ----------
    status : int or None
        The Status (0000,0900). ``None`` where none came: the peer may have stored the instance or not.
    comment : str
        The Error Comment (0000,0902), as the peer sent it.

    Returns
    -------
    Outcome
        Confirmed for success and warnings; refused for what the peer will say again of the same instance
        (0xA9xx, 0xCxxx, 0x0122, 0x0124 and their like); later for everything else, for want of resources
        (0xA7xx) as for a status that nobody knows.
    """
    if status is None:
        return Outcome(Delivery.LATER, "no answer: whether it was stored is not known, so it is sent again")
    if status == 0:
        return Outcome(Delivery.CONFIRMED, "", status)
    reason = described_status(status) + (f": {safe_text(comment, longest=64)}" if comment else "")
    if status & 0xF000 == 0xB000 or status in _STORED:  # noqa: PLR2004 - PS3.4 table B.2-1
        return Outcome(Delivery.CONFIRMED, reason, status)
    if status & 0xFF00 in (0xA800, 0xA900) or status & 0xF000 == 0xC000 or status in _REFUSED:  # noqa: PLR2004 - PS3.4 table B.2-1
        return Outcome(Delivery.REFUSED, reason, status)
    return Outcome(Delivery.LATER, reason, status)
