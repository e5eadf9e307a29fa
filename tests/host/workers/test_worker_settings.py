"""What a worker's supervisor is given at its start."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.workers.worker_settings import WorkerSettings

SECONDS = st.floats(min_value=0, max_value=1e6)


@given(
    st.builds(
        WorkerSettings,
        disk=st.none() | st.integers(0, 2**63),
        nice=st.integers(0, 19),
        grace=SECONDS,
        log=st.integers(0, 2**40),
        patience=SECONDS,
    )
)
def test_settings_survive_the_way_to_the_supervisor(settings: WorkerSettings) -> None:
    """A supervisor that reads the JSON of the command line has the very settings that the host has."""
    assert WorkerSettings(**json.loads(json.dumps(settings.to_json()))) == settings
