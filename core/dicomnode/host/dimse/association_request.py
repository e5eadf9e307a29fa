"""Requesting an association: what is proposed, and what the peer makes of it (PS3.8 section 9.3).

pynetdicom's PDUs and primitives encode and decode; nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_requestor

from dicomnode.dicom.values.encodings import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.errors import DeliveryError

_APPLICATION_CONTEXT: Final = UID("1.2.840.10008.3.1.1.1")
_MOST_CONTEXTS: Final = 128
_CONVERTIBLE: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
_OUR_LONGEST_PDU: Final = 16_384  # mostly responses come back, which are short
_RESULTS: Final = {
    1: "it rejected the context",
    2: "it gives no reason",
    3: "it does not support the SOP class",
    4: "it does not support the transfer syntax",
}


class NoAcceptedContextError(DeliveryError):
    """The peer accepted no presentation context in which the instance can be sent, nor will it later."""


class AssociationRejectedError(DeliveryError):
    """The peer answered A-ASSOCIATE-RJ (PS3.8 section 9.3.4).

    Parameters
    ----------
    result : int
        1 is permanent, 2 transient.
    source, diagnostic : int
        As in PS3.8 table 9-21.
    text : str
        Both in words.
    """

    def __init__(self, result: int, source: int, diagnostic: int, text: str) -> None:
        super().__init__(f"the association was rejected: {text}")
        self.result, self.source, self.diagnostic = result, source, diagnostic


@dataclass(frozen=True, slots=True)
class NegotiatedContext:
    """The accepted presentation context in which an instance is sent, and its transfer syntax."""

    context_id: int
    transfer_syntax_uid: str


class Proposal:
    """The presentation contexts for what is to be sent.

    Each pair of SOP class and transfer syntax gets a context of its own, so that the peer can take the bytes
    as they are. Where they are uncompressed, little endian, another context offers them in the other such
    syntax, as long as there is room.

    Parameters
    ----------
    needed : iterable of (str, str)
        SOP class and transfer syntax of all that will be sent.
    received : iterable of (str, str)
        SOP class and transfer syntax of what will be received over the association: for these this node asks
        to be the SCP (PS3.7 section D.3.3.4), as a C-GET needs it. Together they may be 128.
    max_pdu_length : int
        The longest P-DATA-TF that this node takes.

    Raises
    ------
    ValueError
        If there are none, or more than fit into one association (128).
    """

    def __init__(
        self,
        needed: Iterable[tuple[str, str]],
        received: Iterable[tuple[str, str]] = (),
        max_pdu_length: int = _OUR_LONGEST_PDU,
    ) -> None:
        self.max_pdu_length = max_pdu_length
        received = list(received)
        self._roles = dict.fromkeys(sop_class for sop_class, _ in received)
        pairs = list(dict.fromkeys((*needed, *received)))
        if not 0 < len(pairs) <= _MOST_CONTEXTS:
            raise ValueError(
                f"{len(pairs)} presentation contexts: an association has from 1 to {_MOST_CONTEXTS}"
            )
        proposed = [(sop_class, [syntax]) for sop_class, syntax in pairs]
        classes = dict.fromkeys(cls for cls, syntax in pairs if syntax in {*_CONVERTIBLE, DEFLATED})
        for sop_class in classes:
            others = [syntax for syntax in _CONVERTIBLE if (sop_class, syntax) not in pairs]
            if others and len(proposed) < _MOST_CONTEXTS:
                proposed.append((sop_class, others))
        self.contexts: list[PresentationContext] = []
        for number, (sop_class, syntaxes) in enumerate(proposed):
            context = build_context(sop_class, syntaxes)
            context.context_id = 2 * number + 1
            self.contexts.append(context)

    def encode_request(self, calling_ae_title: str, called_ae_title: str) -> bytes:
        """Return the A-ASSOCIATE-RQ, encoded."""
        primitive = A_ASSOCIATE()
        primitive.application_context_name = _APPLICATION_CONTEXT
        primitive.calling_ae_title, primitive.called_ae_title = calling_ae_title, called_ae_title
        primitive.presentation_context_definition_list = self.contexts
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        version = ImplementationVersionNameNotification()
        length.maximum_length_received = self.max_pdu_length
        implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        primitive.user_information = [length, implementation, version, *map(_scp_role, self._roles)]
        return A_ASSOCIATE_RQ(primitive).encode()

    def decode_acceptance(self, pdu: bytes) -> Acceptance:
        """Read the A-ASSOCIATE-AC.

        Raises
        ------
        DeliveryError
            If it is broken.
        """
        try:
            decoded = A_ASSOCIATE_AC()
            decoded.decode(pdu)
            primitive = decoded.to_primitive()
            results = primitive.presentation_context_definition_results_list
            contexts = negotiate_as_requestor(self.contexts, results)
            longest = int(primitive.maximum_length_received or 0)
        except Exception as error:  # pynetdicom meets a broken PDU with whatever it stumbles over
            raise DeliveryError(
                f"the answer to the association request is broken: {type(error).__name__}"
            ) from None
        if not results:
            raise DeliveryError("the answer to the association request is broken: it names no context")
        return Acceptance(self.contexts, contexts, longest)


def _scp_role(sop_class: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(sop_class)
    role.scu_role, role.scp_role = False, True
    return role


class Acceptance:
    """What the peer accepted.

    Attributes
    ----------
    max_pdu_length : int
        The longest PDU that the peer takes; 0 is any.
    """

    def __init__(
        self, proposed: list[PresentationContext], answered: list[PresentationContext], max_pdu_length: int
    ) -> None:
        self.max_pdu_length = max_pdu_length
        self._negotiated: dict[tuple[str, str], NegotiatedContext] = {}
        self._results: dict[tuple[str, str], int] = {}
        offered = {context.context_id: context.transfer_syntax for context in proposed}
        for context in answered:
            sop_class, number = str(context.abstract_syntax), context.context_id or 0
            if (
                context.result == 0
                and context.transfer_syntax
                and context.transfer_syntax[0] in offered[number]
            ):
                syntax = str(context.transfer_syntax[0])
                self._negotiated.setdefault((sop_class, syntax), NegotiatedContext(number, syntax))
            for syntax in map(str, offered[number]):
                self._results.setdefault((sop_class, syntax), 2 if context.result is None else context.result)

    def accepted_contexts(self) -> dict[int, tuple[str, str]]:
        """Return context ID -> SOP class and transfer syntax of all that was accepted."""
        return {
            context.context_id: (sop_class, syntax)
            for (sop_class, syntax), context in self._negotiated.items()
        }

    def context_for(self, sop_class: str, transfer_syntax: str) -> NegotiatedContext:
        """Return how to send an instance: as it is if the peer takes that, else converted.

        Raises
        ------
        NoAcceptedContextError
            If the peer takes neither.
        """
        exact = self._negotiated.get((sop_class, transfer_syntax))
        if exact is not None:
            return exact
        if transfer_syntax in {*_CONVERTIBLE, DEFLATED}:
            for other in _CONVERTIBLE:
                context = self._negotiated.get((sop_class, other))
                if context is not None:
                    return context
        result = self._results.get((sop_class, transfer_syntax))
        reason = "it was not proposed" if result is None else _RESULTS.get(result, "no reason is known")
        name, syntax = UID(sop_class).name, UID(transfer_syntax).name
        raise NoAcceptedContextError(f"no accepted context for {name} in {syntax}: {reason}")


def decode_rejection(pdu: bytes) -> AssociationRejectedError:
    """Decode an A-ASSOCIATE-RJ, and return it as an error."""
    try:
        decoded = A_ASSOCIATE_RJ()
        decoded.decode(pdu)
        text = f"{decoded.result_str}, {decoded.source_str}, {decoded.reason_str}"
        return AssociationRejectedError(
            decoded.result or 1, decoded.source or 1, decoded.reason_diagnostic or 1, text
        )
    except Exception:  # as above
        return AssociationRejectedError(1, 1, 1, "the rejection itself is broken")
