"""Pipelines in environments of their own: the host sorts and processes with them, and never imports them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError, SettingsError
from dicomnode.host.configuration.configured_pipeline import InstalledPipeline
from dicomnode.host.configuration.result_content import settings_digest
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.testing import LocalHost, synthetic_series
from isolated_plugins import ISOLATED, Environments
from own_processes import started
from plugin_factory import PRELUDE, write_inputs
from sources import mr_slices

# -- the whole route -----------------------------------------------------------------------------------------


def test_two_pipelines_that_cannot_live_together(
    environments: Environments, environment: Path, tmp_path: Path
) -> None:
    """Two pipelines with conflicting packages serve on one host, which imports neither of them."""
    other = environments.make("second", "2.0", other=ISOLATED)
    tables = {
        "isolated": {"environment": environment, "settings": {"offset": 5}},
        "other": {"environment": other, "timeout": 55.0},
    }
    with LocalHost(tmp_path, tables) as configured:
        assert configured.host.configured_pipelines["isolated"].policy.timeout == 77
        assert configured.host.configured_pipelines["other"].policy.timeout == 55
        for name in tables:
            assert configured.send(mr_slices(), name) == [0] * 4
        configured.wait_for_jobs(2)
        results = [each for each in configured.peer.received if "made with" in each.SeriesDescription]
        assert (
            sorted(each.SeriesDescription for each in results)
            == ["made with 1.0"] * 4 + ["made with 2.0"] * 4
        )
        (first, *_) = (each for each in results if each.SeriesDescription.endswith("1.0"))
        assert first.ContributingEquipmentSequence[-1].ManufacturerModelName == "isolated"
    assert not {"isolated", "other", "conflicting"} & set(sys.modules)


def test_refusals_are_the_truth(environment: Path, tmp_path: Path) -> None:
    """An image that data or code refuses is refused to its sender; code that fails refuses nothing else."""
    refused, raised = 0x0124, 0x0110
    with LocalHost(tmp_path, {"isolated": {"environment": environment}}) as configured:
        ours = mr_slices(4)
        odd = [synthetic_series("PT", slices=1)[0]]  # a modality that the data refuse
        for number in (13, 99, 100):
            slice_ = mr_slices(1)[0]
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            slice_.InstanceNumber = number
            odd.append(slice_)
        assert configured.send(ours[:3]) == [0] * 3
        assert configured.send(odd) == [refused, refused, raised, raised]
        assert configured.send(ours[3:]) == [0]
        configured.wait_for_jobs()
        assert len(configured.peer.received) == 4
    assert not started()


def test_a_job_fails_as_it_does_at_home(environments: Environments, tmp_path: Path) -> None:
    """What a plugin of another environment raises fails its job with its reason."""
    source = ISOLATED.replace('volume = inputs["images"]', 'raise ValueError("far away")')
    path = environments.make("failing", "1.0", failing=source)
    with LocalHost(tmp_path, {"failing": {"environment": path}}) as configured:
        assert configured.send(mr_slices()) == [0] * 4
        with pytest.raises(AssertionError, match="raised ValueError: far away"):
            configured.wait_for_jobs()


# -- what is wrong -------------------------------------------------------------------------------------------


def test_settings_are_judged_there(isolation: Isolation, environment: Path) -> None:
    """Settings that are wrong are named as those of a pipeline at home are."""
    with pytest.raises(SettingsError, match="colour: unknown setting") as caught:
        isolation.pipeline("isolated", environment, settings={"colour": 1})
    assert [key for key, _ in caught.value.problems] == [("colour",)]


def test_settings_in_force_there_decide_about_uids(installed: InstalledPipeline) -> None:
    """The digest from which UIDs derive is of what the settings class there makes, with its defaults."""
    described = installed.pipeline.description
    assert len(installed.settings_digest) == 64
    assert installed.settings_digest == described.settings != settings_digest(installed.pipeline.settings)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package_there", "No module named 'no_such_package_there'"),
        ("import os; os._exit(3)", "exit code 3"),
        ("class Pipeline: pass", "takes subclasses of AbstractPipeline"),
        (PRELUDE + "class Pipeline(AbstractPipeline):\n  def process(self, inputs): pass", "names no inputs"),
    ],
)
def test_a_plugin_that_is_broken(
    environments: Environments,
    isolation: Isolation,
    source: str,
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    """A plugin of another environment that cannot be used is a configuration error with its reason."""
    path = environments.make(f"broken{abs(hash(source))}", "1.0", broken=source)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        isolation.pipeline("broken", path, settings={})


def test_a_plugin_that_is_not_there(isolation: Isolation, environment: Path) -> None:
    """A name that nobody registers there is told with the names that there are."""
    with pytest.raises(ConfigurationError, match=r"no installed plugin registers 'nobody'.*isolated"):
        isolation.pipeline("nobody", environment, settings={})


def test_a_host_says_which_key_is_wrong(environment: Path, tmp_path: Path) -> None:
    """What is wrong with an environment's pipeline names the key of the configuration."""
    for table, said in (
        ({"environment": tmp_path}, "pipelines.isolated: .*no virtual environment"),
        (
            {"environment": environment, "settings": {"colour": 1}},
            r"pipelines\.isolated\.settings\.colour: unknown",
        ),
        ({"environment": environment, "plugin": "nobody"}, "pipelines.isolated: .*nobody"),
    ):
        with (
            pytest.raises(ConfigurationError, match=said),
            LocalHost(tmp_path / "node", {"isolated": table}),
        ):
            pass


def test_commands_ask_without_a_host(environment: Path, tmp_path: Path) -> None:
    """``explain`` asks the code of another environment when no host runs; ``check`` describes it."""
    config = tmp_path / "dicomnode.toml"
    data = f"[host]\ndata = {str(tmp_path / 'data')!r}\nreserve = 0\n"
    config.write_text(f"{data}[pipelines.isolated]\nenvironment = {str(environment)!r}\n")
    image = mr_slices(1)[0]
    image.InstanceNumber = 13
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    ((path, _),) = write_inputs(tmp_path / "spool", [image])

    def told(command: str, *arguments: str) -> str:
        line = [sys.executable, "-m", "dicomnode.cli", command, "--config", str(config), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "number 13 is not wanted beside 0 others" in told("explain", path)
    assert re.search(r"isolated\s+isolated 1\.0, called ISOLATED", told("check"))
