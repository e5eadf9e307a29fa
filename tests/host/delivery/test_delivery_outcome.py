"""What a C-STORE status means for a delivery."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.delivery.delivery_outcome import outcome_of_status
from dicomnode.pipeline.destination import Delivery


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        (0x0000, Delivery.CONFIRMED),
        (0xB000, Delivery.CONFIRMED),
        (0xB006, Delivery.CONFIRMED),
        (0xB007, Delivery.CONFIRMED),
        (0xBFFF, Delivery.CONFIRMED),
        (0x0111, Delivery.CONFIRMED),
        (None, Delivery.LATER),
        (0xA700, Delivery.LATER),
        (0xA7FF, Delivery.LATER),
        (0x0110, Delivery.LATER),
        (0x0210, Delivery.LATER),
        (0xFE00, Delivery.LATER),
        (0x1234, Delivery.LATER),
        (0xA900, Delivery.REFUSED),
        (0xA9FF, Delivery.REFUSED),
        (0xC000, Delivery.REFUSED),
        (0xCFFF, Delivery.REFUSED),
        (0x0117, Delivery.REFUSED),
        (0x0122, Delivery.REFUSED),
        (0x0124, Delivery.REFUSED),
    ],
)
def test_statuses(status: int | None, delivery: Delivery) -> None:
    """Warnings are confirmations, want of resources and silence mean later, refusals are dead letters."""
    assert outcome_of_status(status).delivery is delivery


@given(st.integers(0, 0xFFFF), st.text(max_size=200))
def test_any_status_has_one_outcome(status: int, comment: str) -> None:
    """Whatever a peer answers, the reason holds its status and no control character."""
    outcome = outcome_of_status(status, comment)
    assert outcome.status == status
    assert outcome.reason.isprintable()
    assert not status or f"{status:#06x}" in outcome.reason


def test_the_reason_holds_the_peers_words() -> None:
    """The reason of a refusal is the status, its meaning, and the Error Comment."""
    reason = outcome_of_status(0x0124, "ask IT").reason
    assert reason == "status 0x0124 (not authorised): ask IT"
