"""From a job of the ledger to the plain data that an executor carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool_files import SpoolFiles


def describe_job(
    job: JobRecord,
    configured: ConfiguredPipeline,
    rows: Iterable[InstanceRecord],
    *,
    config: Config,
    spool: SpoolFiles,
    data: DataDirectory,
) -> JobDescription:
    """Return a job as plain data, for whatever executes it.

    Parameters
    ----------
    job : JobRecord
        The job.
    configured : ConfiguredPipeline
        Its pipeline.
    rows : iterable of InstanceRecord
        Its inputs.
    config : Config
        The configuration.
    spool : SpoolFiles
        Where the inputs are.
    data : DataDirectory
        Where results are built.
    """
    inputs: dict[str, list[tuple[str, Mapping[int, Any]]]] = {name: [] for name in configured.pipeline.inputs}
    checksums = {}
    for row in rows:
        path = str(spool.path_of(row.path))
        if row.sha256:
            checksums[path] = row.sha256
        for name in row.inputs:
            inputs.setdefault(name, []).append((path, row.index))
    plugins, policy = config.plugins, configured.policy
    return JobDescription(
        id=str(job.id),
        attempt=job.attempts,
        identity=job.identity,
        pipeline=configured.name,
        plugin=configured.registration.name,
        distribution=configured.registration.distribution,
        version=configured.registration.version,
        settings=configured.table.settings,
        declared=configured.table.declaration(),
        container_key=job.container_key,
        inputs=inputs,
        checksums=checksums,
        folder=str(data.outbox / f"job-{job.id}-{job.attempts}"),
        workdir=str(data.work / f"job-{job.id}"),
        created=job.created,
        timeout=policy.timeout,
        memory=policy.memory,
        disk=policy.disk,
        iod_check=policy.iod_check,
        environment=None if configured.environment is None else str(configured.environment),
        resources=dict(policy.resources),
        disabled=plugins.disabled,
        only=plugins.only,
        durable=config.host.durability == "power",
    )
