"""What happens to jobs that other parts of the host act upon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dicomnode.host.foundation.notifier import Notifier


@dataclass(frozen=True, slots=True)
class JobEvents:
    """Stands between jobs, what runs them and what delivers their results; each is given it when it is made.

    The ledger says what there is to do. These events only say that it is time to look, or what to stop.

    Attributes
    ----------
    queued : Notifier
        A job was queued.
    deliveries_entered : Notifier
        Deliveries in the ledger are new, or in another state.
    deliveries_due : Notifier of iterable of str
        Something for these destinations is due in the ledger: their back-off ends.
    withdrawn : Notifier of int
        The job of this number was discarded or superseded: its result is not needed any more, and what runs
        it may stop.
    """

    queued: Notifier[()] = field(default_factory=Notifier[()])
    deliveries_entered: Notifier[()] = field(default_factory=Notifier[()])
    deliveries_due: Notifier[Iterable[str]] = field(default_factory=Notifier)
    withdrawn: Notifier[int] = field(default_factory=Notifier)
