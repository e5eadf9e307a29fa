"""The files of docs/deploy: systemd finds the unit sound and closed, and what they say exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from programs import program

DEPLOY = Path(__file__).parent.parent.parent / "docs" / "deploy"


@pytest.fixture
def unit(tmp_path):
    """Return the unit with this environment's program in it, as it would be installed."""
    installed = Path(sys.executable).parent / "dicomnode-host"
    assert installed.exists()
    file = tmp_path / "dicomnode.service"
    text = (DEPLOY / "dicomnode.service").read_text()
    file.write_text(text.replace("/opt/dicomnode/bin/dicomnode-host", str(installed)))
    file.chmod(0o644)
    return file


def analyze(*arguments):
    """Run systemd-analyze."""
    command = [program("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_has_nothing_to_say_about_the_unit(unit):
    """No unknown key, no wrong value."""
    done = analyze("verify", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_as_closed_as_the_page_says(unit):
    """The exposure level that systemd computes, on its scale from 0 to 10."""
    done = analyze("security", "--offline=true", "--no-pager", unit)
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert f'rates it {level} ("OK"' in (DEPLOY / "README.md").read_text()
    assert float(level) < 2


def test_the_container_runs_commands_that_there_are():
    """Entry point, health check and settings are the command line's."""
    from dicomnode.cli.group import COMMANDS
    from dicomnode.host.configuration.config_loading import load_config

    text = (DEPLOY / "Containerfile").read_text()
    (check,) = re.findall(r'CMD \["dicomnode-host", "(\w+)", "--running"', text)
    (run,) = re.findall(r'^CMD \["(\w+)"', text, re.M)
    assert {check, run} <= set(COMMANDS)
    settings = dict(re.findall(r"(DICOMNODE_\w+)=(\S+)", text))
    config = load_config(None, settings)
    assert (str(config.host.bind), str(config.host.data)) == ("0.0.0.0:11112", "/var/lib/dicomnode")


def test_the_configuration_of_the_page_can_be_read(tmp_path):
    """As an operator copies it."""
    from dicomnode.host.configuration.config_loading import load_config
    from dicomnode.host.configuration.receiver_building import receiver_settings

    (text,) = re.findall(r"```toml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.S)
    file = tmp_path / "dicomnode.toml"
    file.write_text(text)
    (peer,) = receiver_settings(load_config(file, {})).peers
    assert (peer.ae_title, str(peer.network)) == ("CT1", "10.0.0.7/32")
