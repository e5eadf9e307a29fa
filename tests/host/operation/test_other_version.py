"""A job again with another version of its plugin; the worker process and pip are stood in for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import JobFailedError, JobStateError, PluginError
from dicomnode.host.configuration.config import Config
from dicomnode.host.jobs.job_folder import MANIFEST, MANIFEST_FORMAT
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    create_job,
    end_job,
    job_built,
    transition_job,
)
from dicomnode.host.ledger.provenance_ledger import record_provenance
from dicomnode.host.ledger.states import JobState
from dicomnode.host.operation import other_version
from dicomnode.host.operation.other_version import Trial, try_version
from dicomnode.host.operation.result_comparison import Comparison
from dicomnode.host.spool.data_directory import DataDirectory
from ledger_instances import instance

SETTINGS = {"sigma": 1.5}


def write_result(folder: Path, text: str, settings: Any, version: str) -> None:
    """Write the folder of a result that is one file of text."""
    folder.mkdir(parents=True)
    (folder / "report.txt").write_text(text)
    item = {
        "output": "file",
        "path": "report.txt",
        "SOPInstanceUID": "",
        "SOPClassUID": "",
        "TransferSyntaxUID": "",
        "folders": [],
        "file_name": "report.txt",
        "destinations": None,
    }
    manifest = {
        "format": MANIFEST_FORMAT,
        "job": "1",
        "identity": "identity",
        "items": [item],
        "warnings": [],
        "settings": settings,
        "version": version,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


class Bench:
    """A job that was delivered, and stand-ins for pip and the worker process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = DataDirectory(root / "data")
        self.data.outbox.mkdir(parents=True)
        self.ledger = Ledger(self.data.ledger, durable=False)
        self.ledger.write(add_instance(instance("kept/a.dcm", inputs=("images", "mask"), sha256="ab")))
        self.input = self.data.spool / "kept" / "a.dcm"
        self.input.parent.mkdir(parents=True)
        self.input.touch()
        self.installed = {"scaled": "1.5"}
        self.result: Callable[[dict[str, Any]], str | JobFailedError] = lambda _job: "text"
        self.new_settings: Any = SETTINGS
        self.runs: list[tuple[dict[str, Any], str | None]] = []
        self.pools: list[str] = []
        monkeypatch.setattr(other_version, "installed_packages", lambda: self.installed)
        monkeypatch.setattr(other_version, "install_aside", lambda _name, version, _site: version)
        monkeypatch.setattr(other_version, "WorkerPool", self.pool)
        self.number = self.ledger.write(create_job("identity", "three", "P1", ["kept/a.dcm"])).id

    def deliver(self, text: str | None = "text") -> None:
        """End the job as delivered, with a result that is kept, or without one."""
        self.ledger.write(transition_job(self.number, JobState.RUNNING, "attempt 1", attempts=1))
        self.ledger.write(job_built(self.number, "result", []))
        self.ledger.write(end_job(self.number, JobState.DELIVERED, "delivered"))
        manifest = {"plugin": "three", "distribution": "scaled", "version": "1.0", "items": []}
        self.ledger.write(record_provenance(self.number, manifest, str))
        if text is not None:
            write_result(self.data.outbox / "result", text, SETTINGS, "1.0")

    def pool(self, _size: int, *, scratch: Path) -> Any:
        """Take the place of a pool of workers: do a job by writing its result."""
        assert scratch.is_dir()
        bench = self

        class Pool:
            def submit(self, _run: object, job: dict[str, Any]) -> Future[dict[str, str]]:
                bench.runs.append((job, os.environ.get("PYTHONPATH")))
                done: Future[dict[str, str]] = Future()
                result = bench.result(job)
                if isinstance(result, JobFailedError):
                    done.set_exception(result)
                else:
                    write_result(Path(job["folder"]), result, bench.new_settings, job["version"])
                    done.set_result({"folder": job["folder"]})
                return done

            def terminate(self) -> None:
                bench.pools.append("terminated")

        return Pool()

    def try_version(self, version: str = "2.0", number: int | None = None, **pipelines: Any) -> Trial:
        """Try another version; nothing of it must be left."""
        config = Config.model_validate({"pipelines": pipelines or {"three": {"settings": SETTINGS}}})
        try:
            return try_version(
                config, self.data, self.ledger, self.number if number is None else number, version
            )
        finally:
            assert not self.data.work.is_dir() or list(self.data.work.iterdir()) == []


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield a bench, and close its ledger."""
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.ledger.close()


def test_an_equal_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result that was kept is compared with the new one; the new version is first on the path."""
    monkeypatch.setenv("PYTHONPATH", "/before")
    bench.deliver()
    trial = bench.try_version()
    assert trial.equal
    assert (trial.distribution, trial.old, trial.new, trial.recorded) == ("scaled", "1.0", "2.0", "1.0")
    assert (trial.recomputed, trial.old_failure, trial.settings) == (False, None, None)
    ((job, path),) = bench.runs
    site, before = str(path).split(os.pathsep)
    assert (Path(site).name, before) == ("site", "/before")
    assert os.environ["PYTHONPATH"] == "/before"
    assert bench.pools == ["terminated"]
    assert (job["version"], job["identity"], job["settings"]) == ("2.0", "identity", SETTINGS)
    assert list(job["inputs"]) == ["images", "mask"]
    assert job["checksums"] == {str(bench.input): "ab"}


def test_another_result(bench: Bench) -> None:
    """What is different is told; the ledger and the old result stay as they were."""
    bench.deliver()
    bench.result = lambda _job: "other text"
    trial = bench.try_version()
    assert not trial.equal
    assert trial.comparison is not None
    assert trial.comparison.files == ["report.txt"]
    job = bench.ledger.job(bench.number)
    assert job is not None
    assert job.state is JobState.DELIVERED
    assert (bench.data.outbox / "result" / "report.txt").read_text() == "text"


def test_a_result_that_is_gone_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the version that is installed, without anything in front of it."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    bench.deliver(None)
    trial = bench.try_version()
    assert (trial.recomputed, trial.old, trial.new, trial.equal) == (True, "1.5", "2.0", True)
    assert [(job["version"], path is None) for job, path in bench.runs] == [("2.0", False), ("1.5", True)]
    assert "PYTHONPATH" not in os.environ


def test_settings_that_are_not_the_same_are_told(bench: Bench) -> None:
    """Both of them."""
    bench.deliver()
    bench.new_settings = {"sigma": 2.5}
    trial = bench.try_version()
    assert trial.settings == (SETTINGS, {"sigma": 2.5})
    assert trial.to_json()["settings"] == {"old": SETTINGS, "new": {"sigma": 2.5}}


def test_a_job_that_fails_with_the_old_version(bench: Bench) -> None:
    """There is nothing to compare with, and the reason is told."""
    bench.deliver(None)
    bench.result = lambda job: JobFailedError("no lung") if job["version"] == "1.5" else "text"
    trial = bench.try_version()
    assert (trial.comparison, trial.equal) == (None, False)
    assert trial.old_failure == f"job {bench.number} fails with scaled 1.5: no lung"
    assert trial.to_json()["comparison"] is None


def test_a_plugin_that_is_not_installed_and_no_result(bench: Bench) -> None:
    """The new version is tried all the same."""
    bench.deliver(None)
    bench.installed = {}
    trial = bench.try_version()
    assert trial.old_failure == "scaled is not installed, and the job's result is not kept"
    assert (trial.new, trial.old) == ("2.0", "")


def test_a_job_that_fails_with_the_new_version(bench: Bench) -> None:
    """The error keeps its kind and the end of the log."""
    bench.deliver()
    bench.result = lambda _job: JobFailedError("no model", "timeout", "its last words")
    with pytest.raises(JobFailedError) as raised:
        bench.try_version()
    assert str(raised.value) == f"job {bench.number} fails with scaled 2.0: no model"
    assert (raised.value.kind, raised.value.log_tail) == ("timeout", "its last words")
    assert bench.pools == ["terminated"]


def test_a_result_that_cannot_be_read(bench: Bench) -> None:
    """It is told, and not taken for another result."""
    bench.deliver()
    (bench.data.outbox / "result" / MANIFEST).write_text("no manifest")
    with pytest.raises(JobStateError, match="holds no result"):
        bench.try_version()


def test_a_job_that_is_not_there_or_not_over(bench: Bench) -> None:
    """The message says which, and nothing is installed."""
    with pytest.raises(JobStateError) as raised:
        bench.try_version(number=99)
    assert str(raised.value) == "there is no job 99; `dicomnode-host jobs` lists those that there are"
    with pytest.raises(JobStateError) as raised:
        bench.try_version()
    assert str(raised.value) == (
        f"job {bench.number} is queued: it can be done with another version once it has been done"
    )
    assert bench.runs == []


def test_inputs_that_are_gone(bench: Bench) -> None:
    """The message says how many, and which setting keeps them."""
    bench.deliver()
    bench.input.unlink()
    with pytest.raises(JobStateError) as raised:
        bench.try_version()
    assert str(raised.value) == (
        f"job {bench.number} (delivered) cannot be done again: 1 of its 1 inputs are not kept any more."
        " retention.inputs (such as '14 d') keeps those of later jobs"
    )


def test_a_job_of_which_no_input_is_known(bench: Bench) -> None:
    """Its rows are gone, too."""
    bench.number = bench.ledger.write(create_job("other", "three", "P2", [])).id
    bench.deliver()
    with pytest.raises(JobStateError, match="cannot be done again: its inputs are not kept any more"):
        bench.try_version()


def test_a_pipeline_that_is_not_configured_any_more(bench: Bench) -> None:
    """Its settings are not known."""
    bench.deliver()
    with pytest.raises(JobStateError) as raised:
        bench.try_version(another={})
    assert str(raised.value) == (
        f"the configuration has no pipeline 'three' any more, which job {bench.number} is of"
    )


def test_a_pipeline_in_an_environment_of_its_own(bench: Bench, tmp_path: Path) -> None:
    """Another version is tried in the host's environment only."""
    bench.deliver()
    with pytest.raises(JobStateError, match=r"^pipelines\.three lives in an environment of its own: "):
        bench.try_version(three={"environment": str(tmp_path)})


def test_a_plugin_that_nobody_knows(bench: Bench) -> None:
    """Neither what is installed nor the record of the job says whose it is."""
    bench.deliver()
    bench.ledger.write(record_provenance(bench.number, {"plugin": "three", "items": []}, str))
    with pytest.raises(PluginError, match="'three'"):
        bench.try_version()


def test_a_trial_as_plain_data() -> None:
    """Every field, and whether both are equal."""
    trial = Trial(1, "scaled", "1.0", "2.0", None, False, None, None, Comparison(compared=3))
    assert json.loads(json.dumps(trial.to_json())) == {
        "job": 1,
        "distribution": "scaled",
        "old": "1.0",
        "new": "2.0",
        "recorded": None,
        "recomputed": False,
        "old_failure": None,
        "settings": None,
        "equal": True,
        "comparison": Comparison(compared=3).to_json(),
    }
