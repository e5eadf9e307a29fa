"""What the operator may have done to a container that waits, while the host runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicomnode.errors import JobStateError
from dicomnode.host.gathering.container_naming import named_container
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.jobs.jobs import Jobs


def container_orders(gatherer: Gatherer, trees: Mapping[str, WaitingImages], jobs: Jobs) -> dict[str, Any]:
    """Return order -> callable, for the control socket.

    A container is named by its key as ``status --patients`` shows it, or by its patient, where only one
    container of that patient waits.
    """

    def named(order: Mapping[str, Any]) -> tuple[WaitingImages, str]:
        pipeline, name = str(order["pipeline"]), str(order["container_key"])
        if pipeline not in trees:
            known = ", ".join(trees)
            msg = f"there is no pipeline {pipeline!r}; there are: {known}"
            raise JobStateError(msg)
        waiting = trees[pipeline]
        return waiting, named_container({*waiting.keys(), *gatherer.views(waiting)}, name, pipeline)

    def process(order: Mapping[str, Any]) -> str:
        waiting, key = named(order)
        series = order.get("series")
        if series is not None and not waiting.choose_series(key, str(series)):
            msg = f"no image of the series {series} waits there"
            raise JobStateError(msg)
        gatherer.process(waiting, key, str(order["reason"]))
        return key

    def release(order: Mapping[str, Any]) -> int:
        pipeline = str(order["pipeline"])
        if pipeline not in trees:
            return jobs.release_recorded(pipeline, str(order["container_key"]), str(order["reason"]))
        waiting, key = named(order)
        return gatherer.release_container(waiting, key, str(order["reason"]))

    return {"process": process, "give-up": release}
