"""``dicomnode-host explain FILE``: who takes a file, and which rule refuses it with which value."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from command_line import command, send_to, told, write_images
from dicomnode.testing import send
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices, pet_slices

PETCT = (
    PRELUDE
    + """
class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class PET(AbstractInput):
    required_values = {"Modality": "PT", "Units": {"BQML", "CNTS"}}

    def validate_image(self, image):
        if image.Rows > 100:
            return f"{image.Rows} rows are too many"

class Pipeline(AbstractPipeline):
    inputs = {"ct": CT, "pet": PET}

    def process(self, inputs):
        return NoOutput()
"""
)
FRAGILE = (
    PRELUDE
    + """
class Images(AbstractInput):
    def validate_image(self, image):
        raise KeyError("no such table")

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        return NoOutput()
"""
)
OWN_KEYS = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def container_key(self, image):
        return f"all of {image.Modality}"

    def process(self, inputs):
        return NoOutput()
"""
)
CONFIG = '[pipelines.petct]\nae_title = "PETCT"\n[pipelines.smooth]\n[pipelines.fragile]\n'


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """Have the plugins of these tests installed, here and in hosts."""
    factory = PluginFactory(tmp_path_factory.mktemp("plugins"))
    factory.add("petct", PETCT)
    factory.add("fragile", FRAGILE)
    with factory.installed():
        yield factory


@pytest.fixture
def config(tmp_path, plugins):
    """Return a configuration file of a host that does not run."""
    file = tmp_path / "dicomnode.toml"
    file.write_text(f'[host]\ndata = "{tmp_path}/data"\n{CONFIG}')
    return file


def by_pipeline(answer):
    """Return what is told of each pipeline, by its name."""
    return {each["pipeline"]: each for each in answer["pipelines"]}


def test_each_pipeline_and_input_says_what_it_makes_of_a_file(tmp_path, config):
    """Who takes it, whose it is, what would still be missing; who does not, by which rule and value."""
    (file,) = write_images(tmp_path / "ct", ct_slices()[:1])
    answer = told("explain", file, "--config", config)
    assert (answer["taken"], answer["live"], answer["refused"]) == (True, False, None)
    petct = by_pipeline(answer)["petct"]
    assert (petct["taken"], petct["ae_title"]) == (True, "PETCT")
    assert petct["inputs"] == {"ct": None, "pet": "Units is missing or empty"}
    assert petct["missing"] == "pet: no image yet"
    assert by_pipeline(answer)["smooth"]["missing"] is None


def test_what_one_job_is_and_the_key_of_its_container_are_told(tmp_path, config):
    """A study for two inputs, a series for one, and what the configuration says, in JSON and in words."""
    config.write_text(config.read_text() + 'gather_by = ["PatientID", "Modality"]\n')
    image = ct_slices()[0]
    (file,) = write_images(tmp_path / "ct", [image])
    patient, study, series = image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID
    found = by_pipeline(told("explain", file, "--config", config))
    assert {name: (each["gather_by"], each["container_key"]) for name, each in found.items()} == {
        "petct": ("study", f"{patient}/{study}"),
        "smooth": ("series", f"{patient}/{study}/{series}"),
        "fragile": ("PatientID, Modality", None),
    }
    shown = command("explain", file, "--config", config).stdout
    assert f"    one job is one study; the container of this one is\n      {patient}/{study}\n" in shown
    assert f"      {patient}/{study}/{series}\n" in shown
    assert "    it starts by: settle 5 s, open_association_wait 120 s, late_images hold\n" in shown


def test_keys_of_the_plugins_own_are_told(tmp_path, plugins):
    """Where the class makes the key, `gather_by` is not what one job is."""
    plugins.add("own", OWN_KEYS)
    file = tmp_path / "own.toml"
    file.write_text("[pipelines.own]\n")
    (image,) = write_images(tmp_path / "ct", ct_slices()[:1])
    (own,) = told("explain", image, "--config", file)["pipelines"]
    assert (own["gather_by"], own["container_key"]) == ("container_key", "all of CT")
    assert "one job is what has the same container_key" in command("explain", image, "--config", file).stdout


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Units": "GML"}, "Units is GML, not BQML or CNTS"),
        ({"Modality": "NM"}, "Modality is NM, not PT"),
        ({"Rows": 400}, "400 rows are too many"),
    ],
)
def test_the_rule_and_the_value_are_named(tmp_path, config, values, reason):
    """Exit code 1 where nobody takes it, with the status that its sender would see."""
    image = pet_slices(1)[0]
    for keyword, value in values.items():
        setattr(image, keyword, value)
    if "Rows" in values:
        image.PixelData = bytes(2 * 400 * image.Columns)
    (file,) = write_images(tmp_path / "pet", [image])
    answer = told("explain", file, "--pipeline", "petct", "--config", config, expect=1)
    (petct,) = answer["pipelines"]
    assert petct["status"] == 0x0124
    assert petct["inputs"]["pet"] == reason
    shown = command("explain", file, "--pipeline", "petct", "--config", config, expect=1).stdout
    assert f"pet: no, {reason}" in shown
    assert "PETCT (petct) does not take it: answered with 0x0124" in shown


def test_a_rule_that_raises_is_told_with_what_it_raised(tmp_path, config):
    """As its author needs it: type and text."""
    (file,) = write_images(tmp_path / "ct", ct_slices()[:1])
    fragile = by_pipeline(told("explain", file, "--config", config))["fragile"]
    assert (fragile["taken"], fragile["status"]) == (False, 0x0110)
    assert fragile["reason"] == "the validation of input 'images' raised KeyError (KeyError: 'no such table')"


def test_what_the_receiver_refuses_is_told_before_any_pipeline(tmp_path, config):
    """No DICOM file, a transfer syntax or SOP class that is not accepted, an image without a patient."""
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM")
    answer = told("explain", text, "--config", config, expect=1)
    assert answer["refused"]["status"] is None
    assert "it cannot be sent: not a DICOM file" in answer["refused"]["reason"]
    deflated = get_testdata_file("image_dfl.dcm")
    answer = told("explain", deflated, "--config", config, expect=1)
    assert "Deflated Explicit VR Little Endian" in answer["refused"]["reason"]
    assert "receiver.deflated" in answer["refused"]["reason"]
    image = ct_slices()[0]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.3.4"
    (file,) = write_images(tmp_path / "private", [image])
    assert "1.2.3.4" in told("explain", file, "--config", config, expect=1)["refused"]["reason"]
    image = ct_slices()[0]
    image.PatientID = ""
    (file,) = write_images(tmp_path / "nobody", [image])
    for each in told("explain", file, "--config", config, expect=1)["pipelines"]:
        assert each["reason"] == "PatientID (0010,0020) is missing or empty"
    assert "Is a directory" not in command("explain", tmp_path, "--config", config, expect=2).stdout


def test_a_pipeline_that_is_not_there_is_told(tmp_path, config):
    """With those that are."""
    (file,) = write_images(tmp_path / "ct", ct_slices()[:1])
    refusal = command("explain", file, "--pipeline", "nothing", "--config", config, expect=2).stderr
    assert (
        "no pipeline is called 'nothing'; there are: petct (PETCT), smooth (SMOOTH), fragile (FRAGILE)"
        in refusal
    )


def test_a_pipeline_may_be_called_by_its_ae_title(tmp_path, config):
    """As `explain` itself names it."""
    (file,) = write_images(tmp_path / "ct", ct_slices()[:1])
    (found,) = told("explain", file, "--pipeline", "PETCT", "--config", config)["pipelines"]
    assert found["pipeline"] == "petct"


def test_a_file_is_judged_by_its_data_set(tmp_path, config):
    """Senders say what the data set says: pydicom's rtplan.dcm, whose meta information names another."""
    file = get_testdata_file("rtplan.dcm")
    answer = told("explain", file, "--pipeline", "petct", "--config", config, expect=1)
    assert answer["refused"] is None
    assert answer["SOPInstanceUID"] == pydicom.dcmread(file).SOPInstanceUID
    assert answer["pipelines"][0]["status"] == 0x0124


def test_another_instance_of_a_uid_that_is_here_is_told(tmp_path, plugins):
    """The status is the one that a sender gets, whatever the inputs would say of it."""
    images = ct_slices()
    with RunningHost(tmp_path / "host", CONFIG) as host:
        send_to(host.port, "PETCT", images[:1])
        other = images[0].copy()
        other.Modality = "NM"
        (file,) = write_images(tmp_path / "files", [other])
        on = ("--pipeline", "petct", "--config", host.config)
        (petct,) = told("explain", file, *on, expect=1)["pipelines"]
        assert [petct["status"]] == send([other], ("127.0.0.1", host.port), "PETCT") == [0xC020]
        shown = command("explain", file, *on, expect=1).stdout
        assert "answered with 0xc020" in shown
        assert "SOP instance is here with other content" in shown


def test_the_running_host_counts_what_waits(tmp_path, plugins):
    """What is still missing, and whether the instance is here; no image is kept out by others."""
    images = ct_slices()
    with RunningHost(tmp_path / "host", CONFIG) as host:
        send_to(host.port, "PETCT", images[:2])
        stranger = images[2]
        stranger.SeriesInstanceUID = generate_uid()
        first, other = write_images(tmp_path / "files", [images[0], stranger])
        on = ("--pipeline", "petct", "--config", host.config)
        answer = told("explain", first, *on)
        assert answer["live"] is True
        (petct,) = answer["pipelines"]
        assert (petct["here"], petct["missing"]) == ("waiting", "pet: no image yet")
        assert "here already: waiting" in command("explain", first, *on).stdout
        (petct,) = told("explain", other, *on)["pipelines"]
        assert petct["inputs"]["ct"] is None
        assert "ct: 2 series fit, and a job takes one" in petct["missing"]
        assert host.ask("status")["pipelines"]["petct"]["waiting"]["images"] == 2
