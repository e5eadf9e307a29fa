"""All that the receiver takes from pynetdicom beyond its public face, in one place.

pynetdicom negotiates, releases and serves whatever is not a C-STORE. It is made to do so on the thread of
the connection, one step at a time, instead of on two threads of its own that poll: the bytes that a
:class:`~dicomnode.host.dimse.bounded_reader.BoundedReader` has taken in are fed to its state machine, and
what it wants to send is sent at once. Nothing of pynetdicom is patched; these are subclasses.

The names used here that are not public are listed in :data:`PRIVATE_NAMES`, and ``tests/host`` checks them
against the installed version, so that an upgrade fails there and not in a hospital.
"""

from __future__ import annotations

import logging
import queue
import socket
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES, MODE_ACCEPTOR
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicomnode.dicom.values.encodings import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPIP_DEFLATED,
)
from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.p_data import EncodedMessage, as_pdus
from dicomnode.host.parsing.statuses import Status

TESTED_VERSIONS: Final = ("3.0.4",)
PRIVATE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (DULServiceProvider, "_decode_pdu"),
    (DULServiceProvider, "_process_recv_primitive"),
    (DULServiceProvider, "_send"),
    (Association, "_bind_defaults"),
    (Association, "_serve_request"),
    (AssociationSocket, "_shutdown_socket"),
    (ACSE, "is_release_requested"),
)
VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"

CommitmentHandler = Callable[[str, Dataset], int]
"""Calling AE title, and the Event Information of an N-EVENT-REPORT -> the status of the answer."""


Sender = Callable[[bytes], None]


class _PeerSocket(AssociationSocket):
    """Sends by the connection's own means; reading is the bounded reader's business."""

    def __init__(self, association: Association, sock: socket.socket, send: Sender) -> None:
        self._send_all = send
        super().__init__(association, client_socket=sock)

    def send(self, bytestream: bytes) -> None:
        """Send all of it; what that raises ends the connection."""
        self._send_all(bytestream)


class _SteppedDUL(DULServiceProvider):
    """The upper layer's state machine without its thread."""

    def send_pdu(self, primitive: Any) -> None:
        """Send at once what the service user wants sent."""
        super().send_pdu(primitive)
        self.step()

    def feed(self, pdu: bytes) -> None:
        """Let the state machine act on a received PDU."""
        try:
            decoded, event = self._decode_pdu(bytearray(pdu))
        except Exception:
            self.event_queue.put("Evt19")
        else:
            self.event_queue.put(event)
            self._recv_pdu.put(decoded)
        self.step()

    def step(self) -> None:
        """Act until there is nothing to act on."""
        while not self._kill_thread:
            try:
                event = self.event_queue.get(block=False)
            except queue.Empty:
                if not self._process_recv_primitive():
                    return
            else:
                self.state_machine.do_action(event)


class _SteppedAssociation(Association):
    dul: _SteppedDUL

    def _bind_defaults(self) -> None:
        """Bind what answers; pynetdicom's notification handlers would only log what peers send."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))


class Negotiator:
    """What is common to all associations that one receiver accepts.

    Parameters
    ----------
    settings : ReceiverSettings
        The node's AE title and longest PDU, and what it accepts beyond all that pynetdicom knows.
    commitments : callable, optional
        Takes reports on storage commitment, which a peer sends as the SCP (PS3.4 section J.3.3).
    """

    def __init__(self, settings: ReceiverSettings, commitments: CommitmentHandler | None = None) -> None:
        self.commitments = commitments
        self._entity = AE(settings.ae_title)
        self._entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self.max_pdu_length = settings.max_pdu_length
        # When a peer offers several for one context it can send any; uncompressed ones serve most.
        first, last = [EXPLICIT_LITTLE, IMPLICIT_LITTLE], [EXPLICIT_BIG]
        refused = set() if settings.deflated else {DEFLATED, *JPIP_DEFLATED}
        others = [uid for uid in ALL_TRANSFER_SYNTAXES if uid not in {*first, *last, *refused}]
        syntaxes = [*first, *others, *settings.extra_transfer_syntaxes, *last]
        storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        self._contexts = {
            uid: build_context(uid, syntaxes) for uid in (*storage, *settings.extra_sop_classes)
        }
        self._contexts[VERIFICATION] = build_context(VERIFICATION)
        if commitments is not None:
            context = self._contexts[STORAGE_COMMITMENT] = build_context(STORAGE_COMMITMENT)
            context.scu_role, context.scp_role = False, True

    def refusal_of(self, sop_class: str, transfer_syntax: str) -> str | None:
        """Say why no context for a SOP class in a transfer syntax is accepted; ``None`` where one is."""
        context = self._contexts.get(sop_class)
        if context is None:
            return f"the SOP class {UID(sop_class).name} ({sop_class}) is no storage class that is known"
        if transfer_syntax not in (context.transfer_syntax or ()):
            return f"the transfer syntax {UID(transfer_syntax).name} ({transfer_syntax}) is not accepted"
        return None

    def supported(self, proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
        """Return the contexts to negotiate with: of all that are supported, those that were proposed."""
        wanted = dict.fromkeys(str(context.abstract_syntax) for context in proposed)
        return [self._contexts[uid] for uid in wanted if uid in self._contexts]

    def association(self, sock: socket.socket, send: Sender) -> AcceptedAssociation:
        """Begin an association on a connected socket, to which `send` sends."""
        return AcceptedAssociation(self, self._entity, sock, send)


class AcceptedAssociation:
    """One association, as far as pynetdicom is concerned, driven from the connection's thread."""

    def __init__(self, negotiator: Negotiator, entity: AE, sock: socket.socket, send: Sender) -> None:
        self._negotiator = negotiator
        association = _SteppedAssociation(entity, MODE_ACCEPTOR)
        association.dul = _SteppedDUL(association)
        association.set_socket(_PeerSocket(association, sock, send))
        acceptor = association.acceptor
        acceptor.maximum_length = negotiator.max_pdu_length
        acceptor.ae_title = entity.ae_title
        acceptor.address_info = AddressInformation.from_tuple(sock.getsockname())
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(sock.getpeername())
        if negotiator.commitments is not None:
            association.bind(evt.EVT_N_EVENT_REPORT, self._event_report)
        self._association = association

    def decode_request(self, pdu: bytes) -> A_ASSOCIATE | None:
        """Read an A-ASSOCIATE-RQ; None when it is broken (and was answered with a rejection or an abort)."""
        association = self._association
        association.dul.step()
        association.dul.feed(pdu)
        primitive = association.dul.receive_pdu(wait=False)
        if not isinstance(primitive, A_ASSOCIATE):
            return None
        association.requestor.primitive = primitive
        return primitive

    def _event_report(self, event: Any) -> tuple[int, None]:
        handler = self._negotiator.commitments
        if handler is None:
            return Status.SOP_CLASS_NOT_SUPPORTED, None
        calling = str(self._association.requestor.ae_title or "").strip()
        return handler(calling, event.event_information), None

    def reject(self, result: int, source: int, diagnostic: int) -> None:
        """Answer with A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
        self._association.acse.send_reject(result, source, diagnostic)

    def accept(self, request: A_ASSOCIATE) -> dict[int, tuple[str, str]]:
        """Answer with A-ASSOCIATE-AC; return context ID to abstract and transfer syntax."""
        association = self._association
        proposed = request.presentation_context_definition_list
        association.acceptor.supported_contexts = self._negotiator.supported(proposed)
        association.acse.negotiate_association()
        if not association.is_established:
            return {}
        return {
            context.context_id or 0: (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in association.accepted_contexts
        }

    @property
    def peer_max_pdu_length(self) -> int:
        """The longest PDU body that the peer takes; 0 is any."""
        return int(self._association.requestor.maximum_length or 0)

    def serve(self, message: EncodedMessage) -> bool:
        """Let pynetdicom serve a whole DIMSE message; False when it has aborted."""
        association = self._association
        association.dul.feed(as_pdus(message.context_id, message.command, 0, command=True))
        if message.data_set is not None:
            association.dul.feed(as_pdus(message.context_id, message.data_set, 0, command=False))
        context_id, request = association.dimse.get_msg(block=False)
        if request is not None and context_id is not None:
            association._serve_request(request, context_id)
        return association.is_established and not association.dul._kill_thread

    def is_release_request(self, pdu: bytes) -> bool:
        """Take an A-RELEASE-RQ (PS3.8 section 9.3.6); False if it is broken."""
        association = self._association
        association.dul.feed(pdu)
        return bool(association.acse.is_release_requested())

    def release(self) -> None:
        """Answer the A-RELEASE-RQ that was taken."""
        association = self._association
        association.acse.send_release(is_response=True)
        association.is_released = True
        association.is_established = False


def silence_loggers() -> None:
    """Keep pynetdicom and pydicom from logging what peers send: it may be patient data, or control bytes.

    The host logs what goes wrong, in words of its own.
    """
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL = "none"
    # pydicom warns of invalid values by showing them.
    for message in ("Invalid value for VR", "The value length", "Found unknown escape", "Failed to decode"):
        warnings.filterwarnings("ignore", message=message, module=r"pydicom\.")
