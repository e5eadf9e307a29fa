"""What the host says of itself: from the ledger, whether it runs or not, and of its trees while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .ledger_reading import LedgerReader

if TYPE_CHECKING:
    from .host import Host


def live_status(host: Host) -> dict[str, Any]:
    """Return what only the running host knows, as plain data."""
    return {
        "ae_title": host.config.host.ae_title,
        "address": f"{host.address[0]}:{host.address[1]}",
        "pipelines": {
            name: {
                "ae_title": tree.node.ae_title,
                "destinations": list(tree.node.destinations),
                "waiting": [
                    {"container": key, "inputs": inputs, "missing": _missing(host, name, key)}
                    for key, inputs in tree.counts().items()
                ],
                "discarded": host.reception.discarded[name],
            }
            for name, tree in host.trees.items()
        },
    }


def recorded_status(ledger: LedgerReader) -> dict[str, Any]:
    """Return what the ledger says, as plain data: counts of instances, jobs and deliveries."""
    pipelines: dict[str, dict[str, dict[str, int]]] = {}
    for (name, instance_state), count in ledger.instance_counts().items():
        pipelines.setdefault(name, {"instances": {}, "jobs": {}})["instances"][instance_state] = count
    for (name, job_state), count in ledger.job_counts().items():
        pipelines.setdefault(name, {"instances": {}, "jobs": {}})["jobs"][job_state] = count
    return {"pipelines": pipelines, "to_deliver": ledger.unsettled_counts()}


def _missing(host: Host, name: str, key: str) -> str | None:
    try:
        return host.trees[name].missing(key)
    except Exception as error:
        return f"{error}"
