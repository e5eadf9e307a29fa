"""``host.workers`` in a whole host: how many jobs run at once over all pipelines."""

from __future__ import annotations

from pathlib import Path

from dicomnode.host.foundation.events import Station
from dicomnode.testing.local_host import LocalHost
from sources import ct_slices


def test_jobs_of_several_pipelines_take_turns(tmp_path: Path) -> None:
    """With one worker, a pipeline's job starts when that of the other has its result."""
    pipelines = {name: {"plugin": "smooth", "ae_title": name.upper()} for name in ("one", "two")}
    with LocalHost(tmp_path, pipelines, {"host": {"workers": 1}}) as local:
        for name in pipelines:
            local.send(ct_slices(), name)
        local.wait_for_jobs(2)
        told = [event for event in local.events if event.job]
    changes = [
        "runs" if event.message.startswith("runs") else "built"
        for event in told
        if event.message.startswith("runs") or event.station is Station.BUILT
    ]
    assert changes == ["runs", "built"] * 2
