"""What says when a job of a pipeline starts here, as plain data for those who operate the host."""

from __future__ import annotations

from typing import Any

from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline


def gathering_rules(configured: ConfiguredPipeline) -> dict[str, Any]:
    """Return what a pipeline waits for, besides what its inputs require.

    Returns
    -------
    dict
        ``settle``, ``open_association_wait`` and ``expires`` in seconds, ``late_images``, ``expected_images``
        (input -> the number, the keyword, ``peer`` or ``function``), and ``choose_series`` (the inputs that
        choose one of several series).
    """
    policy, inputs = configured.policy, configured.kind.inputs
    expected = {name: kind.expectation() for name, kind in inputs.items()}
    return {
        "settle": policy.settle,
        "open_association_wait": policy.open_association_wait,
        "expires": policy.expires,
        "late_images": policy.late_images,
        "expected_images": {name: each for name, each in expected.items() if each is not None},
        "choose_series": [name for name, kind in inputs.items() if kind.chooses_series()],
    }
