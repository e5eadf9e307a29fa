"""``dicomnode-host check``: configuration, plugins, address, disk, ledger and peers."""

from __future__ import annotations

import os
import socket

import pytest

from certificates import make_certificate
from command_line import command, send_to, told
from peer_programs import storescp
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices


@pytest.fixture
def configured(tmp_path):
    """Return what writes a configuration with a free port and a data directory of its own."""

    def write(text="", data="data", bind="127.0.0.1:0"):
        file = tmp_path / "dicomnode.toml"
        file.write_text(f'[host]\ndata = "{data}"\nbind = "{bind}"\nreserve = 0\n{text}')
        return file

    return write


def findings(file, check=None, expect=0, **environment):
    """Return (verdict, message) of what was checked, by what it was."""
    rows = told("check", "--config", file, expect=expect, **environment)
    return {row["what"]: (row["verdict"], row["message"]) for row in rows if check in {None, row["check"]}}


def test_a_sound_node_that_was_never_started(configured, tmp_path):
    """Everything is ok, nothing is made, exit code 0; a table for people."""
    file = configured("[pipelines.smooth]\n")
    found = findings(file)
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert found["smooth"][1].startswith("dicomnode-example-smooth 0.1.0, called SMOOTH, to file:")
    assert found["127.0.0.1:0"] == ("ok", "the address is free")
    assert not (tmp_path / "data").exists()
    shown = command("check", "--config", file).stdout
    assert "the address is free" in shown


SECRETIVE = (
    PRELUDE
    + """
from dataclasses import dataclass
from dicomnode import Secret

@dataclass(frozen=True)
class Settings:
    token: Secret

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings

    def process(self, inputs):
        return NoOutput()
"""
)


def test_a_secret_of_the_service_alone_is_no_failure_while_the_host_runs(tmp_path):
    """A variable that this command lacks is named, in a warning; without a host that runs it is a failure."""
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("secretive", SECRETIVE)
    there = {"PYTHONPATH": str(plugins.folder)}
    config = '[pipelines.secretive]\nsettings = { token = { env = "MYTOKEN" } }\n'
    given = {**there, "MYTOKEN": "swordfish"}
    with RunningHost(tmp_path / "host", config, environment=given) as host, plugins.installed():
        verdict, message = findings(host.config, "pipelines")["secretive"]
        assert verdict == "warning"
        assert "MYTOKEN" in message
        assert "the running host has been given it" in message
        host.stop()
        verdict, message = findings(host.config, "pipelines", expect=1)["secretive"]
        assert verdict == "failed"
        assert "the environment has no variable MYTOKEN" in message


def test_a_wrong_configuration_is_a_finding_for_each_thing(configured):
    """Exit code 2, and no other check."""
    file = configured("drain = 'soon'\nbnd = 1\n")
    rows = told("check", "--config", file, expect=2)
    assert [row["verdict"] for row in rows] == ["failed", "failed"]
    assert "host.drain" in rows[0]["message"]
    assert "did you mean bind?" in rows[1]["message"]


def test_a_broken_plugin_fails_only_who_needs_it(configured, tmp_path):
    """One that ends its process at import is told like any other; the pipelines that need it fail."""
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("fatal", "import os\n_ = (lambda: os._exit(7))()\nPipeline = 1")
    plugins.add(
        "sound", PRELUDE + "class Pipeline(AbstractPipeline):\n    inputs = {'i': Images}\n    process = 1\n"
    )
    with plugins.installed():
        found = findings(configured("[pipelines.sound]\n"))
        assert found["fatal 1.0"] == ("warning", "importing it ended the process (exit status 7)")
        assert found["sound"][0] == "ok"
        found = findings(configured("[pipelines.fatal]\n[pipelines.sound]\n"), "pipelines", expect=1)
        assert found["fatal"][0] == "failed"
        assert "exit status 7" in found["fatal"][1]
        assert found["sound"][0] == "ok"


SEVERAL = """
[pipelines.absent]
[pipelines.smooth]
settings = { sigma = "wide", colour = 3 }
[pipelines.other]
plugin = "smooth"
ae_title = "SMOOTH"
"""


def test_all_that_is_wrong_with_pipelines_is_told_at_once(configured):
    """By `check` and `run` alike: unknown plugins, every wrong setting, and AE titles that are taken."""
    file = configured(SEVERAL, bind="0.0.0.0:0")
    wrong = [
        f"{file}:6: pipelines.absent: no installed plugin registers 'absent'",
        f"{file}:8: pipelines.smooth.settings.colour: unknown setting; Smooth",
        f"{file}:8: pipelines.smooth.settings.sigma: Input should be a valid number",
        f"{file}:11: pipelines.other.ae_title: pipelines 'smooth' and 'other' are both called 'SMOOTH'",
        f"{file}:3: host.bind: the receiver would listen",
    ]
    rows = told("check", "--config", file, expect=1)
    failed = [row["message"] for row in rows if row["verdict"] == "failed"]
    lines = command("run", "--config", file, expect=2).stderr.splitlines()
    for line, message, expected in zip(lines, failed, wrong, strict=True):
        assert message.startswith(expected)
        assert line.removeprefix("dicomnode-host: ").strip().startswith(expected)


@pytest.mark.parametrize(
    ("text", "what", "told_of_it"),
    [
        ('[pipelines.smooth]\nsettings = { sigma = "wide" }', "smooth", "pipelines.smooth.settings.sigma: "),
        ("[pipelines.absent]", "absent", "no installed plugin registers 'absent'"),
        (
            "".join(f'[pipelines.{name}]\nplugin = "smooth"\nae_title = "X"\n' for name in "ab"),
            "b",
            "dicomnode.toml:10: pipelines.b.ae_title: pipelines 'a' and 'b' are both called 'X'",
        ),
    ],
)
def test_a_pipeline_that_cannot_run_is_told(configured, text, what, told_of_it):
    """With the key of the configuration, or the name that is missing."""
    verdict, message = findings(configured(text), "pipelines", expect=1)[what]
    assert verdict == "failed"
    assert told_of_it in message


def test_an_address_that_is_taken_is_told(configured):
    """And an address that would be open to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = f"127.0.0.1:{server.getsockname()[1]}"
        verdict, message = findings(configured("[pipelines.smooth]", bind=bind), "receiver", expect=1)[bind]
    assert (verdict, "Address already in use" in message) == ("failed", True)
    verdict, message = findings(configured("[pipelines.smooth]", bind="0.0.0.0:0"), "receiver", expect=1)[
        "0.0.0.0:0"
    ]
    assert (verdict, "for everybody" in message) == ("failed", True)


def test_certificates_that_cannot_be_used_are_told(configured):
    """Before a start stumbles over them."""
    file = configured('[tls]\ncertificate = "none.pem"\nkey = "none.key"\n[pipelines.smooth]\n')
    verdict, message = findings(file, "receiver", expect=1)["127.0.0.1:0"]
    assert verdict == "failed"
    assert "none.pem" in message


def test_the_disk_is_looked_at(configured, tmp_path, monkeypatch):
    """Room, permissions, network file systems, folders that results cannot be written to."""
    (tmp_path / "file").write_text("")
    file = configured("[pipelines.smooth]\n", data="file/data")
    verdict, message = findings(file, "data", expect=1)[str(tmp_path / "file/data")]
    assert (verdict, "is no folder" in message) == ("failed", True)

    (tmp_path / "data").mkdir(mode=0o755)
    file = configured('[pipelines.smooth]\ndestinations = ["file:/proc/results"]\n')
    rows = told("check", "--config", file, expect=1, DICOMNODE_HOST__RESERVE="900 TB")
    told_of = {(row["check"], row["verdict"]): row["message"] for row in rows}
    assert "others may enter it (mode 0755)" in told_of["data", "warning"]
    assert "every image would be refused" in told_of["data", "failed"]
    if os.geteuid():
        assert told_of["destinations", "failed"] == "/proc cannot be written by this user"


@pytest.mark.peers
def test_peers_are_asked_for_an_echo(configured, tmp_path):
    """One that answers, one that is not there, one that is silent: all at once."""
    with storescp(tmp_path / "pacs") as pacs:
        silent = socket.create_server(("127.0.0.1", 0))
        silent_port = silent.getsockname()[1]
        peers = {
            "GOOD": (pacs.port, ""),
            "GONE": (9, ""),
            "SILENT": (silent_port, "timeout = '500 ms'"),
        }
        text = "".join(
            f'[peers.{name}]\nae_title = "{name}"\naddress = "127.0.0.1:{port}"\n{more}\n'
            for name, (port, more) in peers.items()
        )
        found = findings(configured(f"{text}[pipelines.smooth]\n"), "peers", expect=1)
        silent.close()
    by_name = {what.split(" ")[0]: told_of_it for what, told_of_it in found.items()}
    assert by_name["GOOD"][0] == "ok"
    assert by_name["GOOD"][1].startswith("it answers C-ECHO (")
    assert by_name["GONE"][0] == "failed"
    assert "Connection refused" in by_name["GONE"][1]
    assert by_name["SILENT"][0] == "failed"


def test_a_peer_over_tls_is_asked_over_tls(configured, tmp_path):
    """With the certificates that results are sent with; this host is the peer."""
    certificate, key = make_certificate(tmp_path, "localhost")
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n[pipelines.smooth]\n'
    with RunningHost(tmp_path / "peer", tls) as host:
        address = f'ae_title = "DICOMNODE"\naddress = "127.0.0.1:{host.port}"\ncertificate = "localhost"\n'
        text = (
            f'[peers.TLS]\n{address}tls = {{ authorities = "{certificate}" }}\n[peers.PLAIN]\n{address}'
            "timeout = 2\n[pipelines.smooth]\n"
        )
        found = findings(configured(text), "peers", expect=1)
    by_name = {what.split(" ")[0]: verdict for what, (verdict, _) in found.items()}
    assert by_name == {"TLS": "ok", "PLAIN": "failed"}


def test_a_running_host_is_checked_too(tmp_path):
    """Its own address is no trouble; what waits for attention is told."""
    failing = PluginFactory(tmp_path / "plugins")
    failing.add(
        "failing",
        PRELUDE
        + "class Pipeline(AbstractPipeline):\n"
        + "    inputs = {'i': Images}\n    def process(self, inputs): 1 / 0\n",
    )
    with failing.installed(), RunningHost(tmp_path / "host", "[pipelines.failing]\nattempts = 1\n") as host:
        send_to(host.port, "FAILING", ct_slices())
        host.wait_for_jobs(1, "failed")
        rows = told("check", "--config", host.config)
        (receiver,) = (row for row in rows if row["check"] == "receiver")
        assert f"listens on 127.0.0.1:{host.port}" in receiver["message"]
        assert any("1 jobs need attention" in row["message"] for row in rows)
        assert any("a file is on disk after" in row["message"] for row in rows)
