"""The statuses with which a C-STORE is answered."""

from __future__ import annotations

from dataclasses import dataclass

SUCCESS = 0x0000
DUPLICATE_INVOCATION = 0x0210
OUT_OF_RESOURCES = 0xA700
DATASET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124


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
