"""From a job of the ledger to plain data: every field comes from where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.configuration.config import Config, HostTable, PipelineTable, PluginsTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.jobs.describing import describe_job
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.states import JobState
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool_files import SpoolFiles

JOB = JobRecord(
    id=7, identity="identity", pipeline="smooth", container_key="P1", state=JobState.RUNNING, reason="",
    attempts=2, not_before=0.0, created=12.5, changed=13.0, folder="", log="", summary="",
)  # fmt: skip


class Pipeline(AbstractPipeline):
    """One with two inputs."""

    inputs = {"ct": AbstractInput, "pet": AbstractInput}
    timeout = 60.0
    memory = 1000
    resources = {"gpu": 1}

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


def row(number: int, *inputs: str, sha256: str = "") -> InstanceRecord:
    return InstanceRecord(
        path=f"kept/{number}.dcm", pipeline="smooth", container_key="P1", inputs=inputs,
        SOPInstanceUID=f"1.{number}", index={0x00080018: f"1.{number}"}, received=1.0, association="a",
        sha256=sha256,
    )  # fmt: skip


def described(
    *rows: InstanceRecord, environment: Path | None = None, config: Config | None = None, **table: Any
) -> JobDescription:
    registration: Any = SimpleNamespace(name="smooth-it", distribution="acme", version="1.2")
    configured = ConfiguredPipeline(
        name="smooth", pipeline=Pipeline(), ae_title="SMOOTH", destinations=(), table=PipelineTable(**table),
        registration=registration, environment=environment,
    )  # fmt: skip
    data = DataDirectory(Path("/data"))
    given = config or Config()
    return describe_job(JOB, configured, rows, config=given, spool=SpoolFiles(data.spool), data=data)


def test_who_and_where() -> None:
    """Number, attempt and identity are the ledger's; the plugin is the registration's; folders have it."""
    job = described()
    assert (job.id, job.attempt, job.identity, job.container_key, job.created) == (
        "7",
        2,
        "identity",
        "P1",
        12.5,
    )
    assert (job.pipeline, job.plugin, job.distribution, job.version) == ("smooth", "smooth-it", "acme", "1.2")
    assert (job.folder, job.workdir) == ("/data/outbox/job-7-2", "/data/work/job-7")


def test_images_are_given_by_input() -> None:
    """Each input of the pipeline is there, with its images in order; one may be in two."""
    job = described(row(1, "ct"), row(2, "ct", "pet"), row(3, "old"))
    assert {name: [path for path, _index in images] for name, images in job.inputs.items()} == {
        "ct": ["/data/spool/kept/1.dcm", "/data/spool/kept/2.dcm"],
        "pet": ["/data/spool/kept/2.dcm"],
        "old": ["/data/spool/kept/3.dcm"],
    }
    assert job.inputs["ct"][0][1] == {0x00080018: "1.1"}
    assert described(row(1, "ct")).inputs["pet"] == []


def test_checksums_are_of_those_that_have_one() -> None:
    """An image whose checksum was not taken is not compared."""
    assert described(row(1, "ct", sha256="ab"), row(2, "ct")).checksums == {"/data/spool/kept/1.dcm": "ab"}


def test_limits_are_the_pipelines_unless_the_configuration_has_others() -> None:
    """The class says it, and its table may say otherwise."""
    job = described()
    assert (job.timeout, job.memory, job.disk, dict(job.resources)) == (60.0, 1000, Pipeline.disk, {"gpu": 1})
    job = described(timeout=5, memory="1 kB", disk="2 kB", resources={}, iod_check="block")
    assert (job.timeout, job.memory, job.disk, dict(job.resources)) == (5.0, 1024, 2048, {})
    assert job.iod_check == "block"


def test_settings_and_environment() -> None:
    """Settings travel as they are configured, the environment as its path."""
    job = described(environment=Path("/venvs/torch"), settings={"sigma": 1.5})
    assert (job.settings, job.environment) == ({"sigma": 1.5}, "/venvs/torch")
    assert described().environment is None


@pytest.mark.parametrize(("durability", "durable"), [("power", True), ("process", False)])
def test_what_the_configuration_says_of_the_host(durability: Any, durable: bool) -> None:
    """Whether results are synced, and which distributions are left out."""
    config = replace_tables(durability, disabled=("a",), only=("b", "c"))
    job = described(config=config)
    assert (job.durable, job.disabled, job.only) == (durable, ("a",), ("b", "c"))
    assert (described().disabled, described().only) == ((), None)


def replace_tables(durability: Any, **plugins: Any) -> Config:
    return Config(host=HostTable(durability=durability), plugins=PluginsTable(**plugins))


def test_it_is_plain_data() -> None:
    """What is described survives the way to a worker."""
    job = described(row(1, "ct", sha256="ab"), settings={"sigma": 1.5})
    again = JobDescription.from_json(job.to_json())
    assert replace(again, inputs=job.inputs) == job
    assert {name: list(images) for name, images in again.inputs.items()} == dict(job.inputs)
