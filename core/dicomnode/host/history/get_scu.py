"""C-GET in the Study Root model (PS3.4 section C.4.3): the images come on the association of the request.

They are received as on an association that a peer opens: by the C-STORE handler, into the spool.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicomnode.dicom.values.encodings import EXPLICIT_LITTLE
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.bounded_reader import ABORT, P_DATA, ConnectionEndedError
from dicomnode.host.dimse.c_store_handler import AssociationContext, CStoreHandler, ServeOther
from dicomnode.host.dimse.dimse_scu import DimseAssociation, DimseMessage
from dicomnode.host.dimse.p_data import EncodedMessage
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, StoreHandler
from dicomnode.host.spool.spool import Spool

STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_COMPRESSED: Final = (JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless)
_MOST_PAIRS: Final = 126  # an association has 128 contexts, and two are for the service itself
# PS3.6 annex A; what is asked for where the PACS does not say what a study holds.
_USUAL: Final = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
    "1.2.840.10008.5.1.4.1.1.20",  # NM
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # DX for processing
    "1.2.840.10008.5.1.4.1.1.1.2",  # MG for presentation
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # MG for processing
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # breast tomosynthesis
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.12.2",  # RF
    "1.2.840.10008.5.1.4.1.1.6.1",  # US
    "1.2.840.10008.5.1.4.1.1.3.1",  # US multi-frame
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # multi-frame grayscale byte SC
    "1.2.840.10008.5.1.4.1.1.7.3",  # multi-frame grayscale word SC
    "1.2.840.10008.5.1.4.1.1.7.4",  # multi-frame true color SC
)
_WITHOUT_PIXELS: Final = (
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT structure set
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT plan
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.1",  # spatial registration
    "1.2.840.10008.5.1.4.1.1.88.11",  # basic text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.34",  # comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-ray radiation dose SR
)


@dataclass(frozen=True, slots=True)
class RetrieveReception:
    """Where images go that come on an association of our own: what the receiver has."""

    store_handler: StoreHandler
    spool: Spool
    settings: ReceiverSettings


def storage_contexts(match: Dataset) -> list[tuple[str, str]]:
    """Return the SOP classes and transfer syntaxes to propose for what an answer to a C-FIND describes.

    Uncompressed, and the lossless compressions in which archives keep images, as far as there is room.
    """
    named = match.get("SOPClassesInStudy") or ()
    named = (named,) if isinstance(named, str) else named
    classes = [str(each) for each in named if UID(str(each)).is_valid]
    images, others = (classes, ()) if classes else (_USUAL, _WITHOUT_PIXELS)
    pairs = [(each, EXPLICIT_LITTLE) for each in (*images, *others)]
    pairs += [(each, str(syntax)) for syntax in _COMPRESSED for each in images]
    return list(dict.fromkeys(pairs))[:_MOST_PAIRS]


class GetAssociation(DimseAssociation):
    """An association on which images are requested and received."""

    def retrieve(
        self,
        command: dict[str, Any],
        identifier: Dataset,
        info: AssociationInfo,
        reception: RetrieveReception,
        deadline: float,
    ) -> DimseMessage:
        """Send a C-GET, receive what comes, and return the last response.

        Parameters
        ----------
        command : dict of str to Any
            Keywords and values of the command set.
        identifier : pydicom.Dataset
            What is to be sent.
        info : AssociationInfo
            How the association is announced to the store handler.
        reception : RetrieveReception
            Where the images go.
        deadline : float
            When it must be done, in terms of :func:`time.monotonic`.

        Raises
        ------
        DeliveryError
            When the association ends before, or it takes too long.
        """
        answers: list[DimseMessage] = []

        def take_response(message: EncodedMessage) -> bool:
            answers[:] = [
                DimseMessage.decode(message, EXPLICIT_LITTLE)
            ]  # only the last one counts, and a peer may send any number
            return True

        with self._handle_stores(info, reception, take_response) as handler:
            self._message_id += 1
            self._send(self.context, {**command, "MessageID": self._message_id}, identifier)
            while not (answers and not answers[-1].pending):
                self._handle_pdu(handler, deadline)
        return answers[-1]

    @contextmanager
    def _handle_stores(
        self, info: AssociationInfo, reception: RetrieveReception, take_response: ServeOther
    ) -> Iterator[CStoreHandler]:
        reader, acceptance = self._reader, self._acceptance
        if reader is None or acceptance is None:
            raise self._end("not open")
        common = AssociationContext(
            info,
            acceptance.accepted_contexts(),
            reception.store_handler,
            reception.spool,
            reception.settings,
            acceptance.max_pdu_length,
        )
        handler = CStoreHandler(reader, common, take_response)
        end = AssociationEnd.ABORTED
        try:
            yield handler
            end = AssociationEnd.RELEASED
        except ConnectionEndedError as error:
            raise self._end(str(error)) from None
        finally:
            handler.close()
            reception.store_handler.association_ended(info, end)

    def _handle_pdu(self, handler: CStoreHandler, deadline: float) -> None:
        reader = self._reader
        if reader is None:
            raise ConnectionEndedError("not open")
        if handler.deadline is None:
            reader.rewind()
        kind, begin, end = reader.next_pdu(min(deadline, handler.deadline or deadline))
        if kind != P_DATA:
            raise ConnectionEndedError("aborted by the peer" if kind == ABORT else "an unexpected PDU")
        handler.handle_p_data(begin, end)
        if time.monotonic() > deadline:
            raise ConnectionEndedError("it took too long to send")


def association_info(peer_title: str, peer_address: str, called: str) -> AssociationInfo:
    """Return an association of ours for the store handler: as if the peer had called the pipeline."""
    return AssociationInfo(
        id=secrets.token_hex(8),
        calling_ae_title=peer_title,
        called_ae_title=called,
        peer_address=peer_address,
        negotiated=datetime.now(UTC),
    )


__all__ = ["STUDY_ROOT_GET", "GetAssociation", "RetrieveReception", "association_info", "storage_contexts"]
