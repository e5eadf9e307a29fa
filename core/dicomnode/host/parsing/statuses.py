"""Every DIMSE status that this node answers with, and what those mean with which peers answer.

A status is written as a number here and nowhere else in the host; ``docs/reference/statuses.md`` is made of
these tables. A failure that the standard leaves to the implementation (0xC000 to 0xCFFF, PS3.4 table B.2-1)
has one code for each cause, so that a sender's log says what happened. A refusal is never a warning: senders
take 0xBxxx for "stored".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple, Self


class Status(IntEnum):
    """A status that this node answers with.

    Attributes
    ----------
    service : str
        The DIMSE services whose requests are answered with it.
    cause : str
        What happened.
    reference : str
        Where the standard has it.
    """

    service: str
    cause: str
    reference: str

    def __new__(cls, code: int, service: str, cause: str, reference: str) -> Self:
        """Make a member of its code and what is said of it."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.service, member.cause, member.reference = service, cause, reference
        return member

    SUCCESS = (
        0x0000,
        "C-STORE, C-ECHO, N-EVENT-REPORT",
        "The instance is stored (what it survives then: `host.durability`), or it is here already with"
        ' the same content, or the pipeline discards what it does not want (`on_unwanted = "discard"`).'
        " The echo or the report was taken.",
        "PS3.7 C.1.1",
    )
    PROCESSING_FAILURE = (
        0x0110,
        "C-STORE, N-EVENT-REPORT",
        "A plugin's validation raised an exception, and the image is quarantined; or an error within"
        " this node, which is in its log. Of a report: it cannot be read, or not be entered in the"
        " ledger.",
        "PS3.7 C.5",
    )
    INVALID_ARGUMENT_VALUE = (
        0x0115,
        "N-EVENT-REPORT",
        "The report is on a storage commitment for which this node did not ask this peer.",
        "PS3.7 C.5",
    )
    SOP_CLASS_NOT_SUPPORTED = (
        0x0122,
        "N-EVENT-REPORT",
        "This node takes no reports on storage commitment.",
        "PS3.7 C.5",
    )
    NOT_AUTHORISED = (
        0x0124,
        "C-STORE",
        "No input of the pipeline wants the image, or a plugin refuses it; the Error Comment says why."
        " Or the association was opened to the AE title of the host, and not to that of a pipeline.",
        "PS3.7 C.5",
    )
    UNRECOGNISED_OPERATION = (
        0x0211,
        "all others",
        "A request that this node does not serve, on an association that it has opened itself.",
        "PS3.7 C.5",
    )
    OUT_OF_RESOURCES = (
        0xA700,
        "C-STORE",
        "The disk is full, or less of it is free than `host.reserve`; or the file or the ledger cannot"
        " be written. The instance is not stored, and may be sent again later.",
        "PS3.4 table B.2-1",
    )
    DATA_SET_MISMATCH = (
        0xA900,
        "C-STORE",
        "The SOP Class UID of the data set is not that of the request.",
        "PS3.4 table B.2-1",
    )
    UNREADABLE = (
        0xC010,
        "C-STORE",
        "The data set cannot be read to its end, exceeds a limit of nesting or of elements, or its"
        " Pixel Data are not encoded as its transfer syntax says.",
        "PS3.4 table B.2-1",
    )
    UID_MISSING = (
        0xC011,
        "C-STORE",
        "The SOP Class UID, SOP Instance UID, Study Instance UID or Series Instance UID of the data set"
        " is missing or is not a UID.",
        "PS3.4 table B.2-1",
    )
    OTHER_INSTANCE = (
        0xC012,
        "C-STORE",
        "The SOP Instance UID of the data set is not that of the request.",
        "PS3.4 table B.2-1",
    )
    PIXELS_INCOMPLETE = (
        0xC013,
        "C-STORE",
        "The image has no Pixel Data, or fewer bytes or frames of it than its attributes say.",
        "PS3.4 table B.2-1",
    )
    IDENTIFIER_MISSING = (
        0xC014,
        "C-STORE",
        "The image lacks the attribute by which its pipeline tells patients (or studies, or series) apart.",
        "PS3.4 table B.2-1",
    )
    INVALID_REQUEST = (
        0xC015,
        "C-STORE",
        "The request names no valid SOP Class UID and SOP Instance UID.",
        "PS3.4 table B.2-1",
    )
    NO_DATA_SET = (
        0xC016,
        "C-STORE",
        "The request comes without a data set, or with an empty one.",
        "PS3.4 table B.2-1",
    )
    INFLATED_TOO_LONG = (
        0xC017,
        "C-STORE",
        "The data set is deflated, and inflates to more than the limit.",
        "PS3.4 table B.2-1",
    )
    VALUE_TOO_LONG = (
        0xC018,
        "C-STORE",
        "A value by which the image is identified (a UID, the Patient ID) is longer than the limit.",
        "PS3.4 table B.2-1",
    )
    CONFLICT = (
        0xC020,
        "C-STORE",
        "An instance of the same SOP Instance UID with other content is here, and the pipeline does not"
        ' replace it (`on_conflict = "refuse"`).',
        "PS3.4 table B.2-1",
    )


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """The answer to a C-STORE (PS3.7 section 9.3.1.2, PS3.4 section B.2.3).

    Parameters
    ----------
    status : int
        The Status (0000,0900).
    comment : str, optional
        The Error Comment (0000,0902), sent only with a failure. It is made ASCII and cut to 64 characters by
        the receiver. It may quote the image, to whoever has sent it: so the log has it at DEBUG only.
    reason : str, optional
        Why, in words that quote neither the image nor a plugin: what the log says at INFO. Empty where there
        are no such words.
    """

    status: int
    comment: str | None = None
    reason: str = ""

    @classmethod
    def plain(cls, status: int, reason: str) -> StoreResponse:
        """Return a response whose comment is the host's own words, and quotes nothing."""
        return cls(status, reason, reason)


# -- what peers answer ------------------------------------------------------------------------------------


class Service(Enum):
    """To what a peer answers."""

    ANY = "any"
    STORE = "C-STORE"
    RETRIEVE = "C-FIND, C-MOVE, C-GET"
    COMMITMENT = "storage commitment (Failure Reason)"


class Verdict(Enum):
    """What a peer's status means for an instance that was sent to it."""

    STORED = "stored"
    """The peer has it."""
    REFUSED = "refused"
    """The peer does not take it, and would say so again of the same instance."""
    RETRY = "retry"
    """The peer has not taken it now."""


class PeerStatus(NamedTuple):
    """What it means when a peer answers with a status from `first` to `last`."""

    first: int
    last: int
    service: Service
    meaning: str
    reference: str
    verdict: Verdict | None = None
    """Of an instance that was sent; ``None`` where none was."""


def _one(
    code: int, service: Service, meaning: str, reference: str, verdict: Verdict | None = None
) -> PeerStatus:
    return PeerStatus(code, code, service, meaning, reference, verdict)


_ANY, _STORE, _RETRIEVE, _COMMITMENT = Service
_STORED, _REFUSED, _RETRY = Verdict
_C4, _C5 = "PS3.7 C.4", "PS3.7 C.5"
_B2, _QR, _REASON = "PS3.4 table B.2-1", "PS3.4 tables C.4-1 to C.4-3", "PS3.3 C.14.1.1"

DESTINATION_UNKNOWN: Final = 0xA801
"""Of a C-MOVE: the peer does not know the AE title to which it should send."""
SUB_OPERATIONS_FAILED: Final = 0xB000
"""Of a C-MOVE or C-GET: it is over, and not all could be sent."""
PENDING: Final = range(0xFF00, 0xFF02)
"""Of a C-FIND, C-MOVE or C-GET: more answers follow."""
UNKNOWN_FAILURE_REASON: Final = 0x0110
"""What a storage commitment report is taken to say that gives no Failure Reason (0008,1197)."""

PEER_STATUSES: Final = (
    _one(0x0000, _ANY, "success", "PS3.7 C.1", _STORED),
    # PS3.7 annex C calls 0001, 0107 and 0116 warnings: the operation was done.
    _one(0x0001, _ANY, "warning", _C4, _STORED),
    _one(0x0105, _ANY, "no such attribute", _C5, _REFUSED),
    _one(0x0106, _ANY, "invalid attribute value", _C5, _REFUSED),
    _one(0x0107, _ANY, "attribute list error", _C4, _STORED),
    _one(0x0110, _ANY, "processing failure", _C5, _RETRY),
    # It answers what is sent again because its first answer was lost: results have deterministic UIDs, so
    # what is there under this UID is ours.
    _one(0x0111, _ANY, "duplicate SOP instance: it is there already", _C5, _STORED),
    _one(0x0112, _ANY, "no such SOP instance", _C5, _RETRY),
    _one(0x0115, _ANY, "invalid argument value", _C5, _REFUSED),
    _one(0x0116, _ANY, "attribute value out of range", _C4, _STORED),
    _one(0x0117, _ANY, "invalid SOP instance", _C5, _REFUSED),
    _one(0x0118, _ANY, "no such SOP class", _C5, _REFUSED),
    _one(0x0119, _ANY, "class and instance conflict", _C5, _REFUSED),
    _one(0x0120, _ANY, "missing attribute", _C5, _REFUSED),
    _one(0x0121, _ANY, "missing attribute value", _C5, _REFUSED),
    _one(0x0122, _ANY, "SOP class not supported", _C5, _REFUSED),
    _one(0x0124, _ANY, "not authorised", _C5, _REFUSED),
    _one(0x0210, _ANY, "duplicate invocation", _C5, _RETRY),
    _one(0x0211, _ANY, "unrecognised operation", _C5, _REFUSED),
    _one(0x0212, _ANY, "mistyped argument", _C5, _REFUSED),
    _one(0x0213, _ANY, "resource limitation", _C5, _RETRY),
    PeerStatus(0xA700, 0xA7FF, _STORE, "out of resources", _B2, _RETRY),
    # Of earlier editions of the standard; some peers still answer it.
    PeerStatus(0xA800, 0xA8FF, _STORE, "SOP class not supported", _B2, _REFUSED),
    PeerStatus(0xA900, 0xA9FF, _STORE, "data set does not match SOP class", _B2, _REFUSED),
    _one(0xB000, _STORE, "stored, attributes were coerced", _B2, _STORED),
    _one(0xB006, _STORE, "stored, elements were discarded", _B2, _STORED),
    _one(0xB007, _STORE, "stored, although the data set does not match its SOP class", _B2, _STORED),
    PeerStatus(0xB000, 0xBFFF, _STORE, "stored with a warning", _B2, _STORED),
    PeerStatus(0xC000, 0xCFFF, _STORE, "cannot understand", _B2, _REFUSED),
    _one(0xA700, _RETRIEVE, "out of resources", _QR),
    _one(0xA701, _RETRIEVE, "out of resources: it cannot count the matches", _QR),
    _one(0xA702, _RETRIEVE, "out of resources: it cannot send", _QR),
    _one(DESTINATION_UNKNOWN, _RETRIEVE, "the destination is unknown", _QR),
    _one(0xA900, _RETRIEVE, "the identifier does not match the SOP class", _QR),
    _one(SUB_OPERATIONS_FAILED, _RETRIEVE, "it could not send all", _QR),
    PeerStatus(0xC000, 0xCFFF, _RETRIEVE, "cannot process", _QR),
    _one(0xFE00, _RETRIEVE, "cancelled", _QR),
    PeerStatus(PENDING[0], PENDING[-1], _RETRIEVE, "pending: more answers follow", _QR),
    _one(UNKNOWN_FAILURE_REASON, _COMMITMENT, "processing failure", _REASON, _RETRY),
    _one(0x0112, _COMMITMENT, "no such instance", _REASON, _RETRY),
    _one(0x0119, _COMMITMENT, "class and instance conflict", _REASON, _REFUSED),
    _one(0x0122, _COMMITMENT, "SOP class not supported", _REASON, _REFUSED),
    _one(0x0131, _COMMITMENT, "duplicate transaction UID", _REASON, _RETRY),
    _one(0x0213, _COMMITMENT, "resource limitation", _REASON, _RETRY),
)
"""The first that fits holds."""


def peer_status(status: int, service: Service) -> PeerStatus | None:
    """Return what a peer's status means, ``None`` where no standard says."""
    # The numbers of Failure Reason (0008,1197) are a list of their own.
    general = () if service is Service.COMMITMENT else (Service.ANY,)
    for asked in (service, *general):
        for known in PEER_STATUSES:
            if known.service is asked and known.first <= status <= known.last:
                return known
    return None


def status_text(status: int, service: Service) -> str:
    """Return a peer's status and its meaning in words: ``status 0xa700 (out of resources)``."""
    known = peer_status(status, service)
    return f"status {status:#06x}" + (f" ({known.meaning})" if known else "")
