"""A job again with another version of its plugin: beside the host, with nothing sent and nothing entered.

The other version is installed into a folder of its own, which a worker process has in front on its path. Job,
inputs and settings are the same, and so are the UIDs of the result.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from dicomnode.errors import JobFailedError, JobStateError, OutputError, PluginError
from dicomnode.host.configuration.config import Config, PipelineTable
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.jobs.job import JobDescription, run_job
from dicomnode.host.jobs.job_folder import Manifest, read_manifest
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.provenance_ledger import provenance_of
from dicomnode.host.ledger.states import JobState
from dicomnode.host.operation.result_comparison import Comparison, Side, compare_results
from dicomnode.host.operation.side_by_side_install import install_aside
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.plugins.registry import Registry, installed_packages


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a job with another version.

    Attributes
    ----------
    job : int
        Which job.
    distribution : str
        The plugin's distribution.
    old, new : str
        The versions that were compared.
    recorded : str or None
        The version that made the job's result, as far as that is known.
    recomputed : bool
        Whether the old result was gone, and was made again with the version that is installed.
    old_failure : str or None
        Why there is no old result: the job failed with the old version.
    settings : tuple of (Any, Any) or None
        The old and new settings, without secrets, where they are not the same.
    comparison : Comparison or None
        What is different; ``None`` when there is no old result.
    """

    job: int
    distribution: str
    old: str
    new: str
    recorded: str | None
    recomputed: bool
    old_failure: str | None
    settings: tuple[Any, Any] | None
    comparison: Comparison | None

    @property
    def equal(self) -> bool:
        """Whether both results are the same."""
        return self.comparison is not None and self.comparison.equal

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "job": self.job,
            "distribution": self.distribution,
            "old": self.old,
            "new": self.new,
            "recorded": self.recorded,
            "recomputed": self.recomputed,
            "old_failure": self.old_failure,
            "settings": self.settings and {"old": self.settings[0], "new": self.settings[1]},
            "equal": self.equal,
            "comparison": None if self.comparison is None else self.comparison.to_json(),
        }


def try_version(
    config: Config, data: DataDirectory, ledger: LedgerReader, number: int, version_or_path: str
) -> Trial:
    """Do a job that is over with another version of its plugin, and compare the results.

    Parameters
    ----------
    config : Config
        The host's configuration.
    data : DataDirectory
        The host's data.
    ledger : LedgerReader
        Its ledger; nothing is entered.
    number : int
        The job.
    version_or_path : str
        A version, which pip finds where it is configured to look, or a wheel or source tree.

    Raises
    ------
    JobStateError
        When the job is not there or not over, or its inputs have gone.
    PluginError
        When the other version cannot be installed, or is another plugin.
    JobFailedError
        When the job fails with it.
    """
    job = _finished(ledger, number)
    rows = tuple(ledger.instances(job=number))
    table = _table(config, job)
    with ledger.snapshot() as connection:
        record, _ = provenance_of(connection, number) or ({}, {})
    data.work.mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="replay-", dir=data.work))
    try:
        installed = _described(config, table, job, record, _files(job, rows, SpoolFiles(data.spool)))
        site = folder / "site"
        version = install_aside(installed.distribution, version_or_path, site)
        new = _run(_placed(installed, folder / "new", version), site)
        old, failure = _old(job, installed, data.outbox, folder / "old")
        settings = None
        if old is not None and old.manifest.plain.get("settings") != new.plain.get("settings"):
            settings = (old.manifest.plain.get("settings"), new.plain.get("settings"))
        return Trial(
            job=number,
            distribution=installed.distribution,
            old=installed.version if old is None else old.version,
            new=version,
            recorded=record.get("version"),
            recomputed=not _has_result(job, data.outbox),
            old_failure=failure,
            settings=settings,
            comparison=None if old is None else compare_results(old, Side(new, version)),
        )
    finally:
        remove_or_move_aside(folder)


# -- the job ----------------------------------------------------------------------------------------------


def _finished(ledger: LedgerReader, number: int) -> JobRecord:
    job = ledger.job(number)
    if job is None:
        msg = f"there is no job {number}; `dicomnode-host jobs` lists those that there are"
        raise JobStateError(msg)
    if job.state in {JobState.QUEUED, JobState.RUNNING}:
        msg = f"job {number} is {job.state.value}: it can be done with another version once it has been done"
        raise JobStateError(msg)
    return job


def _table(config: Config, job: JobRecord) -> PipelineTable:
    table = PipelineTable() if config.pipelines is None else config.pipelines.get(job.pipeline)
    if table is None:
        msg = f"the configuration has no pipeline {job.pipeline!r} any more, which job {job.id} is of"
        raise JobStateError(msg)
    if table.environment is not None:
        msg = (
            f"pipelines.{job.pipeline} lives in an environment of its own: another version is tried in"
            " the host's environment only. Try it on a host without that setting"
        )
        raise JobStateError(msg)
    return table


@dataclass(frozen=True, slots=True)
class _Files:
    """The inputs of a job, as its description wants them."""

    inputs: Mapping[str, list[tuple[str, Mapping[int, Any]]]]
    checksums: Mapping[str, str]


def _files(job: JobRecord, rows: Sequence[InstanceRecord], spool: SpoolFiles) -> _Files:
    gone = sum(not spool.path_of(row.path).is_file() for row in rows)
    if gone or not rows:
        lost = f"{gone} of its {len(rows)} inputs are" if rows else "its inputs are"
        msg = (
            f"job {job.id} ({job.state.value}) cannot be done again: {lost} not kept any more."
            " retention.inputs (such as '14 d') keeps those of later jobs"
        )
        raise JobStateError(msg)
    inputs: dict[str, list[tuple[str, Mapping[int, Any]]]] = {}
    for row in rows:
        for name in row.inputs:
            inputs.setdefault(name, []).append((str(spool.path_of(row.path)), row.index))
    return _Files(inputs, {str(spool.path_of(row.path)): row.sha256 for row in rows if row.sha256})


def _described(
    config: Config, table: PipelineTable, job: JobRecord, record: Mapping[str, Any], files: _Files
) -> JobDescription:
    """Return the job with the plugin as it is installed; where its result goes is said later."""
    plugin = str(record.get("plugin") or table.process or table.plugin or job.pipeline)
    distribution, version = _owner(config, plugin, record)
    return JobDescription(
        id=str(job.id),
        attempt=max(1, job.attempts),
        identity=job.identity,
        pipeline=job.pipeline,
        plugin=plugin,
        distribution=distribution,
        version=version,
        settings=table.settings,
        declared=table.declaration(),
        container_key=job.container_key,
        inputs=files.inputs,
        checksums=files.checksums,
        folder="",
        workdir="",
        created=job.created,
        timeout=table.timeout,
        memory=table.memory,
        disk=table.disk,
        iod_check=table.iod_check or "warn",
        disabled=config.plugins.disabled,
        only=config.plugins.only,
        durable=False,
    )


def _owner(config: Config, plugin: str, record: Mapping[str, Any]) -> tuple[str, str]:
    """Return the distribution of a plugin, and its version as it is installed (empty if it is not)."""
    registry = Registry(config.plugins.disabled, config.plugins.only)
    try:
        registration = registry.registration("pipelines", plugin)
    except PluginError:  # a function that the configuration names, or what is installed is broken
        if not record.get("distribution"):
            raise
        distribution = str(record["distribution"])
        installed = {canonicalize_name(name): version for name, version in installed_packages().items()}
        return distribution, installed.get(canonicalize_name(distribution), "")
    return registration.distribution, registration.version


def _placed(job: JobDescription, folder: Path, version: str) -> JobDescription:
    folder.mkdir()
    return replace(job, version=version, folder=str(folder / "result"), workdir=str(folder / "work"))


# -- running ----------------------------------------------------------------------------------------------


def _run(job: JobDescription, site: Path | None) -> Manifest:
    """Do a job in a worker process, with a folder in front on its path."""
    with _in_front(site):
        pool = WorkerPool(1, scratch=Path(job.folder).parent)
        try:
            done = pool.submit(run_job, job.to_json()).result()
        except JobFailedError as error:
            msg = f"job {job.id} fails with {job.distribution} {job.version}: {error}"
            raise JobFailedError(msg, error.kind, error.log_tail) from error
        finally:
            pool.terminate()
    return read_manifest(Path(done["folder"]))


@contextmanager
def _in_front(site: Path | None) -> Iterator[None]:
    """Let processes that are started find what lies in a folder before everything else."""
    before = os.environ.get("PYTHONPATH")
    if site is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(site), before)))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _has_result(job: JobRecord, outbox: Path) -> bool:
    return bool(job.folder) and (outbox / job.folder).is_dir()


def _old(
    job: JobRecord, installed: JobDescription, outbox: Path, folder: Path
) -> tuple[Side | None, str | None]:
    """Return the result that the job had, else what the installed version makes, else why it makes none."""
    if _has_result(job, outbox):
        try:
            manifest = read_manifest(outbox / job.folder)
        except OutputError as error:
            raise JobStateError(str(error)) from error
        return Side(manifest, str(manifest.plain.get("version") or installed.version)), None
    if not installed.version:
        return None, f"{installed.distribution} is not installed, and the job's result is not kept"
    try:
        return Side(_run(_placed(installed, folder, installed.version), None), installed.version), None
    except JobFailedError as error:
        return None, str(error)
