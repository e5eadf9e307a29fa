"""``dicomnode-host config``: what is in force, from where, with secrets hidden."""

from __future__ import annotations

import datetime as dt
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import command, told
from dicomnode.cli.config import toml_value
from dicomnode.host.configuration.config_loading import load_config
from plugin_factory import PRELUDE, PluginFactory

SECRETIVE = (
    PRELUDE
    + """
from pydantic import BaseModel
from dicomnode import Secret

class Settings(BaseModel):
    token: Secret
    url: str = "https://example.org"
    size: int = 3

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings
    timeout = 77.0

    def process(self, inputs):
        return NoOutput()
"""
)

UNSAID = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"ct": Images, "pet": Images}

    def process(self, inputs):
        return NoOutput()
"""
)
SAID = (
    PRELUDE
    + """
class Counted(Images):
    expected_images = "NumberOfSlices"

class Pipeline(AbstractPipeline):
    inputs = {"images": Counted}
    gather_by = ("PatientID", "AccessionNumber")
    settle = 3.0
    open_association_wait = 4.0
    late_images = "join"

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
        return image.Modality

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.fixture
def plugins(tmp_path):
    """Return a folder for plugins that are installed."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("secretive", SECRETIVE)
    with factory.installed():
        yield factory


def values(file, expect=0, **environment):
    """Return key -> (value, origin), the file without its folder."""
    rows = told("config", "--config", file, expect=expect, **environment)
    return {row["key"]: (row["value"], row["origin"].replace(f"{file.parent}/", "")) for row in rows}


def test_each_value_says_where_it_comes_from(tmp_path, plugins):
    """A line of the file, a variable, the pipeline's class, or a default."""
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        '[host]\nbind = "127.0.0.1:4242"\n\n[pipelines.secretive]\nsettings = { token = "t", size = 4 }\n'
        'retry_after = "1 min"\n'
    )
    found = values(file, DICOMNODE_HOST__DRAIN="5 s")
    assert found["host.bind"] == ("127.0.0.1:4242", "dicomnode.toml:2")
    assert found["host.drain"] == (5.0, "DICOMNODE_HOST__DRAIN")
    assert found["host.ae_title"] == ("DICOMNODE", "default")
    whose = "Pipeline of secretive 1.0"
    assert found["pipelines.secretive.timeout"] == (77.0, whose)
    assert found["pipelines.secretive.retry_after"] == (60.0, "dicomnode.toml:6")
    assert found["pipelines.secretive.ae_title"] == ("SECRETIVE", "default")
    assert found["pipelines.secretive.settings.size"] == (4, "dicomnode.toml:5")
    assert found["pipelines.secretive.settings.url"] == ("https://example.org", whose)


def test_what_one_job_is_and_when_it_starts_is_shown(tmp_path, plugins):
    """Where it follows from the inputs, too; what a pipeline leaves to the host, with its origin there."""
    plugins.add("unsaid", UNSAID)
    plugins.add("said", SAID)
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        '[host]\nsettle = "9 s"\n[pipelines.unsaid]\n[pipelines.said]\n'
        '[pipelines.here]\nplugin = "said"\ngather_by = ["PatientID"]\nsettle = 0\nlate_images = "new"\n'
    )
    found = values(file)
    keys = ("gather_by", "settle", "open_association_wait", "late_images")
    unsaid, said, here = (
        [found[f"pipelines.{name}.{key}"] for key in keys] for name in ("unsaid", "said", "here")
    )
    assert unsaid == [
        ("study", "inputs of Pipeline of unsaid 1.0"),
        (9.0, "host.settle (dicomnode.toml:2)"),
        (120.0, "host.open_association_wait (default)"),
        ("hold", "Pipeline of unsaid 1.0"),
    ]
    whose = "Pipeline of said 1.0"
    assert said == [(["PatientID", "AccessionNumber"], whose), (3.0, whose), (4.0, whose), ("join", whose)]
    assert here == [
        (["PatientID"], "dicomnode.toml:7"),
        (0.0, "dicomnode.toml:8"),
        (4.0, whose),
        ("new", "dicomnode.toml:9"),
    ]
    shown = command("config", "--config", file).stdout
    assert '# inputs.images.expected_images = "NumberOfSlices"' in shown
    assert "[pipelines.said.inputs" not in shown  # it would declare another pipeline
    printed = tmp_path / "printed.toml"
    printed.write_text(shown, encoding="utf-8")
    assert {key: value for key, (value, _) in values(printed).items()} == {
        key: value for key, (value, _) in found.items()
    }


def test_keys_of_the_plugins_own_are_no_gather_by(tmp_path, plugins):
    """The class says what one job is: the configuration shows that, and may not say otherwise."""
    plugins.add("own", OWN_KEYS)
    file = tmp_path / "dicomnode.toml"
    file.write_text("[pipelines.own]\n")
    assert values(file)["pipelines.own.gather_by"] == (None, "container_key of Pipeline of own 1.0")
    file.write_text('[pipelines.own]\ngather_by = "study"\n')
    reason = values(file)["pipelines.own.settings"][1]
    assert "pipelines.own.gather_by: it would change nothing: Pipeline.container_key says" in reason


def test_a_gather_by_that_dicom_does_not_have_is_told_with_its_line(tmp_path, plugins):
    """When the configuration is looked at, not when the first image comes."""
    plugins.add("unsaid", UNSAID)
    file = tmp_path / "dicomnode.toml"
    file.write_text('[pipelines.unsaid]\ngather_by = "institute"\n')
    reason = values(file)["pipelines.unsaid.settings"][1]
    assert "dicomnode.toml:2: pipelines.unsaid.gather_by: gather_by names 'institute'" in reason


@pytest.mark.parametrize("written", ['"swordfish"', '{ env = "TOKEN" }', '{ file = "TMP/token" }'])
def test_no_secret_is_shown(tmp_path, plugins, written):
    """The core's and a pipeline's own, wherever they are kept: asterisks, in the table and in JSON."""
    (tmp_path / "token").write_text("swordfish\n")
    written = written.replace("TMP", str(tmp_path))
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        f'[peers.PACS]\nae_title = "X"\ntls = {{ key_password = {written} }}\n'
        f"[pipelines.secretive]\nsettings = {{ token = {written} }}\n"
    )
    found = values(file, TOKEN="swordfish")
    assert found["pipelines.secretive.settings.token"][0] == "**********"
    assert found["peers.PACS.tls.key_password"][0] == "**********"
    for arguments in ((), ("--json",)):
        assert "swordfish" not in command("config", *arguments, "--config", file, TOKEN="swordfish").stdout


def test_settings_of_a_plugin_that_cannot_be_had_are_hidden(tmp_path, plugins):
    """Nobody knows which of them are secret; the reason is told, and all else is shown."""
    plugins.add("broken", "raise RuntimeError('no GPU')")
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        '[pipelines.broken]\ntimeout = 5\nsettings = { token = "swordfish" }\n'
        '[pipelines.secretive]\nsettings = { token = "swordfish", sze = 1 }\n'
    )
    found = values(file)
    assert "no GPU" in found["pipelines.broken.settings"][1]
    assert found["pipelines.broken.timeout"] == (5.0, "dicomnode.toml:2")
    assert "sze: unknown setting" in found["pipelines.secretive.settings"][1]
    assert "swordfish" not in command("config", "--config", file).stdout


def test_what_is_printed_is_a_configuration_that_says_the_same(tmp_path):
    """It can be put into a file: the same values are in force then."""
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        '[host]\ndata = "data"\nallow = ["10.0.0.0/8", "PACS"]\nresources = { gpu = 1 }\n'
        '[log]\nfile = "x \\"quoted\\" \\u00fc.log"\n'
        '[peers.PACS]\nae_title = "P"\naddress = "[::1]:4242"\ntls = { authorities = "a.pem" }\n'
        '[pipelines."my-smooth"]\nplugin = "smooth"\ndestinations = ["PACS", "file:/r"]\n'
        "settings = { sigma = 2.5 }\n"
    )
    printed = tmp_path / "printed.toml"
    printed.write_text(command("config", "--config", file).stdout, encoding="utf-8")
    first, second = (
        [(row["key"], row["value"]) for row in told("config", "--config", each)] for each in (file, printed)
    )
    assert first == second
    assert load_config(printed, {}).peers == load_config(file, {}).peers


def test_without_pipelines_in_the_file_every_installed_one_is_shown(tmp_path):
    """As it would run."""
    file = tmp_path / "dicomnode.toml"
    file.write_text("")
    found = values(file)
    assert found["pipelines.smooth.settings.sigma"] == (1.5, "Smooth of dicomnode-example-smooth 0.1.0")


def test_a_wrong_configuration_is_told_as_ever(tmp_path):
    """With exit code 2."""
    file = tmp_path / "dicomnode.toml"
    file.write_text("[host]\nbnd = 1")
    assert "did you mean bind?" in command("config", "--config", file, expect=2).stderr


PLAIN = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab- \"'ü", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_toml_values_are_read_back(value):
    """Whatever plain data is written is read as the same."""
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


def test_dates_are_written_as_text():
    """As JSON has it, in which settings travel."""
    assert toml_value(dt.date(2026, 1, 2)) == '"2026-01-02"'
