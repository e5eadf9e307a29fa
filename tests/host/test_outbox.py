"""The outbox: what is pending is delivered, with patience, and entered in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from delivering import Deliveries, Double, deliveries
from dicomnode.host.states import DeliveryState, JobState


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Deliveries]:
    """Open a ledger and an empty outbox."""
    with deliveries(tmp_path) as made:
        yield made


def test_everything_is_delivered_and_the_job_settled(work: Deliveries) -> None:
    """Each instance reaches each destination once, and the job is told settled once."""
    one, two = Double("one"), Double("two")
    job, uids = work.images(3, "one", "two")
    with work.outbox(one, two):
        work.wait_settled(job)
    assert one.uids == two.uids == uids
    assert work.states() == {DeliveryState.CONFIRMED: 6}
    assert work.settled == [job]
    assert work.ledger.job(job).state is JobState.DELIVERED
