"""Which result of a job goes where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dicomnode.errors import OutputError
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.ledger_writes import DeliveryPlan
from dicomnode.pipeline.destination import Destination, OutboxItem
from dicomnode.pipeline.outputs import PipelineOutput


def plan_deliveries(
    items: Iterable[OutboxItem],
    usual: Sequence[str],
    destinations: Mapping[str, Destination],
    *,
    output_class: Callable[[str], type[PipelineOutput]],
    outbox: Path,
) -> list[DeliveryPlan]:
    """Return a delivery for each item and each destination that takes it.

    Parameters
    ----------
    items : iterable of OutboxItem
        What a job made.
    usual : sequence of str
        The destinations of what names none itself: the pipeline's.
    destinations : mapping of str to Destination
        Every configured destination.
    output_class : callable
        Entry-point name of an output -> its class.
    outbox : pathlib.Path
        The folder to which paths are relative.

    Raises
    ------
    OutputError
        When an item is for a destination that is not configured, or for none that takes it.
    """
    plan: list[DeliveryPlan] = []
    for item in items:
        names = usual if item.destinations is None else item.destinations
        unknown = [name for name in names if name not in destinations]
        if unknown:
            known = ", ".join(destinations) or "none"
            msg = f"an output is for {', '.join(unknown)}, which is not configured; there are: {known}"
            raise OutputError(msg)
        kind = output_class(item.output)
        takers = [name for name in names if kind.goes_to(destinations[name])]
        if not takers:
            msg = f"none of the destinations ({', '.join(names)}) takes the output {item.output!r}"
            raise OutputError(msg)
        plan.extend((name, item.to_json(outbox)) for name in takers)
    return plan


def with_folders(item: OutboxItem, job: JobRecord) -> OutboxItem:
    """Give what names no folder that of its job: files of two patients must not meet under one name."""
    return item if item.folders else replace(item, folders=(job.pipeline, job.container_key))
