"""The commands that look after a node, from ``status`` to ``give-up``: node up or down, plugins broken."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from command_line import command, send_to, told, wait_until
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_schema import MIGRATIONS
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.testing import Faults, send
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices, mr_slices

SMOOTH = "[pipelines.smooth]\n"
PICKY = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        if not Path(__file__).with_suffix(".fixed").exists():
            raise RuntimeError("the model is missing")
        volume = NumpyGrinder()(inputs["images"])
        return DicomOutput(NumpyFactory().build_series(inputs.header, volume.array))
"""
)
"""It fails until its author puts a file beside it."""

LACKING = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"images": VolumeInput}

    def process(self, inputs):
        built = list(NumpyFactory().build_series(inputs.header, inputs["images"]))
        for each in built:
            del each.Modality
        return DicomOutput(built)
"""
)

BROKEN = """
import sys
sys.stderr.write("imported the broken plugin")
raise RuntimeError("broken at import")
"""


def key_of(image: Dataset) -> str:
    """Return the key of the container in which an image gathers where a job is a series."""
    return f"{image.PatientID}/{image.StudyInstanceUID}/{image.SeriesInstanceUID}"


def delivered(results: Path) -> dict[str, bytes]:
    """Return SOP Instance UID -> pixels of what lies in a results folder."""
    found = (pydicom.dcmread(path) for path in results.rglob("*.dcm"))
    return {dataset.SOPInstanceUID: dataset.PixelData for dataset in found}


@pytest.fixture
def site(tmp_path):
    """Return a folder for plugins, with a broken one in it, and the environment that finds it."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("broken", BROKEN, pipelines={"broken": "Pipeline"}, hooks={"broken": ""})
    factory.environment = {"PYTHONPATH": str(factory.folder)}
    return factory


WAITING = (
    PRELUDE
    + """
class Many(AbstractInput):
    expected_images = 99

class Pipeline(AbstractPipeline):
    inputs = {"images": Many}

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.mark.parametrize("by_patient", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_patient_that_waits_is_given_up(tmp_path, site, stopped, by_patient):
    """By the key that `status --patients` shows, or by the patient; host up or down; they may come again."""
    site.add("waiting", WAITING)
    images = ct_slices()
    with RunningHost(tmp_path / "host", "[pipelines.waiting]\n", environment=site.environment) as host:
        send_to(host.port, "WAITING", images)
        if stopped:
            host.stop()
        told_by = lambda *arguments, **more: told(  # noqa: E731 - short for one test
            *arguments, "--config", host.config, **site.environment, **more
        )
        give_up = lambda key: ("give-up", "waiting", key, "--reason", "never made")  # noqa: E731 - short for one test
        status = told_by("status", "--patients")
        (patient,) = status["ledger" if stopped else "host"]["pipelines"]["waiting"]["patients"]
        refused = command(*give_up("nobody"), "--config", host.config, expect=1, **site.environment)
        assert "nothing waits as 'nobody' for the pipeline 'waiting'" in refused.stderr
        name = str(images[0].PatientID) if by_patient else patient["container_key"]
        assert told_by(*give_up(name), SUDO_USER="alice") == {
            "pipeline": "waiting",
            "container_key": name,
            "images": len(images),
            "running": not stopped,
        }
        assert not list((host.data / "spool" / "kept").rglob("*.dcm"))
        with sqlite3.connect(host.data / "ledger.sqlite") as ledger:
            states = ledger.execute("SELECT DISTINCT state, reason FROM instance").fetchall()
        assert states == [("expired", "given up by alice: never made")]
        assert host.text().count("given up by the operator") == (0 if stopped else 1)
        assert "never made" not in host.text()  # the operator's words may name a patient
        if stopped:
            host.start()
        table = told_by("status", "--patients")["ledger"]["pipelines"]["waiting"]
        assert table["waiting"]["patients"] == 0
        assert table["unprocessed"] == {"refused": 0, "discarded": len(images), "held": 0}
        (series,) = table["unprocessed_series"]
        assert (series["SeriesInstanceUID"], series["outcome"], series["images"], series["reason"]) == (
            *(images[0].SeriesInstanceUID, "discarded", len(images), "given up by alice: never made"),
        )
        send_to(host.port, "WAITING", images)
        (again,) = told_by("status", "--patients")["host"]["pipelines"]["waiting"]["patients"]
        assert again["inputs"] == {"images": len(images)}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_delivered_job_is_seen_and_run_again(tmp_path, site, stopped):
    """Whether the host runs or is down: the same answers, the same UIDs; a broken plugin is no hindrance."""
    results = tmp_path / "results"
    config = f'[pipelines.smooth]\ndestinations = ["file:{results}"]\n[retention]\ninputs = "1 d"\n'
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_jobs(1)
        first = delivered(results)
        if stopped:
            host.stop()
        told_by = lambda *arguments: told(*arguments, "--config", host.config, **site.environment)  # noqa: E731 - short for one test

        status = told_by("status")
        assert status["running"] is not stopped
        command("status", "--running", "--config", host.config, expect=int(stopped))
        assert status["ledger"]["pipelines"]["smooth"]["jobs"] == {"delivered": 1}
        assert status["ledger"]["dead_letters"] == 0
        if not stopped:
            assert status["host"]["address"] == f"127.0.0.1:{host.port}"
            assert status["host"]["pipelines"]["smooth"]["ae_title"] == "SMOOTH"
        (job,) = told_by("jobs")
        assert (job["job"], job["pipeline"], job["state"], job["inputs"]) == (1, "smooth", "delivered", 5)
        shown = told_by("show", 1)
        assert shown["container_key"] == key_of(ct_slices()[0])
        assert {row["SOPInstanceUID"] for row in shown["inputs"]["series"]} == {
            image.SOPInstanceUID for image in ct_slices()
        }
        assert {row["SOPInstanceUID"] for row in shown["deliveries"]} == set(first)
        assert [row["to"] for row in shown["history"]] == ["queued", "running", "built", "delivered"]

        assert told_by("replay", 1) == {"job": 1, "state": "queued", "running": not stopped}
        if stopped:
            assert told_by("jobs")[0]["state"] == "queued"
            host.start()
        host.wait_for_jobs(1)
        assert [row["to"] for row in told_by("show", 1)["history"]][4:] == [
            "queued",
            "running",
            "built",
            "delivered",
        ]
        assert delivered(results) == first


@pytest.mark.parametrize("stopped", [False, True])
def test_a_failed_job_is_told_and_runs_again_when_its_cause_is_mended(tmp_path, site, stopped):
    """`jobs --failed` lists it, `show` has its traceback, `replay` runs it with all its attempts."""
    site.add("picky", PICKY)
    config = "[pipelines.picky]\nattempts = 1\n"
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        send_to(host.port, "PICKY", ct_slices())
        host.wait_for_jobs(1, "failed")
        if stopped:
            host.stop()
        (job,) = told("jobs", "--failed", "--config", host.config, **site.environment)
        assert job["state"] == "failed"
        assert job["reason"] == "raised: process of Pipeline raised RuntimeError"
        assert (
            "the model is missing" in told("show", 1, "--config", host.config, **site.environment)["reason"]
        )
        assert (
            "the model is missing" not in command("jobs", "--config", host.config, **site.environment).stdout
        )
        assert "RuntimeError" in told("show", 1, "--config", host.config, **site.environment)["log"]
        assert told("status", "--config", host.config, **site.environment)["ledger"]["dead_letters"] == 1
        assert told("jobs", "--state", "delivered", "--config", host.config, **site.environment) == []
        (site.folder / "picky.fixed").touch()
        command("replay", 1, "--config", host.config, **site.environment)
        if stopped:
            host.start()
        host.wait_for_jobs(1)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_job_is_given_up_with_its_reason(tmp_path, site, stopped):
    """Its inputs leave the disk; the reason is kept, and asked for."""
    site.add("picky", PICKY)
    with RunningHost(
        tmp_path / "host", "[pipelines.picky]\nattempts = 1\n", environment=site.environment
    ) as host:
        send_to(host.port, "PICKY", ct_slices())
        host.wait_for_jobs(1, "failed")
        if stopped:
            host.stop()
        on = ("--config", host.config)
        assert "--reason" in command("discard", 1, *on, expect=2, **site.environment).stderr
        done = told("discard", 1, "--reason", "wrong patient", *on, **site.environment, SUDO_USER="alice")
        assert (done["state"], done["running"]) == ("discarded", not stopped)
        shown = told("show", 1, *on, **site.environment)
        assert (shown["state"], shown["reason"]) == ("discarded", "discarded by alice: wrong patient")
        assert not list((host.data / "spool" / "kept").rglob("*.dcm"))
        refusal = command("discard", 1, "--reason", "again", *on, expect=1, **site.environment).stderr
        assert refusal == "dicomnode-host: job 1 was discarded already\n"
        refusal = command("replay", 1, *on, expect=1, **site.environment).stderr
        assert "job 1 (discarded) cannot run again: 5 of its 5 inputs are not kept any more" in refusal


def test_what_cannot_be_done_is_one_clear_message(tmp_path, site):
    """An unknown number, a job that runs again by itself, no host and no data: what, and what to do."""
    with RunningHost(tmp_path / "host", SMOOTH, environment=site.environment) as host:
        on = ("--config", host.config)
        for stopped in (False, True):
            if stopped:
                host.stop()
            for order in (["show", 7], ["replay", 7], ["discard", 7, "--reason", "x"]):
                done = command(*order, *on, expect=1, **site.environment)
                assert done.stderr == (
                    "dicomnode-host: there is no job 7; `dicomnode-host jobs` lists those that there are\n"
                )
                assert done.stdout == ""
    nowhere = {"DICOMNODE_HOST__DATA": str(tmp_path / "nowhere")}
    for order in (["status"], ["jobs"], ["show", 1], ["replay", 1], ["discard", 1, "--reason", "x"]):
        done = command(*order, expect=3, **nowhere)
        assert f"there is no host, and no data of one, in {tmp_path / 'nowhere'}" in done.stderr
        assert "--config FILE" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_delivered_job_whose_inputs_are_gone_says_how_to_keep_them(tmp_path):
    """Nothing changes then."""
    with RunningHost(tmp_path / "host", SMOOTH) as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_jobs(1)
        host.wait_for_log("5 inputs released")  # the files go after the ledger says delivered
        refusal = command("replay", 1, "--config", host.config, expect=1).stderr
        assert "5 of its 5 inputs are not kept any more" in refusal
        assert "retention.inputs" in refusal
        assert host.jobs()[0]["state"] == "delivered"


def test_a_job_that_is_being_delivered_is_shown_and_given_up(tmp_path):
    """What a destination is owed, why it waits, and when it is tried again; then nothing is owed any more."""
    config = (
        '[peers.PACS]\nae_title = "X"\naddress = "127.0.0.1:9"\n[pipelines.smooth]\ndestinations = ["PACS"]\n'
    )
    with RunningHost(tmp_path / "host", config) as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_log("nothing is sent to PACS")
        on = ("--config", host.config)
        deadline = time.monotonic() + 30
        while not (owed := told("status", *on)["ledger"]["deliveries"]["PACS"])["reason"]:
            assert time.monotonic() < deadline  # it is entered a moment after it is logged
        assert owed["pending"] == 5
        assert "PACS" in owed["reason"]
        assert "PACS" in command("status", *on).stdout
        command("discard", 1, "--reason", "no PACS", *on)
        assert told("status", *on)["ledger"]["deliveries"] == {}
        assert {row["state"] for row in told("show", 1, *on)["deliveries"]} == {"discarded"}


ON_A_THREAD = (
    PRELUDE
    + """
from concurrent.futures import ThreadPoolExecutor
from dicomnode import hookimpl

@hookimpl
def dicomnode_executor(config):
    return ThreadPoolExecutor(1)

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        Path(__file__).with_suffix(".begun").touch()
        while not Path(__file__).with_suffix(".end").exists():
            time.sleep(0.02)
        return FileOutput({"report.txt": "done"})
"""
)
"""A pipeline that ends when its author puts a file beside it, and an executor that cannot end it before."""


def test_a_job_that_cannot_be_ended_is_shown_until_it_has(tmp_path, site):
    """Log and `status` say that it may go on; when it has ended nothing of it is left or delivered."""
    site.add("thread", ON_A_THREAD, pipelines={"thread": "Pipeline"}, hooks={"thread": ""})
    config = f'[pipelines.thread]\ndestinations = ["file:{tmp_path / "results"}"]\n'
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        send_to(host.port, "THREAD", ct_slices())
        deadline = time.monotonic() + 60
        while not (
            site.folder / "thread.begun"
        ).exists():  # before that it would find its inputs gone, and end
            assert time.monotonic() < deadline
            time.sleep(0.02)
        on = ("--config", host.config)
        command("discard", 1, "--reason", "the wrong one", *on, **site.environment)
        host.wait_for_log(
            "what runs it cannot be ended: it may go on running, and its result will be dropped"
        )
        shown = told("status", *on, **site.environment)
        assert shown["host"]["unstoppable_jobs"] == [{"job": 1, "pipeline": "thread"}]
        assert "attention: job 1 was discarded" in command("status", *on, **site.environment).stdout
        (site.folder / "thread.end").touch()
        host.wait_for_log("what ran on has ended; its result is dropped")
        assert told("status", *on, **site.environment)["attention"] == []
        wait_until(lambda: not list((host.data / "outbox").iterdir()))  # removed beside the host's work
    assert not (tmp_path / "results").exists()


def test_a_delivery_that_waits_is_shown_and_tried_now(tmp_path):
    """`status` and `show` say until when a peer gets nothing; `replay` and SIGHUP try at once."""
    config = (
        '[peers.PACS]\nae_title = "X"\naddress = "127.0.0.1:9"\n[pipelines.smooth]\ndestinations = ["PACS"]\n'
        '[delivery]\nfirst_retry = "8 min"\n'
    )
    with RunningHost(tmp_path / "host", config) as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_log("nothing is sent to PACS for .*")
        on = ("--config", host.config)
        owed = told("status", *on)["ledger"]["deliveries"]["PACS"]
        assert datetime.fromisoformat(owed["next"]).timestamp() > time.time() + 400
        assert "no association" in owed["backoff"]
        assert {row["next"] for row in told("show", 1, *on)["deliveries"]} == {owed["next"]}
        assert "job 1 is built: its delivery is tried now" in command("replay", 1, *on).stdout
        host.wait_for_log(r"(?s)(nothing is sent to PACS for .*){2}")
        with socket.create_server(("127.0.0.1", 0)) as mended:
            mended.settimeout(60)
            port = mended.getsockname()[1]
            host.config.write_text(host.config.read_text().replace("127.0.0.1:9", f"127.0.0.1:{port}"))
            host.process.send_signal(signal.SIGHUP)
            mended.accept()[0].close()
        command("discard", 1, "--reason", "no PACS", *on)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_disk_that_is_full_needs_attention(tmp_path, stopped):
    """By the reserve of the running host, whatever this command has; by the configured one if it is down."""
    with RunningHost(tmp_path / "host", SMOOTH, host={"reserve": "1000 TB"}) as host:
        on, other = ("--config", host.config), {"DICOMNODE_HOST__RESERVE": "0"}
        if stopped:
            host.stop()
            other = {}
        status = told("status", *on, **other)
        assert (status["disk"]["refuses_images"], status["disk"]["jobs_wait"]) == (True, True)
        shown = command("status", *on, **other).stdout
        assert "attention: every image is refused (0xA700)" in shown
        assert "attention: no job is started" in shown
        if not stopped:
            assert send(ct_slices()[:1], ("127.0.0.1", host.port), "SMOOTH") == [0xA700]
            (room,) = [row for row in told("check", *on, expect=1, **other) if "in reserve" in row["message"]]
            assert room["verdict"] == "failed"


def test_what_a_complete_patient_waits_for_is_told(tmp_path):
    """The time that has to pass since its last association ended; after an abort, its sender or an order."""
    config = '[pipelines.smooth]\nsettle = "1 h"\nae_title = "GLATT"\n'
    config += '[pipelines.other]\nplugin = "smooth"\nae_title = "OTHER"\nsettle = 0\n'
    with RunningHost(tmp_path / "host", config) as host:
        images, on = ct_slices(), ("--config", host.config)
        send_to(host.port, "GLATT", images)
        host.wait_for_log(r"association from \S+ released: 5 stored")
        send(images, ("127.0.0.1", host.port), "OTHER", faults=Faults(abort_after=len(images)))
        host.wait_for_log("aborted: by itself it completes nothing pipeline=other association=")
        host.wait_for_log("a container is held: an association that brought images of it was aborted")
        status = told("status", "--patients", *on)["host"]["pipelines"]
        (named,) = status["smooth"]["patients"]
        assert (named["missing"], named["held"], status["smooth"]["held"]) == (None, None, {})
        assert 3500 < named["settled_in"] <= 3600
        assert "s more in which no association brings an image of it" in named["waits_for"]
        (named,) = status["other"]["patients"]
        assert (named["missing"], named["held"], status["other"]["held"]) == (
            None,
            "interrupted",
            {"interrupted": 1},
        )
        assert "send them again, or start it with `dicomnode-host process`" in named["waits_for"]
        shown = command("status", "--patients", *on).stdout
        assert "send them again, or start it" in " ".join(shown.split())
        host.stop()
        assert "GLATT" in command("status", *on).stdout


# -- process ----------------------------------------------------------------------------------------------


def test_what_is_held_is_started_as_it_is(tmp_path, site):
    """On the operator's word, which is kept with the job and stands neither in the log nor in `jobs`."""
    site.add("waiting", WAITING)
    images = ct_slices()
    with RunningHost(tmp_path / "host", "[pipelines.waiting]\n", environment=site.environment) as host:
        on = ("--config", host.config)
        send_to(host.port, "WAITING", images)
        host.wait_for_log("a container is held: its inputs are not complete yet")
        patient, reason = str(images[0].PatientID), "five are all that John Doe has"
        order, why = (
            ("process", "waiting", patient, "--reason", reason),
            f"started as it is by alice: {reason}",
        )
        assert told(*order, *on, **site.environment, SUDO_USER="alice") == {
            "pipeline": "waiting",
            "container_key": key_of(images[0]),
        }
        host.wait_for_jobs(1)
        shown = told("show", 1, *on, **site.environment)
        assert len(shown["inputs"]["images"]) == len(images)
        assert (shown["history"][0]["to"], shown["history"][0]["reason"]) == ("queued", why)
        (traced,) = told("trace", images[0].SeriesInstanceUID, *on, **site.environment)["jobs"]
        assert traced["started_because"] == why
        assert why in command("trace", images[0].SeriesInstanceUID, *on, **site.environment).stdout
        assert reason not in command("jobs", *on, **site.environment).stdout
        assert "Doe" not in host.text()


def test_what_cannot_be_started_is_one_clear_message(tmp_path, site):
    """An unknown pipeline, nothing that waits, several containers of a patient, a host that is down."""
    site.add("waiting", WAITING)
    with RunningHost(tmp_path / "host", "[pipelines.waiting]\n", environment=site.environment) as host:
        on = ("--reason", "it is enough", "--config", host.config)

        def refusal(pipeline, patient):
            return command("process", pipeline, patient, *on, expect=1, **site.environment).stderr

        assert refusal("smoth", "P") == "dicomnode-host: there is no pipeline 'smoth'; there are: waiting\n"
        assert refusal("waiting", "P") == (
            "dicomnode-host: nothing waits as 'P' for the pipeline 'waiting'; `dicomnode-host status"
            " --patients` shows what waits\n"
        )
        series, patient = [ct_slices(), mr_slices(2)], str(ct_slices()[0].PatientID)
        for images in series:
            for image in images:
                image.PatientID = patient
            send_to(host.port, "WAITING", images)
        keys = sorted(key_of(images[0]) for images in series)
        assert refusal("waiting", patient) == (
            f"dicomnode-host: 2 containers of '{patient}' wait for the pipeline 'waiting'; name one of them:"
            f" {keys[0]}, {keys[1]}\n"
        )
        done = command("process", "waiting", keys[0], *on, **site.environment)
        assert done.stdout == f"waiting: started {keys[0]} as it is\n"
        assert "Missing option '--reason'" in command("process", "waiting", patient, expect=2).stderr
        host.stop()
        assert refusal("waiting", keys[1]) == (
            f"dicomnode-host: no host runs on {host.data}: a container is started by a running host. Start it"
            " with `dicomnode-host run`, and give the order again\n"
        )


ONE_OF_EACH = (
    PRELUDE
    + """
class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class Pipeline(AbstractPipeline):
    inputs = {"ct": CT}
    gather_by = "study"

    def process(self, inputs):
        return NoOutput()
"""
)


def test_of_several_series_the_operator_names_the_one(tmp_path, site):
    """Without a name nothing is started; the series that are left out are released, and it is told."""
    site.add("one", ONE_OF_EACH)
    first, second = ct_slices(), ct_slices()
    for number, image in enumerate(second):
        image.SeriesInstanceUID = "1.2.3.4"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    with RunningHost(tmp_path / "host", "[pipelines.one]\n", environment=site.environment) as host:
        on = ("--config", host.config)
        send_to(host.port, "ONE", [*first, *second])
        host.wait_for_log("a container is held")
        (named,) = told("status", "--patients", *on, **site.environment)["host"]["pipelines"]["one"][
            "patients"
        ]
        assert "2 series fit, and a job takes one" in named["waits_for"]
        assert "1.2.3.4 (5 images)" in named["waits_for"]
        order = ("process", "one", str(first[0].PatientID), "--reason", "the thin slices", *on)
        refused = command(*order, expect=1, **site.environment).stderr
        assert "2 series fit" in refused
        assert "name the one to process with --series" in refused
        refused = command(*order, "--series", "1.2.3", expect=1, **site.environment).stderr
        assert refused == "dicomnode-host: no image of the series 1.2.3 waits there\n"
        told(*order, "--series", "1.2.3.4", **site.environment)
        host.wait_for_jobs(1)
        given = {row["SOPInstanceUID"] for row in told("show", 1, *on, **site.environment)["inputs"]["ct"]}
        assert given == {image.SOPInstanceUID for image in second}
        (row, *_) = told("trace", first[0].SOPInstanceUID, *on, **site.environment)["unused"]
        assert (row["state"], row["reason"]) == ("expired", "another series was chosen for the job")
        status = told("status", "--patients", *on, **site.environment)
        assert status["host"]["pipelines"]["one"]["waiting"]["images"] == 0
        table = status["ledger"]["pipelines"]["one"]
        assert table["unprocessed"] == {"refused": 0, "discarded": len(first), "held": 0}
        (series,) = table["unprocessed_series"]
        assert series["SeriesInstanceUID"] == first[0].SeriesInstanceUID
        assert series["reason"] == "another series was chosen for the job"
        host.wait_for_log(
            f"queued with 5 images; {len(first)} images of series that were not chosen discarded"
        )


def test_what_the_output_check_warns_of_is_shown(tmp_path, site):
    """`show` lists it; the log has one line a job with the count."""
    site.add("lacking", LACKING)
    with RunningHost(tmp_path / "host", "[pipelines.lacking]\n", environment=site.environment) as host:
        send_to(host.port, "LACKING", ct_slices())
        host.wait_for_jobs(1)
        on = ("--config", host.config)
        warnings = told("show", 1, *on, **site.environment)["warnings"]
        assert any("Modality (Type 1) is missing" in each for each in warnings)
        assert "Modality (Type 1) is missing" in command("show", 1, *on, **site.environment).stdout
        plural = "s" * (len(warnings) != 1)
        assert host.text().count("the output check has") == 1
        assert f"the output check has {len(warnings)} warning{plural}: show 1" in host.text()


def test_patients_are_named_only_where_they_are_asked_for(tmp_path):
    """`status --patients` and `show` name them; `status`, `jobs` and the log do not."""
    with RunningHost(tmp_path / "host", '[pipelines.smooth]\nsettle = "1 h"\n') as host:
        send_to(host.port, "SMOOTH", ct_slices())
        on = ("--config", host.config)
        patient = "98890234"
        for stopped in (False, True):
            if stopped:
                host.stop()
            for arguments in (["status"], ["status", "--json"], ["jobs"], ["jobs", "--json"]):
                assert patient not in command(*arguments, *on).stdout
            waiting = told("status", "--patients", *on)
            pipelines = (waiting["ledger"] if stopped else waiting["host"])["pipelines"]
            (named,) = pipelines["smooth"]["patients"]
            assert (named["container_key"], named["inputs"]) == (key_of(ct_slices()[0]), {"series": 5})
            assert patient in command("status", "--patients", *on).stdout
        assert patient not in host.log.read_text()
        assert "Doe" not in host.log.read_text()


def test_tables_are_for_people(tmp_path, site):
    """Headings, states, times and reasons; control characters from the network are shown as what they are."""
    evil = ct_slices()
    for image in evil:
        image.PatientID = "\x1b[31mevil"
    with RunningHost(tmp_path / "host", SMOOTH, environment=site.environment) as host:
        send_to(host.port, "SMOOTH", evil)
        host.wait_for_jobs(1)
        on = ("--config", host.config)
        status = command("status", *on).stdout
        assert f"listens on 127.0.0.1:{host.port}" in status
        assert "delivered" in status
        jobs = command("jobs", *on).stdout
        assert [
            word for word in ("job", "pipeline", "state", "smooth", "delivered") if word not in jobs
        ] == []
        shown = command("show", 1, *on).stdout
        assert "%1B[31mevil" in shown
        assert "\x1b" not in shown
        assert "every destination confirmed" in shown


def test_a_ledger_that_is_damaged_or_newer_is_told(tmp_path):
    """What to do about it; nothing is changed."""
    with RunningHost(tmp_path / "host", SMOOTH) as host:
        host.stop()
        ledger = host.data / "ledger.sqlite"
        on = ("--config", host.config)
        with sqlite3.connect(ledger) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
        assert "newer dicomnode-host" in command("jobs", *on, expect=3).stderr
        for name in ("-wal", "-shm"):
            ledger.with_name(ledger.name + name).unlink(missing_ok=True)
        ledger.write_bytes(b"this is no database at all" * 100)
        done = command("status", *on, expect=3)
        assert f"the ledger {ledger}" in done.stderr
        assert "rebuilt from the spool" in done.stderr


def test_an_older_ledger_is_brought_up_to_date(tmp_path):
    """After an upgrade, before the first start: the commands work, under the data directory's lock."""
    data = tmp_path / "data"
    data.mkdir()
    with sqlite3.connect(data / "ledger.sqlite") as connection:
        connection.executescript(f"{MIGRATIONS[0]}PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO job VALUES (7, 'i', 'smooth', 'P', 'failed', 'r', 3, 0, 1, 1, '', '')"
        )
    connection.close()
    there = {"DICOMNODE_HOST__DATA": str(data)}
    holder = DataDirectory(data).lock()
    assert "It takes no orders: it is just starting or stopping" in command("jobs", expect=3, **there).stderr
    holder.unlock()
    assert [job["job"] for job in told("jobs", "--failed", **there)] == [7]
    assert told("status", **there)["ledger"]["dead_letters"] == 1


def test_lines_of_the_log_name_association_and_job(tmp_path):
    """As JSON, each line an object; what the receiver says of an association, and what follows from it."""
    with RunningHost(tmp_path / "host", '[log]\nformat = "json"\n[pipelines.smooth]\n') as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_jobs(1)
        host.stop()
        lines = [json.loads(line) for line in host.text().splitlines()]
    of_receiver = [line for line in lines if line["logger"].endswith("receiver.connection")]
    (association,) = {line["association"] for line in of_receiver}
    assert [line["message"].split()[0:2] for line in of_receiver] == [["association", "from"]] * 2
    of_job = [line for line in lines if line.get("station") in {"job", "built", "delivered"}]
    assert {(line["job"], line["pipeline"]) for line in of_job} == {("1", "smooth")}
    by_host = [line for line in of_job if "confirmed by" not in line["message"]]
    assert {line["association"] for line in by_host} == {association}
    assert "delivered: every destination confirmed; 5 inputs released" in {line["message"] for line in of_job}
    with LedgerReader(host.data / "ledger.sqlite").snapshot() as ledger:
        assert ledger.execute("SELECT id FROM association").fetchone()[0] == association


def test_looking_after_a_node_imports_neither_plugins_nor_dicom(tmp_path, site):
    """No plugin, no pydicom, no numpy is imported for an order, which would take a second."""
    with RunningHost(tmp_path / "host", SMOOTH, environment=site.environment) as host:
        host.stop()
        for order in (["status"], ["jobs"], ["show", 1], ["replay", 1], ["discard", 1, "--reason", "x"]):
            done = subprocess.run(
                [
                    *(sys.executable, "-X", "importtime", "-m", "dicomnode.cli", *map(str, order)),
                    *("--json", "--config", str(host.config)),
                ],
                env={**os.environ, **site.environment},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            lines = [line for line in done.stderr.splitlines() if line.startswith("import time")]
            imported = {line.rpartition("|")[2].strip() for line in lines}
            assert "dicomnode.host.operation.operations" in imported
            assert not imported & {"broken", "numpy", "pydicom", "pynetdicom", "dicomnode_example_smooth"}
            assert "imported the broken plugin" not in done.stderr


PUSHED = (
    PRELUDE
    + """
class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class Pipeline(AbstractPipeline):
    inputs = {"images": CT}
    sorts_before_answer = False

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.mark.parametrize("stopped", [False, True])
def test_what_was_put_aside_is_listed_and_removed(tmp_path, site, stopped):
    """Whether the host runs or is down; the text names no patient, and a mistake in usage removes nothing."""
    site.add("pushed", PUSHED)
    with RunningHost(tmp_path / "host", "[pipelines.pushed]\n", environment=site.environment) as host:
        on = ("--config", host.config)
        images = mr_slices()
        send_to(host.port, "PUSHED", images)
        listed = lambda: [row["pipeline"] for row in told("quarantine", *on, **site.environment)]  # noqa: E731 - short for one test
        wait_until(lambda: listed() == ["pushed"] * len(images))  # the ledger may be a moment behind
        if stopped:
            host.stop()
        first, *others = told("quarantine", *on, **site.environment)
        assert (first["pipeline"], first["reason"]) == ("pushed", "images: Modality is MR, not CT")
        assert Path(first["path"]).stat().st_size == first["bytes"]
        text = command("quarantine", *on, **site.environment).stdout
        assert first["name"] in text
        assert str(images[0].PatientID) not in text
        assert str(images[0].PatientName) not in text
        for wrong in ((first["name"],), ("--remove", first["name"]), ("--remove", "--reason", "why")):
            command("quarantine", *wrong, *on, expect=2, **site.environment)
        done = told("quarantine", "--remove", first["name"], "--reason", "tidy", *on, **site.environment)
        assert done == {"removed": 1, "running": not stopped}
        assert not Path(first["path"]).exists()
        assert told("quarantine", *on, **site.environment) == others
        older = ("--remove", "--older", "1 ms", "--reason", "all of it")
        assert told("quarantine", *older, *on, **site.environment)["removed"] == len(others)
        counts = told("status", *on, **site.environment)["ledger"]["pipelines"]["pushed"]["instances"]
        assert counts == {"removed": len(images)}


def test_a_threaded_pipeline_discards_what_it_does_not_want(tmp_path, site):
    """With on_unwanted = "discard" nothing is left of it, in quarantine or ledger; it is counted."""
    site.add("pushed", PUSHED)
    config = '[pipelines.pushed]\non_unwanted = "discard"\n'
    with RunningHost(tmp_path / "host", config, environment=site.environment) as host:
        on = ("--config", host.config)
        images = mr_slices()
        send_to(host.port, "PUSHED", images)

        def pushed():
            return told("status", *on, **site.environment)["ledger"]["pipelines"].get("pushed")

        counted = {"refused": 0, "discarded": len(images), "held": 0}
        wait_until(lambda: (pushed() or {}).get("unprocessed") == counted)
        host.wait_for_log(f"of this association: {len(images)} images of 1 series discarded")
        assert told("quarantine", *on, **site.environment) == []
        assert (pushed()["instances"], pushed()["jobs"]) == ({}, {})
        assert not list((host.data / "spool").rglob("*.dcm"))
        host.stop()
        host.start()
        assert pushed()["unprocessed"] == counted
        (row,) = [
            line
            for line in command("status", *on, **site.environment).stdout.splitlines()
            if line.startswith("pushed")
        ]
        assert row.split()[-3:] == ["0", str(len(images)), "0"]
        series = told("status", "--patients", *on, **site.environment)["ledger"]["pipelines"]["pushed"]
        (one,) = series["unprocessed_series"]
        assert (one["SeriesInstanceUID"], one["images"]) == (images[0].SeriesInstanceUID, len(images))
        assert one["reason"] == "images: Modality is MR, not CT"
        shown = command("status", "--patients", *on, **site.environment).stdout
        assert images[0].SeriesInstanceUID in shown
        assert "images: Modality is MR, not CT" in shown


@pytest.mark.parametrize("receivers", [1, 2])
def test_what_no_job_gets_is_counted_over_a_kill(tmp_path, site, receivers):
    """Refused and held: by pipeline, by series with the reason, and in the log once an association."""
    site.add("pushed", PUSHED.replace("sorts_before_answer = False", "sorts_before_answer = True"))
    site.add("waiting", WAITING)
    config = f"[receiver]\nreceivers = {receivers}\n[pipelines.pushed]\n[pipelines.waiting]\n"
    unwanted, held = mr_slices(4), ct_slices()[:3]
    with RunningHost(tmp_path / "host", config, host={"settle": 0}, environment=site.environment) as host:
        on = ("--config", host.config)

        def pipelines(*more):
            return told("status", *more, *on, **site.environment)["ledger"]["pipelines"]

        for part in (unwanted[:3], unwanted[3:]):
            assert set(send(part, ("127.0.0.1", host.port), "PUSHED")) == {0x0124}
        send_to(host.port, "WAITING", held)
        host.wait_for_log("a container is held: its inputs are not complete yet; 3 images wait")
        told_once = re.findall(r"of this association: (\d) images? of 1 series refused", host.text())
        assert sorted(told_once) == ["1", "3"]
        counted = {"pushed": {"refused": 4, "discarded": 0, "held": 0}}
        counted["waiting"] = {"refused": 0, "discarded": 0, "held": 3}
        for restarted in (False, True):
            if restarted:
                host.kill()
                host.start()
            wait_until(lambda: {name: each["unprocessed"] for name, each in pipelines().items()} == counted)
            named = pipelines("--patients")
            (refused,), (waits,) = (named[name]["unprocessed_series"] for name in ("pushed", "waiting"))
            assert (refused["SeriesInstanceUID"], refused["images"], refused["reason"]) == (
                *(unwanted[0].SeriesInstanceUID, 4, "images: Modality is MR, not CT"),
            )
            assert (waits["SeriesInstanceUID"], waits["images"], waits["reason"]) == (
                *(held[0].SeriesInstanceUID, 3, "images: 3 of 99 images"),
            )
            shown = command("status", *on, **site.environment).stdout
            assert "waiting: 1 container held (1 incomplete); `status --patients` says why" in shown
            assert unwanted[0].SeriesInstanceUID not in shown
