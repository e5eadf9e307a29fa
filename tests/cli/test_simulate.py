"""``dicomnode-host simulate``: the node's own state machine on a folder, no sockets, a virtual clock."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from command_line import command, send_to, told, write_images
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices, mr_slices, pet_slices

PETCT = (
    PRELUDE
    + """
class CT(AbstractInput):
    required_values = {"Modality": "CT"}
    expected_images = 5

class PET(AbstractInput):
    required_values = {"Modality": "PT"}

class Pipeline(AbstractPipeline):
    inputs = {"ct": CT, "pet": PET}

    def process(self, inputs):
        report = f"{len(inputs['ct'])} CT, {len(inputs['pet'])} PET, process {os.getpid()}"
        return FileOutput({"report.txt": report})
"""
)
STUDY = f"{ct_slices()[0].PatientID}/{ct_slices()[0].StudyInstanceUID}"
"""The key of the container of a study."""

LATER = (
    PRELUDE
    + """
class MR(AbstractInput):
    required_values = {"Modality": "MR"}

class Pipeline(AbstractPipeline):
    inputs = {"images": MR}
    sorts_before_answer = False

    def process(self, inputs):
        raise RuntimeError("the model is missing")
"""
)


SECRETIVE = (
    PRELUDE
    + """
from pydantic import BaseModel, field_validator
from dicomnode import Secret

class Settings(BaseModel):
    token: Secret

    @field_validator("token")
    @classmethod
    def _known(cls, value):
        if value.get_secret_value() != "swordfish":
            raise ValueError("the server does not know it")
        return value

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings

    def process(self, inputs):
        assert self.settings.token.get_secret_value() == "swordfish"
        return NoOutput()
"""
)


@pytest.fixture
def plugins(tmp_path):
    """Have the plugins of these tests installed."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("petct", PETCT)
    factory.add("later", LATER)
    with factory.installed():
        yield factory


@pytest.fixture
def study(tmp_path):
    """Return a folder with a CT and a PET series of one study, and a file that is not DICOM."""
    ct, pet = ct_slices(), pet_slices(2)
    for image in pet:
        image.PatientID, image.StudyInstanceUID = ct[0].PatientID, ct[0].StudyInstanceUID
    write_images(tmp_path / "study" / "1-ct", ct)
    write_images(tmp_path / "study" / "2-pet", pet)
    (tmp_path / "study" / "notes.txt").write_text("no DICOM")
    return tmp_path / "study"


@pytest.fixture
def configured(tmp_path):
    """Return what writes a configuration."""

    def write(text):
        file = tmp_path / "dicomnode.toml"
        file.write_text(text)
        return file

    return write


def images(answer):
    """Return the entries of images."""
    return [entry for entry in answer["timeline"] if "image" in entry]


def test_each_image_says_who_takes_it_and_a_job_comes_of_them(study, plugins):
    """Status, inputs with their reasons, what starts the job, its results and what the checks find."""
    answer = told("simulate", "petct", study)
    assert answer["succeeded"] is True
    assert [Path(each).name for each in answer["skipped"]] == ["notes.txt"]
    assert {entry["status"] for entry in images(answer)} == {0}
    assert [entry["inputs"] for entry in images(answer)] == [
        *[{"ct": None, "pet": "Modality is CT, not PT"}] * 5,
        *[{"ct": "Modality is PT, not CT", "pet": None}] * 2,
    ]
    (job,) = answer["jobs"]
    assert (job["state"], job["inputs"]) == ("delivered", {"ct": 5, "pet": 2})
    assert [result["file_name"] for result in job["results"]] == ["report.txt"]
    assert answer["waiting"] == []
    assert job["container_key"] == STUDY
    assert job["started_because"] == "every input is complete and nothing more comes"


def test_the_table_is_for_people(study, plugins):
    """Images that share a fate share a line."""
    shown = command("simulate", "petct", study).stdout
    assert "PETCT (petct of petct 1.0), by a virtual clock" in shown
    assert "association 1: 5 images, 1-ct/0000.dcm to 1-ct/0004.dcm  0x0000" in shown
    assert "pet: no, Modality is CT, not PT" in shown
    assert f"job 1 of patient container {STUDY} (5 in ct, 2 in pet): delivered" in shown
    assert "started because every input is complete and nothing more comes" in shown
    assert "1 files are not DICOM" in shown


def test_the_results_are_those_of_the_node_itself(tmp_path):
    """Instance by instance, under the same UIDs: it is the same code that decides."""
    write_images(tmp_path / "in", ct_slices())
    results = tmp_path / "results"
    config = f'[pipelines.smooth]\ndestinations = ["file:{results}"]\nsettings = {{ sigma = 3 }}\n'
    with RunningHost(tmp_path / "host", config) as host:
        send_to(host.port, "SMOOTH", ct_slices())
        host.wait_for_jobs(1)
        command("simulate", "smooth", tmp_path / "in", "--out", tmp_path / "out", "--config", host.config)
        assert len(host.jobs()) == 1

    def pixels(folder):
        found = (pydicom.dcmread(path) for path in folder.rglob("*.dcm"))
        return {dataset.SOPInstanceUID: dataset.PixelData for dataset in found}

    assert pixels(tmp_path / "out") == pixels(results)


def test_nothing_goes_over_a_network(study, plugins, monkeypatch):
    """No socket of an internet family is made; peers of the configuration are not called."""
    made = []
    plain = socket.socket.__init__

    def watched(self, family=-1, *arguments, **options):
        made.append(family)
        plain(self, family, *arguments, **options)

    monkeypatch.setattr(socket.socket, "__init__", watched)
    command("simulate", "petct", study)
    assert not {socket.AF_INET, socket.AF_INET6} & set(made)


def test_virtual_time_passes_at_once(tmp_path, study, plugins, configured):
    """An hour of settling and the ten days after which what waits expires need no wait."""
    config = configured('[pipelines.petct]\nsettle = "1 h"\n')
    answer = told("simulate", "petct", study, "--config", config)
    assert answer["succeeded"]
    (queued,) = (entry for entry in answer["timeline"] if "queued" in entry.get("event", ""))
    last = images(answer)[-1]["at"]
    assert queued["at"] == pytest.approx(last + 3600, abs=0.1)
    (study / "1-ct" / "0000.dcm").unlink()
    config = configured('[pipelines.petct]\nexpires = "10 d"\n')
    answer = told("simulate", "petct", study, "--config", config, expect=1)
    (expired,) = (entry for entry in answer["timeline"] if "expired" in entry.get("event", ""))
    assert expired["at"] == pytest.approx(images(answer)[-1]["at"] + 864_000, abs=0.1)
    assert answer["waiting"] == []


@pytest.mark.parametrize(
    "options",
    [
        ("--associations", "image", "--interleave"),
        ("--associations", "image", "--order", "shuffle"),
        ("--associations", "series", "--interleave"),
        ("--associations", "one", "--order", "reverse", "--duplicate", "2"),
    ],
    ids=" ".join,
)
def test_the_jobs_are_the_same_whatever_the_associations(study, plugins, options):
    """Of one association, of one each series, of one an image: one job, of all images."""
    plain = told("simulate", "petct", study, "--associations", "one")
    answer = told("simulate", "petct", study, *options)
    for each in (plain, answer):
        for job in each["jobs"]:
            del job["results"]  # made by the process that says so in the report
    assert answer["jobs"] == plain["jobs"]
    assert [job["inputs"] for job in answer["jobs"]] == [{"ct": 5, "pet": 2}]


def test_what_holds_a_job_back_is_told(study, plugins, configured):
    """Where associations are further apart than the settling time, what comes after the start is late."""
    config = configured('[pipelines.smooth]\nsettle = "2 s"\n')
    options = ("--associations", "image", "--gap", "3", "--config", config)
    for file in (study / "2-pet").iterdir():
        file.unlink()
    answer = told("simulate", "smooth", study, *options)
    assert [job["inputs"] for job in answer["jobs"]] == [{"series": 1}]
    (waiting,) = answer["waiting"]
    assert (waiting["held"], waiting["inputs"]) == ("late", {"series": 4})
    assert waiting["waits_for"] == "they came after job 1 of the same container had started"
    held = [entry for entry in answer["timeline"] if "is held" in entry.get("event", "")]
    assert held[0]["event"] == (
        "a container is held: they came after job 1 of the same container had started; 1 image waits"
    )


def test_an_abort_completes_nothing(study, plugins):
    """What was aborted waits; sent again, as senders do, it is known and makes the job."""
    options = ("--associations", "one", "--abort", "6")
    answer = told("simulate", "petct", study, *options, "--no-resend", expect=1)
    assert answer["jobs"] == []
    assert [entry["ends"] for entry in answer["timeline"] if "ends" in entry] == ["aborted"]
    (waiting,) = answer["waiting"]
    assert (waiting["inputs"], waiting["missing"]) == ({"ct": 5, "pet": 1}, None)
    assert waiting["held"] == "interrupted"
    assert "send them again, or start it with `dicomnode-host process`" in waiting["waits_for"]
    shown = command("simulate", "petct", study, *options, "--no-resend", expect=1).stdout
    assert f"held: {waiting['held']}: {waiting['waits_for']}" in shown
    answer = told("simulate", "petct", study, *options)
    assert [job["inputs"] for job in answer["jobs"]] == [{"ct": 5, "pet": 2}]
    again = [entry for entry in images(answer) if entry["reason"] == "it is here already"]
    assert len(again) == 6


def test_duplicates_count_once(study, plugins):
    """Answered with Success, kept once."""
    answer = told("simulate", "petct", study, "--duplicate", "2")
    assert len(images(answer)) == 7 + 3
    assert {entry["status"] for entry in images(answer)} == {0}
    assert answer["jobs"][0]["inputs"] == {"ct": 5, "pet": 2}


def test_refusals_tell_why(tmp_path, plugins):
    """A rule, an image that the receiver cannot read, a SOP class that nobody accepts."""
    good, foreign, private = ct_slices()[0], mr_slices(1)[0], ct_slices()[1]
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = "1.2.3.4"
    _, _, _, cut = write_images(tmp_path / "in", [good, foreign, private, ct_slices()[2]])
    cut.write_bytes(cut.read_bytes()[:-99])
    answer = told("simulate", "petct", tmp_path / "in", expect=1)
    by_file = {Path(entry["image"]).name: entry for entry in images(answer)}
    assert by_file["0000.dcm"]["status"] == 0
    assert by_file["0001.dcm"]["status"] == 0x0124
    assert by_file["0001.dcm"]["inputs"] == {"ct": "Modality is MR, not CT", "pet": "Modality is MR, not PT"}
    assert by_file["0002.dcm"]["status"] is None
    assert "1.2.3.4" in by_file["0002.dcm"]["reason"]
    assert by_file["0003.dcm"]["status"] & 0xF000 == 0xC000
    assert answer["waiting"][0]["missing"] == "ct: 1 of 5 images; pet: no image yet"


def test_a_job_that_fails_is_told_with_its_log(tmp_path, plugins):
    """Once, whatever the attempts; also of a pipeline that sorts after the answer."""
    write_images(tmp_path / "in", [*mr_slices(2), ct_slices()[0]])
    answer = told("simulate", "later", tmp_path / "in", expect=1)
    assert [entry["status"] for entry in images(answer)] == [0, 0, 0]
    assert images(answer)[2]["inputs"] == {"images": "Modality is CT, not MR"}
    (job,) = answer["jobs"]
    assert job["state"] == "failed"
    assert "RuntimeError: the model is missing" in job["log"]
    assert "the model is missing" in command("simulate", "later", tmp_path / "in", expect=1).stdout


@pytest.mark.parametrize("here", [False, True])
def test_jobs_run_in_a_worker_or_in_this_process(tmp_path, study, plugins, here):
    """As the node runs them, or where a debugger finds them."""
    options = ["--in-process"] if here else []
    command("simulate", "petct", study, "--out", tmp_path / "out", *options)
    (report,) = (tmp_path / "out").rglob("report*")
    assert report.read_text().endswith(f"process {os.getpid()}") is here


def test_a_secret_setting_reaches_the_plugin_and_nobody_else(tmp_path, plugins, configured, monkeypatch):
    """The worker takes it from where it is kept; neither the report nor a failure shows it."""
    plugins.add("secretive", SECRETIVE)
    monkeypatch.setenv("TOKEN", "swordfish")
    write_images(tmp_path / "in", ct_slices()[:1])
    config = configured('[pipelines.secretive]\nsettings = { token = { env = "TOKEN" } }\n')
    done = command("simulate", "secretive", tmp_path / "in", "--config", config, "--json", TOKEN="swordfish")
    assert '"succeeded": true' in done.stdout
    assert "swordfish" not in done.stdout
    refusal = command("simulate", "secretive", tmp_path / "in", "--config", config, expect=2, TOKEN="wrong")
    assert "token" in refusal.stderr
    assert "wrong" not in refusal.stderr


def test_each_destination_has_a_folder_of_its_own(tmp_path, configured):
    """Where results go to several."""
    write_images(tmp_path / "in", ct_slices())
    config = configured(
        '[peers.PACS]\nae_title = "P"\naddress = "127.0.0.1:9"\n'
        '[pipelines.smooth]\ndestinations = ["PACS", "file:/srv/results"]\n'
    )
    command("simulate", "smooth", tmp_path / "in", "--out", tmp_path / "out", "--config", config)
    folders = sorted(folder.name.split("~")[0] for folder in (tmp_path / "out").iterdir())
    assert folders == ["PACS", "file_srv_results"]
    assert all(len(list(folder.rglob("*.dcm"))) == 5 for folder in (tmp_path / "out").iterdir())


def test_two_patients_at_once_are_two_jobs(tmp_path):
    """Sent in turn over two associations, in any order."""
    other = ct_slices()
    for image in other:
        image.PatientID, image.SOPInstanceUID = "OTHER", generate_uid()
        image.SeriesInstanceUID = "1.2.3.4.5"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    write_images(tmp_path / "in" / "a", ct_slices())
    write_images(tmp_path / "in" / "b", other)
    answer = told("simulate", "smooth", tmp_path / "in", "--interleave", "--order", "shuffle", "--seed", "3")
    patients = sorted(job["container_key"].partition("/")[0] for job in answer["jobs"])
    assert patients == ["98890234", "OTHER"]
    assert answer["succeeded"]
    numbers = [entry["association"] for entry in images(answer)]
    assert numbers == [1, 2] * 5


def test_what_cannot_be_simulated_is_told(tmp_path, configured):
    """No such pipeline, no DICOM file, settings that are wrong: one message, exit code 2."""
    write_images(tmp_path / "in", ct_slices()[:1])
    assert "registers 'nothing'" in command("simulate", "nothing", tmp_path / "in", expect=2).stderr
    (tmp_path / "empty").mkdir()
    assert "there is no DICOM file" in command("simulate", "smooth", tmp_path / "empty", expect=2).stderr
    config = configured('[pipelines.smooth]\nsettings = { sigma = "x" }')
    refusal = command("simulate", "smooth", tmp_path / "in", "--config", config, expect=2).stderr
    assert "dicomnode.toml:2: pipelines.smooth.settings.sigma" in refusal
