"""What is proposed to a peer, and what is made of its answer: read and written by pynetdicom's own PDUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import (
    Acceptance,
    NoAcceptedContextError,
    Proposal,
    decode_rejection,
)
from raw_peer import CT, MR

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"


def proposed(proposal: Proposal) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))
        for context in proposal.contexts
    ]


def request(proposal: Proposal) -> A_ASSOCIATE:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(proposal.encode_request("NODE", "PACS"))
    return pdu.to_primitive()


def answer(
    proposal: Proposal, results: Callable[[PresentationContext], tuple[int, str]], longest: int = 4096
) -> Acceptance:
    """Answer each context with a result and a transfer syntax."""
    primitive = request(proposal)
    answered = []
    for context in primitive.presentation_context_definition_list:
        made = PresentationContext()
        made.context_id = context.context_id
        made.result, syntax = results(context)
        made.transfer_syntax = [syntax]
        answered.append(made)
    primitive.presentation_context_definition_results_list = answered
    primitive.result = 0
    primitive.maximum_length_received = longest
    return proposal.decode_acceptance(A_ASSOCIATE_AC(primitive).encode())


def first_syntax(context: PresentationContext) -> tuple[int, str]:
    return 0, str(context.transfer_syntax[0])


# -- proposing ------------------------------------------------------------------------------------------


def test_each_pair_has_a_context_of_its_own() -> None:
    """And uncompressed ones are offered in the other little endian syntax too, once a SOP class."""
    proposal = Proposal([(MR, EXPLICIT), (CT, RLE), (MR, EXPLICIT), (MR, RLE), (CT, DEFLATED)])
    assert proposed(proposal) == [
        (MR, (EXPLICIT,)), (CT, (RLE,)), (MR, (RLE,)), (CT, (DEFLATED,)), (MR, (IMPLICIT,)),
        (CT, (EXPLICIT, IMPLICIT)),
    ]  # fmt: skip
    assert [context.context_id for context in proposal.contexts] == [1, 3, 5, 7, 9, 11]


def test_what_cannot_be_converted_is_not_offered_otherwise() -> None:
    """Compressed and big endian files are sent as they are, or not; both little endian ones need no more."""
    assert proposed(Proposal([(MR, RLE), (CT, BIG)])) == [(MR, (RLE,)), (CT, (BIG,))]
    assert proposed(Proposal([(MR, EXPLICIT), (MR, IMPLICIT)])) == [(MR, (EXPLICIT,)), (MR, (IMPLICIT,))]


def test_the_request_says_who_asks_and_how_much_it_takes() -> None:
    """AE titles, implementation and the longest PDU are in it, and every context."""
    primitive = request(Proposal([(MR, EXPLICIT)], max_pdu_length=32_768))
    assert (primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()) == ("NODE", "PACS")
    assert primitive.maximum_length_received == 32_768
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    names = [getattr(each, "implementation_version_name", None) for each in primitive.user_information]
    assert IMPLEMENTATION_VERSION_NAME in names
    assert primitive.application_context_name == "1.2.840.10008.3.1.1.1"
    assert len(primitive.presentation_context_definition_list) == 2
    assert request(Proposal([(MR, EXPLICIT)])).maximum_length_received == 16_384


def test_this_node_asks_to_be_the_scp_of_what_it_will_receive() -> None:
    """Once for each SOP class that comes over the association, for no other (PS3.7 section D.3.3.4)."""
    primitive = request(Proposal([("1.2.3", EXPLICIT)], [(MR, EXPLICIT), (MR, RLE), (CT, RLE)]))
    asked = [each for each in primitive.user_information if hasattr(each, "scp_role")]
    roles = {str(each.sop_class_uid): (each.scu_role, each.scp_role) for each in asked}
    assert len(asked) == len(roles)
    assert roles == {MR: (False, True), CT: (False, True)}


def test_an_association_has_128_contexts_at_most() -> None:
    """None, or more than that, cannot be proposed; conversions are offered as long as there is room."""
    for wrong in ([], [(f"1.2.{n}", RLE) for n in range(129)]):
        with pytest.raises(ValueError, match=f"{len(wrong)} presentation contexts: .* from 1 to 128"):
            Proposal(wrong)
    full = Proposal([(f"1.2.{n}", EXPLICIT) for n in range(100)])
    assert len(full.contexts) == 128
    assert [context.context_id for context in full.contexts] == list(range(1, 256, 2))
    assert len(Proposal([(f"1.2.{n}", EXPLICIT) for n in range(128)]).contexts) == 128


# -- what is accepted -----------------------------------------------------------------------------------


def test_what_was_accepted_is_used_as_it_is() -> None:
    """The context of the file's own transfer syntax, by its number."""
    acceptance = answer(Proposal([(MR, EXPLICIT), (MR, RLE)]), first_syntax)
    found = {syntax: acceptance.context_for(MR, syntax) for syntax in (EXPLICIT, RLE)}
    assert {syntax: (each.context_id, each.transfer_syntax_uid) for syntax, each in found.items()} == {
        EXPLICIT: (1, EXPLICIT),
        RLE: (3, RLE),
    }
    assert acceptance.max_pdu_length == 4096
    assert acceptance.accepted_contexts() == {1: (MR, EXPLICIT), 3: (MR, RLE), 5: (MR, IMPLICIT)}


def test_what_was_not_accepted_is_converted_where_it_can_be() -> None:
    """An uncompressed file goes in the other little endian syntax, a compressed one not at all."""

    def only_implicit(context: PresentationContext) -> tuple[int, str]:
        syntaxes = list(map(str, context.transfer_syntax))
        return (0, IMPLICIT) if IMPLICIT in syntaxes else (4, syntaxes[0])

    acceptance = answer(Proposal([(MR, EXPLICIT), (CT, DEFLATED), (MR, RLE)]), only_implicit)
    for sop_class, syntax in ((MR, EXPLICIT), (CT, DEFLATED)):
        assert acceptance.context_for(sop_class, syntax).transfer_syntax_uid == IMPLICIT
    with pytest.raises(NoAcceptedContextError, match=r"MR Image Storage in RLE.*the transfer syntax"):
        acceptance.context_for(MR, RLE)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (1, "it rejected the context"),
        (2, "it gives no reason"),
        (3, "it does not support the SOP class"),
        (4, "it does not support the transfer syntax"),
    ],
)
def test_why_nothing_is_accepted(result: int, said: str) -> None:
    """The peer's own result is in the message (PS3.8 table 9-18), or that nothing was asked."""
    acceptance = answer(Proposal([(MR, RLE)]), lambda context: (result, RLE))
    with pytest.raises(
        NoAcceptedContextError, match=f"no accepted context for MR Image Storage in RLE.*{said}"
    ):
        acceptance.context_for(MR, RLE)
    with pytest.raises(NoAcceptedContextError, match="it was not proposed"):
        acceptance.context_for(CT, RLE)
    assert acceptance.accepted_contexts() == {}


def test_a_syntax_that_was_not_offered_is_not_accepted() -> None:
    """A peer that chooses another transfer syntax than the context has is sent nothing in it."""
    acceptance = answer(Proposal([(MR, RLE)]), lambda context: (0, EXPLICIT))
    with pytest.raises(NoAcceptedContextError):
        acceptance.context_for(MR, RLE)


@pytest.mark.parametrize(
    "pdu", [b"", b"\x02\0\0\0\0\x04abcd", b"\x02\0\0\0\0\x48" + bytes(68) + b"\x50\0\xff\xff"]
)
def test_an_answer_that_is_broken(pdu: bytes) -> None:
    """Whatever pynetdicom stumbles over is a delivery error."""
    with pytest.raises(DeliveryError, match="the answer to the association request is broken"):
        Proposal([(MR, RLE)]).decode_acceptance(pdu)


def test_an_answer_that_names_no_context() -> None:
    """It is broken, too: nothing could be sent."""
    proposal = Proposal([(MR, RLE)])
    primitive = request(proposal)
    primitive.presentation_context_definition_results_list = []
    primitive.result = 0
    with pytest.raises(DeliveryError, match="broken: it names no context"):
        proposal.decode_acceptance(A_ASSOCIATE_AC(primitive).encode())


# -- rejections -----------------------------------------------------------------------------------------


def test_a_rejection_says_why() -> None:
    """Result, source and diagnostic as numbers and in words (PS3.8 table 9-21)."""
    error = decode_rejection(b"\x03\0\0\0\0\4\0\2\1\3")
    assert (error.result, error.source, error.diagnostic) == (2, 1, 3)
    assert str(error).startswith("the association was rejected: ")
    assert "Transient" in str(error)
    assert "Calling AE title not recognised" in str(error)


@pytest.mark.parametrize("pdu", [b"", b"\x03\0\0\0\0\2ab", b"\x03\0\0\0\0\4\0\x63\x63\x63"])
def test_a_rejection_that_is_broken_is_one(pdu: bytes) -> None:
    """It is taken as a permanent one."""
    error = decode_rejection(pdu)
    assert (error.result, error.source, error.diagnostic) == (1, 1, 1)
    assert "the rejection itself is broken" in str(error)
