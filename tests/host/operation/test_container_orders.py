"""The operator's orders for what waits: a container is started as it is, or given up, by key or patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.errors import JobStateError
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.operation.container_orders import container_orders
from gathering import NAME, SETTLE, Node, series, uids


class Study(AbstractPipeline):
    """A job a study, of which one series is taken."""

    inputs = {"images": AbstractInput}
    gather_by = "study"

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Yield a node with no host around it."""
    with Node(tmp_path, Study) as made:
        yield made


def order(node: Node, name: str, container_key: str, **more: str) -> Any:
    """Give an order as the control socket does."""
    given = {"pipeline": NAME, "container_key": container_key, "reason": "why", **more}
    return container_orders(node.gatherer, {NAME: node.waiting}, node.jobs)[name](given)


def test_the_orders_that_there_are(node: Node) -> None:
    """By the names of the commands."""
    assert list(container_orders(node.gatherer, {}, node.jobs)) == ["process", "give-up"]


@pytest.mark.parametrize("named", ["P1/1.2", "P1"], ids=["key", "patient"])
def test_a_container_is_started(node: Node, named: str) -> None:
    """Its key is the answer, whatever it was named by; the reason is the operator's."""
    images = series(3)
    node.send(*images)
    node.let_pass()
    assert order(node, "process", named) == "P1/1.2"
    assert node.job_images() == [uids(images)]
    assert node.ledger.jobs()[0].reason == "why"


def test_a_series_is_named(node: Node) -> None:
    """The job gets that one."""
    first, second = series(2), series(3, "1.2.4")
    node.send(*first, *second)
    node.let_pass()
    order(node, "process", "P1", series="1.2.4")
    assert node.job_images() == [uids(second)]


def test_a_series_that_does_not_wait(node: Node) -> None:
    """Nothing is started in its place."""
    node.send(*series(2))
    node.let_pass()
    with pytest.raises(JobStateError, match=r"no image of the series 1\.9 waits there"):
        order(node, "process", "P1", series="1.9")
    assert node.job_images() == []


@pytest.mark.parametrize("named", ["P1/1.2", "P1"], ids=["key", "patient"])
def test_a_container_is_given_up(node: Node, named: str) -> None:
    """The number of its images is the answer; another patient's stay."""
    node.send(*series(3), *series(1, "1.5", "P2"))
    node.let_pass()
    assert order(node, "give-up", named) == 3
    assert sorted(node.states().values()) == ["expired"] * 3 + ["waiting"]


def test_what_came_again_of_a_failed_job(node: Node) -> None:
    """It can be given up, by its patient too: the job keeps its images. It is no job of its own."""
    images = series(3)
    node.send(*images)
    node.release()
    node.let_pass(SETTLE)
    node.fail(1)
    node.send(images[0], association="again")
    node.release("again")
    node.let_pass(SETTLE)
    with pytest.raises(JobStateError, match="what came again are images that a failed job has: replay"):
        order(node, "process", "P1")
    assert order(node, "give-up", "P1") == 0
    assert node.gatherer.views(node.waiting) == {}
    assert (node.job_images(), set(node.states().values())) == ([uids(images)], {"in_job"})


def test_what_waits_for_a_pipeline_that_is_gone(node: Node) -> None:
    """What was left of it in the ledger can be given up, though nothing of it can be started."""
    node.send(*series(2))
    node.ledger.flush()
    orders = container_orders(node.gatherer, {"other": node.waiting, "more": node.waiting}, node.jobs)
    given = {"pipeline": NAME, "container_key": "P1", "reason": "it is not configured any more"}
    with pytest.raises(JobStateError, match="there is no pipeline 'gathering'; there are: other, more"):
        orders["process"](given)
    assert orders["give-up"](given) == 2
    rows = list(node.ledger.instances(*InstanceState))
    assert [(row.state, row.reason) for row in rows] == [(InstanceState.EXPIRED, given["reason"])] * 2


@pytest.mark.parametrize("name", ["process", "give-up"])
def test_what_does_not_wait(node: Node, name: str) -> None:
    """How to see what waits is said."""
    with pytest.raises(JobStateError, match=r"nothing waits as 'P9' .* status --patients"):
        order(node, name, "P9")
