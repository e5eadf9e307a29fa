"""The plugin of a job: which jobs share one pipeline object."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.jobs.job_plugin import pipeline_key

JOB = JobDescription(
    id="1",
    identity="identity",
    pipeline="smooth",
    plugin="smooth",
    distribution="smoothing",
    version="1.0",
    settings={"sigma": 2.0, "since": dt.date(2020, 1, 1)},
    container_key="P1",
    inputs={},
    folder="/outbox/1",
    workdir="/work/1",
    created=1000.0,
)


def test_inputs_are_not_looked_at() -> None:
    """The key is made without inputs and checksums, of which there may be many: here they are none at all."""
    unusable: Any = object()
    assert pipeline_key(replace(JOB, inputs=unusable, checksums=unusable)) == pipeline_key(JOB)


def test_the_size_of_the_key_does_not_follow_the_inputs() -> None:
    """A job of 10,000 images has the key of a job of none."""
    images = [(f"/spool/{number}.dcm", {0x00100020: "P1"}) for number in range(10_000)]
    assert pipeline_key(replace(JOB, inputs={"images": images})) == pipeline_key(JOB)


def test_the_description_that_a_worker_has() -> None:
    """What has been sent to a worker has one key with what the worker was sent before."""
    sent = JobDescription.from_json(JOB.to_json())
    assert pipeline_key(sent) == pipeline_key(JobDescription.from_json(replace(JOB, id="2").to_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": "other"},
        {"plugin": "other"},
        {"distribution": "other"},
        {"version": "2.0"},
        {"settings": {"sigma": 3.0, "since": dt.date(2020, 1, 1)}},
        {"settings": {"sigma": 2.0, "since": dt.date(2021, 1, 1)}},
        {"declared": {"inputs": {}}},
        {"disabled": ("other",)},
        {"only": ("smoothing",)},
    ],
)
def test_what_decides(change: dict[str, Any]) -> None:
    """Another pipeline, plugin, version, setting, declaration or choice of plugins is another object."""
    assert pipeline_key(replace(JOB, **change)) != pipeline_key(JOB)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "2"},
        {"attempt": 2},
        {"container_key": "P2"},
        {"folder": "/outbox/2"},
        {"created": 2.0},
        {"timeout": 9.0},
    ],
)
def test_what_does_not_decide(change: dict[str, Any]) -> None:
    """Jobs that differ in nothing else than whose they are share an object."""
    assert pipeline_key(replace(JOB, **change)) == pipeline_key(JOB)
