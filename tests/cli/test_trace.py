"""``trace``: from a result back to its origin and from an input forward, the node up and down."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pydicom
import pytest

from command_line import command, send_to, told, wait_until
from dicomnode.host.upkeep.retention import forget_before
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices

KEYED = (
    PRELUDE
    + """
from pydantic import BaseModel, SecretStr

class Settings(BaseModel):
    token: SecretStr = SecretStr("")
    sigma: float = 1.5

class Pipeline(AbstractPipeline):
    inputs = {"images": VolumeInput}
    Settings = Settings

    def process(self, inputs):
        if (Path(__file__).parent / "fail").exists():
            raise RuntimeError("not today")
        volume = inputs["images"]
        return DicomOutput(NumpyFactory().build_series(inputs.header, volume.with_array(volume.array + 1)))
"""
)
BROKEN = "raise RuntimeError('broken at import')\n"


@pytest.fixture
def site(tmp_path):
    """Return a folder with the plugin `keyed` 3.1 and a broken one, and the environment that finds them."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("keyed", KEYED, version="3.1")
    factory.add("broken", BROKEN, pipelines={"broken": "Pipeline"}, hooks={"broken": ""})
    factory.environment = {"PYTHONPATH": str(factory.folder)}
    return factory


def config_of(results: Path) -> str:
    """Return a configuration with a secret among the settings."""
    return (
        f'[pipelines.keyed]\ndestinations = ["file:{results}"]\nattempts = 1\n'
        'settings = { token = "hush", sigma = 2.5 }\n'
    )


@pytest.mark.parametrize("stopped", [False, True])
def test_a_result_is_traced_to_its_origin_after_its_files_have_gone(tmp_path, site, stopped):
    """Inputs with digest and sender, plugin, version, settings without secrets, packages, deliveries."""
    results, sent = tmp_path / "results", ct_slices()
    with RunningHost(tmp_path / "host", config_of(results), environment=site.environment) as host:
        send_to(host.port, "KEYED", sent)
        host.wait_for_jobs(1)
        host.wait_for_log("inputs released")
        if stopped:
            host.stop()
        on = ("--config", host.config)
        made = [pydicom.dcmread(path) for path in results.rglob("*.dcm")]
        assert len(made) == len(sent)
        wait_until(lambda: not list((host.data / "outbox").iterdir()))  # removed beside the host's work
        assert not list((host.data / "spool").rglob("*.dcm"))

        traced = told("trace", made[0].SOPInstanceUID, *on, **site.environment)
        (job,) = traced["jobs"]
        assert job["uid_is"] == ["result"]
        assert (job["job"], job["pipeline"], job["state"]) == (1, "keyed", "delivered")
        assert job["plugin"] == {"plugin": "keyed", "distribution": "keyed", "version": "3.1"}
        assert job["settings"] == {"token": "**********", "sigma": 2.5}
        assert job["environment"]["packages"]["pydicom"] == pydicom.__version__
        assert job["environment"]["plugins"]["keyed"] == "3.1"
        assert job["run"]["attempt"] == 1
        assert {row["SOPInstanceUID"] for row in job["inputs"]["images"]} == {
            image.SOPInstanceUID for image in sent
        }
        for row in job["inputs"]["images"]:
            assert len(row["sha256"]) == 64
            assert row["SeriesInstanceUID"] == sent[0].SeriesInstanceUID
            assert row["association"]["called"] == "KEYED"
            assert row["association"]["calling"]
            assert row["received"]
        assert {row["SOPInstanceUID"] for row in job["results"]} == {each.SOPInstanceUID for each in made}
        for row in job["results"]:
            assert row["SeriesInstanceUID"] == made[0].SeriesInstanceUID
            (delivery,) = row["deliveries"]
            assert (delivery["destination"], delivery["state"]) == (f"file:{results}", "confirmed")
            assert delivery["confirmed"] >= job["created"]

        for uid, meaning in (
            (made[0].SeriesInstanceUID, ["series of results"]),
            (sent[0].SOPInstanceUID, ["input"]),
            (sent[0].SeriesInstanceUID, ["series of inputs"]),
            (sent[0].StudyInstanceUID, ["study of inputs"]),
        ):
            (same,) = told("trace", uid, *on, **site.environment)["jobs"]
            assert same == {**job, "uid_is": meaning}

        text = command("trace", made[0].SOPInstanceUID, *on, **site.environment).stdout
        for word in (
            "job 1",
            "keyed 3.1",
            "sigma",
            made[0].SeriesInstanceUID,
            sent[0].SOPInstanceUID,
            "Python",
        ):
            assert word in text
        assert "hush" not in text
        assert all(b"hush" not in file.read_bytes() for file in host.data.glob("ledger.sqlite*"))


def test_an_input_is_traced_forward_while_it_waits_and_when_its_job_failed(tmp_path, site):
    """Images that no job has used are told as such; a failed job is found, with its reason."""
    (site.folder / "fail").touch()
    sent = ct_slices()
    config = config_of(tmp_path / "results") + 'settle = "1 h"\n'
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        on = ("--config", host.config)
        send_to(host.port, "KEYED", sent)
        host.stop()
        for uid, count in ((sent[0].SOPInstanceUID, 1), (sent[0].StudyInstanceUID, len(sent))):
            traced = told("trace", uid, *on, **site.environment)
            assert traced["jobs"] == []
            assert [(row["state"], row["pipeline"]) for row in traced["unused"]] == [
                ("waiting", "keyed")
            ] * count
        assert "no job has used" in command("trace", sent[0].SOPInstanceUID, *on, **site.environment).stdout
        host.config.write_text(host.config.read_text().replace("1 h", "100 ms"))
        host.start()
        host.wait_for_jobs(1, "failed")
        (job,) = told("trace", sent[0].SOPInstanceUID, *on, **site.environment)["jobs"]
        assert (job["state"], job["environment"], job["results"]) == ("failed", None, [])
        assert "not today" in job["reason"]
        assert "not today" in command("trace", sent[0].SOPInstanceUID, *on, **site.environment).stdout


def test_a_uid_that_nobody_knows_and_a_word_that_is_none(tmp_path, site):
    """Exit code 1 and one message for the one, 2 for the other, nothing on the output."""
    with RunningHost(
        tmp_path / "host", config_of(tmp_path / "results"), environment=site.environment
    ) as host:
        on = ("--config", host.config)
        for stopped in (False, True):
            if stopped:
                host.stop()
            done = command("trace", "1.2.3", *on, expect=1, **site.environment)
            assert done.stdout == ""
            assert done.stderr == (
                "dicomnode-host: no result and no input with the UID 1.2.3 is known here. Records are kept as"
                " long as retention.records says\n"
            )
        for word in ("", "smooth", "1.2'--"):
            assert "no UID" in command("trace", word, *on, expect=2, **site.environment).stderr


def test_a_job_that_ran_again_has_one_origin_and_old_records_are_removed(tmp_path, site):
    """The newer run replaces the older; environments are stored once, and go with the last job of theirs."""
    config = config_of(tmp_path / "results") + '[retention]\ninputs = "1 d"\n'
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        on = ("--config", host.config)
        send_to(host.port, "KEYED", ct_slices())
        host.wait_for_jobs(1)
        other = ct_slices()
        for image in other:
            image.PatientID = "another"
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID + ".1"
        send_to(host.port, "KEYED", other)
        host.wait_for_jobs(2)
        before = told("trace", ct_slices()[0].SOPInstanceUID, *on, **site.environment)["jobs"]
        command("replay", 1, *on, **site.environment)
        host.wait_for_jobs(2)
        after = told("trace", ct_slices()[0].SOPInstanceUID, *on, **site.environment)["jobs"]
        assert [job["job"] for job in after] == [job["job"] for job in before] == [1]
        results = [[row["SOPInstanceUID"] for row in jobs[0]["results"]] for jobs in (before, after)]
        assert results[0] == results[1]
    with closing(sqlite3.connect(host.data / "ledger.sqlite")) as connection:
        count = lambda table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: E731 - short for one test
        assert (count("job"), count("provenance"), count("environment")) == (2, 2, 1)
        connection.execute("UPDATE job SET changed = 1 WHERE id = 1")
        forget_before(1000.0)(connection)
        assert (count("provenance"), count("environment")) == (1, 1)
        connection.execute("UPDATE job SET changed = 1")
        forget_before(1000.0)(connection)
        assert [count(table) for table in ("provenance", "environment", "result", "source")] == [0] * 4
