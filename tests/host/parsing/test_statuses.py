"""The table of statuses: each cause has its own, and no status is written elsewhere in the host."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.host.parsing.inspection import RefusedDataSetError, inspect
from dicomnode.host.parsing.statuses import (
    PEER_STATUSES,
    PENDING,
    Service,
    Status,
    Verdict,
    peer_status,
    status_text,
)
from dicomnode.host.parsing.structure import BytesSource
from raw_peer import CT, EXPLICIT, MR, RawPeer, command, p_data
from receiving import encoded, receiving, small_dataset

HOST = Path(__file__).parents[3] / "core" / "dicomnode" / "host"
TABLE = HOST / "parsing" / "statuses.py"
UID = "1.2.3.4"

# What is written with the same four digits and is something else.
OTHER_NUMBERS = {
    ("dimse/message_templates.py", 0x0110): "the element of the Message ID (0000,0110)",
    ("dimse/message_templates.py", 0x0120): "the element of the Message ID Being Responded To (0000,0120)",
}


def test_each_cause_has_a_code_of_its_own() -> None:
    """No two members of the table share a code, and no failure looks like a warning or a success."""
    assert len({int(status) for status in Status}) == len(list(Status.__members__))
    for status in Status:
        assert status.cause
        if status is not Status.SUCCESS:
            assert status & 0xF000 in {0xA000, 0xC000} or 0x0100 <= status <= 0x02FF
            assert status not in {0x0107, 0x0116}  # PS3.7 annex C: warnings


def test_every_status_of_the_table_is_answered() -> None:
    """Each member is used by the host, so that the table says nothing that does not happen."""
    text = "\n".join(path.read_text() for path in HOST.rglob("*.py") if path != TABLE)
    used = set(re.findall(r"\bStatus\.([A-Z_]+)", text))
    assert used == set(Status.__members__)


def test_no_status_is_written_outside_the_table() -> None:
    """Neither as a number nor in a message: whoever needs one takes it from the table."""
    found = []
    for path in HOST.rglob("*.py"):
        name = str(path.relative_to(HOST))
        for line, number in _written(path) if path != TABLE else ():
            if _is_status(number) and (name, number) not in OTHER_NUMBERS:
                found.append(f"{name}:{line} writes {number:#06x}")
    assert not found


def _written(path: Path) -> Iterator[tuple[int, int]]:
    """Yield line and value of every number that is written with four hexadecimal digits, as code or text."""
    text = path.read_text()
    tree = ast.parse(text)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            source = ast.get_source_segment(text, node) or ""
            if isinstance(node.value, int | str):
                yield from ((node.lineno, int(found, 16)) for found in _HEXADECIMAL.findall(source))


_HEXADECIMAL = re.compile(r"0x([0-9A-Fa-f]{4})\b")


def _is_status(number: int) -> bool:
    """Say whether a number is a status of the table, or in a range of which a service defines its own."""
    known = {int(status) for status in Status} | {known.first for known in PEER_STATUSES}
    return (number in known and number > 1) or number & 0xFF00 in {0xA700, 0xA900, 0xB000, 0xC000, 0xFE00}


@pytest.mark.parametrize(
    ("status", "service", "text"),
    [
        (0xA700, Service.STORE, "status 0xa700 (out of resources)"),
        (0xA7FF, Service.STORE, "status 0xa7ff (out of resources)"),
        (0xC123, Service.STORE, "status 0xc123 (cannot understand)"),
        (0xB001, Service.STORE, "status 0xb001 (stored with a warning)"),
        (0xB007, Service.STORE, "status 0xb007 (stored, although the data set does not match its SOP class)"),
        (0x0124, Service.STORE, "status 0x0124 (not authorised)"),
        (0x1234, Service.STORE, "status 0x1234"),
        (0xA702, Service.RETRIEVE, "status 0xa702 (out of resources: it cannot send)"),
        (0xA703, Service.RETRIEVE, "status 0xa703"),
        (0xC001, Service.RETRIEVE, "status 0xc001 (cannot process)"),
        (0x0122, Service.RETRIEVE, "status 0x0122 (SOP class not supported)"),
        (0x0131, Service.COMMITMENT, "status 0x0131 (duplicate transaction UID)"),
        (0x0124, Service.COMMITMENT, "status 0x0124"),
    ],
)
def test_a_peers_status_in_words(status: int, service: Service, text: str) -> None:
    """A number means what its service says, else what all say; Failure Reasons are a list apart."""
    assert status_text(status, service) == text


def test_what_a_peers_status_means_for_an_instance() -> None:
    """Each status to a C-STORE has a verdict, a pending one has none."""
    for known in PEER_STATUSES:
        assert known.first <= known.last
        assert (known.verdict is None) == (known.service is Service.RETRIEVE)
    duplicate = peer_status(0x0111, Service.STORE)
    assert duplicate is not None
    assert duplicate.verdict is Verdict.STORED
    assert [status for status in (0xFEFF, 0xFF00, 0xFF01, 0xFF02) if status in PENDING] == [0xFF00, 0xFF01]


def test_a_value_that_is_too_long_has_its_own_status() -> None:
    """A Patient ID beyond the limit of a value is not taken for one that is missing."""
    data = encoded(small_dataset(PatientID="1" * 40_000))
    with pytest.raises(RefusedDataSetError) as refused:
        inspect(BytesSource(data), 0, len(data), EXPLICIT, frozenset())
    assert refused.value.response.status == Status.VALUE_TOO_LONG


def test_what_is_wrong_with_a_request_has_its_own_status(tmp_path: Path) -> None:
    """No valid SOP instance, no data set, an empty one, another class or instance: told apart on the wire."""
    data = encoded(small_dataset(SOPInstanceUID=UID))
    with receiving(tmp_path) as (receiver, _handler, _spool), RawPeer(receiver.address) as peer:
        peer.associate(MR)
        assert peer.store("../etc", data) == Status.INVALID_REQUEST
        peer.send(p_data(1, 3, command(1, MR, data_set=False, instance=UID)))
        assert peer.status() == Status.NO_DATA_SET
        assert peer.store(UID, b"") == Status.NO_DATA_SET
        assert peer.store(UID, data, sop_class=CT) == Status.DATA_SET_MISMATCH
        assert peer.store("1.2.3.5", data) == Status.OTHER_INSTANCE
        assert peer.store(UID, data[:-10]) == Status.UNREADABLE
        assert peer.store(UID, data) == Status.SUCCESS
