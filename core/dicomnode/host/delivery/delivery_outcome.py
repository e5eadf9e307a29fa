"""What becomes of a delivery that a peer has answered."""

from __future__ import annotations

from typing import Final

from dicomnode.dicom.values.safe import safe_text
from dicomnode.host.parsing.statuses import PeerStatus, Service, Verdict, peer_status, status_text
from dicomnode.pipeline.destination import Delivery, Outcome

_DELIVERY: Final = {
    Verdict.STORED: Delivery.CONFIRMED,
    Verdict.REFUSED: Delivery.REFUSED,
    Verdict.RETRY: Delivery.LATER,
}


def delivery_after(known: PeerStatus | None) -> Delivery:
    """Return what becomes of a delivery after a peer's answer; ``None`` is one that nobody knows."""
    return _DELIVERY[Verdict.RETRY if known is None or known.verdict is None else known.verdict]


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
        Confirmed for success and warnings; refused for what the peer will say again of the same instance;
        later for everything else, for want of resources as for a status that nobody knows. The table is
        :data:`~dicomnode.host.parsing.statuses.PEER_STATUSES`.
    """
    if status is None:
        return Outcome(Delivery.LATER, "no answer: whether it was stored is not known, so it is sent again")
    if status == 0:
        return Outcome(Delivery.CONFIRMED, "", status)
    reason = status_text(status, Service.STORE) + (f": {safe_text(comment, longest=64)}" if comment else "")
    return Outcome(delivery_after(peer_status(status, Service.STORE)), reason, status)
