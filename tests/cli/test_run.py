"""``dicomnode-host run``: what an operator can get wrong, told in one message, with an exit code."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicomnode.host.configuration.configured_pipeline import no_pipeline_message
from route_under_fault import route
from running_host import RunningHost

SMOOTH = "[pipelines.smooth]\n"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run dicomnode-host until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "dicomnode.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def configured(tmp_path: Path, text: str) -> Path:
    """Write a configuration."""
    file = tmp_path / "dicomnode.toml"
    file.write_text(text)
    return file


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check that it ended with a code and one message, without a traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[host\n", ("dicomnode.toml", "not TOML", "line 1")),
        ('[host]\nbind = "nowhere"\n', ("dicomnode.toml:2", "host.bind", "HOST:PORT")),
        ('[host]\nae_titel = "X"\n', ("dicomnode.toml:2", "host.ae_titel", "unknown key")),
        ("[pipelines.nothing]\n", ("pipelines.nothing", "no installed plugin registers 'nothing'", "smooth")),
        ('[pipelines.smooth]\nsettings = { sigma = "wide" }\n', ("pipelines.smooth", "sigma")),
        (
            "[pipelines.smooth]\nsettings = { width = 1 }\n",
            ("dicomnode.toml:2: pipelines.smooth.settings.width: unknown setting", "sigma"),
        ),
        ('[pipelines.smooth]\ndestinations = ["PACS"]\n', ("dicomnode.toml", "'PACS'", "neither a peer")),
        (
            '[pipelines.a]\nplugin="smooth"\nae_title="X"\n[pipelines.b]\nplugin="smooth"\nae_title="X"\n',
            ("'a' and 'b' are both called 'X'",),
        ),
        ('[host]\nbind = "0.0.0.0:0"\n[pipelines.smooth]\n', ("for everybody", "insecure")),
    ],
)
def test_a_wrong_configuration(text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    """Names file, line and key, says what to do, and ends with 2."""
    file = configured(tmp_path, text)
    done = run("run", "--config", file, DICOMNODE_HOST__DATA=str(tmp_path / "data"))
    refused(done, 2, *words)


def test_no_such_configuration(tmp_path: Path) -> None:
    """A configuration file that is not there is named."""
    refused(run("run", "--config", tmp_path / "none.toml"), 2, "none.toml", "no such configuration file")


def test_the_environment_is_named(tmp_path: Path) -> None:
    """What the environment sets wrongly is told by the variable's name."""
    file = configured(tmp_path, SMOOTH)
    done = run("run", "--config", file, DICOMNODE_HOST__DURABILITY="maybe")
    refused(done, 2, "DICOMNODE_HOST__DURABILITY", "host.durability")


def test_a_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is named, and the exit code says that the host cannot run here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        file = configured(
            tmp_path, f'[host]\nbind = "127.0.0.1:{port}"\ndata = "{tmp_path / "data"}"\n{SMOOTH}'
        )
        refused(run("run", "--config", file), 3, f"127.0.0.1:{port}", "host.bind")


def test_two_hosts_on_one_data_directory(tmp_path: Path) -> None:
    """The second one refuses, names the process that holds the directory, and ends with 3."""
    with RunningHost(tmp_path / "host", SMOOTH) as host:
        assert host.process is not None
        refused(run("run", "--config", host.config), 3, str(host.data), f"process {host.process.pid}")


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """It is named, with the reason."""
    (tmp_path / "file").write_text("")
    file = configured(tmp_path, f'[host]\nbind = "127.0.0.1:0"\ndata = "{tmp_path}/file/data"\n{SMOOTH}')
    refused(run("run", "--config", file), 3, f"{tmp_path}/file/data", "host.data")


def test_no_pipeline_can_run(tmp_path: Path) -> None:
    """Where none of the installed pipelines can run, each is named with the reason."""
    file = configured(tmp_path, f'[host]\ndata = "{tmp_path / "data"}"\n[plugins]\nonly = []\n')
    refused(run("run", "--config", file), 2, "no installed pipeline can run", "smooth", "plugins.only")


def test_no_pipeline_installed() -> None:
    """Without any pipeline the host says so, and how to get one (CI sees the real thing)."""
    message = no_pipeline_message(SimpleNamespace(plugins=[]))
    for word in ("no pipeline is installed", "pip install", "--list-plugins"):
        assert word in message


def test_data_is_closed_to_others(tmp_path: Path) -> None:
    """Every directory of the data directory is 0700, every file 0600."""
    with RunningHost(tmp_path / "host", SMOOTH) as host:
        for path in [host.data, *host.data.rglob("*")]:
            assert path.lstat().st_mode & 0o077 == 0, path


def test_a_clean_stop_leaves_the_ledger_whole(tmp_path: Path) -> None:
    """After SIGTERM the ledger is one file, without a log beside it, that has all that happened."""
    with route(tmp_path) as made:
        made.start()
        delivered, waiting = made.new_patient(), made.new_patient()[:2]
        assert made.send(delivered) == [0, 0, 0]
        made.wait_delivered()
        assert made.send(waiting) == [0, 0]
        assert made.host.ask("status")["pipelines"]["three"]["waiting"]["images"] == 2
        made.host.stop()
        assert [each.name for each in made.host.data.glob("ledger*")] == ["ledger.sqlite"]
        uri = f"{(made.host.data / 'ledger.sqlite').as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as ledger:
            states = dict(ledger.execute("SELECT SOPInstanceUID, state FROM instance"))
            jobs = ledger.execute("SELECT state FROM job").fetchall()
    assert jobs == [("delivered",)]
    expected = dict.fromkeys((image.uid for image in delivered), "released")
    assert states == {**expected, **dict.fromkeys((image.uid for image in waiting), "waiting")}
