"""Counts images that are refused or discarded: in the ledger by series, in the log once an association."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.unprocessed_ledger import NoteUnprocessed, Outcome


class UnprocessedImages:
    """Images that were refused or discarded, of associations that are open.

    Any thread may call its methods.

    Parameters
    ----------
    ledger : Ledger
        Where they are counted.
    events : Events
        Who is told, at the end of an association.
    """

    def __init__(self, ledger: Ledger, events: Events) -> None:
        self._ledger, self._events = ledger, events
        self._of: dict[tuple[str, str], Counter[tuple[Outcome, str]]] = {}
        self._lock = threading.Lock()

    def note(
        self, pipeline: str, association: str, image: LazyDataset, outcome: Outcome, reason: str
    ) -> None:
        """Count an image.

        Parameters
        ----------
        pipeline : str
            That was called.
        association : str
            The id of the association that brought it.
        image : LazyDataset
        outcome : Outcome
            ``REFUSED`` or ``DISCARDED``.
        reason : str
            Why. It may quote values of the image: the ledger has it, the log has not.
        """
        series = str(image.SeriesInstanceUID)
        self._ledger.post(NoteUnprocessed(pipeline, series, outcome, reason))
        with self._lock:
            self._of.setdefault((association, pipeline), Counter())[outcome, series] += 1

    def association_ended(self, association: str, pipeline: str) -> None:
        """Tell how many images of an association a pipeline did not take, if there are any."""
        with self._lock:
            counted = self._of.pop((association, pipeline), None)
        if not counted:
            return
        told = []
        for outcome in (Outcome.REFUSED, Outcome.DISCARDED):
            of_series = [images for (each, _), images in counted.items() if each is outcome]
            if of_series:
                told.append(f"{_images(sum(of_series))} of {len(of_series)} series {outcome}")
        self._events.tell(
            Event(
                Station.REFUSED,
                f"of this association: {', '.join(told)}",
                pipeline=pipeline,
                association=association,
                level=logging.INFO,
            )
        )


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"
