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
