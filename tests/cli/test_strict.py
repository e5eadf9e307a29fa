"""``run`` and broken plugins: only a pipeline that is configured keeps it from starting, unless --strict."""

import os
import subprocess
import sys

import pytest

from plugin_packages import PluginFolder
from running_host import RunningHost

PIPELINE = """
    from dicomnode import AbstractInput, AbstractPipeline, NoOutput

    class Pipeline(AbstractPipeline):
        inputs = {"images": AbstractInput}

        def process(self, inputs):
            return NoOutput()
"""
LATE = "def f(): raise RuntimeError('no GPU here')\nPipeline = f()"


@pytest.fixture
def site(tmp_path):
    """Install a pipeline that is fine, and one whose import fails when it runs."""
    folder = tmp_path / "site"
    folder.mkdir()
    made = PluginFolder(folder)
    made.install(
        "acme-fine", {"pipelines": {"fine": "acme_fine:Pipeline"}}, modules={"acme_fine.py": PIPELINE}
    )
    made.install("acme-late", {"pipelines": {"late": "acme_late:Pipeline"}}, modules={"acme_late.py": LATE})
    return made


def run(site, host, *options):
    """Run the host until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "dicomnode.cli", "run", "--config", str(host.config), *options],
        env={**os.environ, "PYTHONPATH": str(site.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_broken_plugin_that_nobody_needs_does_not_matter(site, tmp_path):
    """The host starts, whatever else is installed."""
    environment = {"PYTHONPATH": str(site.folder)}
    with RunningHost(tmp_path / "host", "[pipelines.fine]", environment=environment) as host:
        assert host.port


def test_strict_refuses_to_start_with_any_broken_plugin(site, tmp_path):
    """Also one that nobody needs, and whose fault only an import shows; exit code 1, one message."""
    host = RunningHost(tmp_path / "host", "[pipelines.fine]")
    done = run(site, host, "--strict")
    assert done.returncode == 1, done.stderr
    assert "refused to start (--strict)" in done.stderr
    assert (
        "acme-late 1.0: failed: acme_late:Pipeline cannot be used: RuntimeError: no GPU here" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_configured_pipeline_whose_plugin_is_broken_keeps_the_host_from_starting(site, tmp_path):
    """With the pipeline, its distribution, and why."""
    host = RunningHost(tmp_path / "host", "[pipelines.late]")
    done = run(site, host)
    assert done.returncode == 2, done.stderr
    assert (
        "pipelines.late: plugin acme-late 1.0: acme_late:Pipeline cannot be used: RuntimeError" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_strict_is_content_where_the_broken_one_is_disabled(site, tmp_path):
    """What the configuration leaves out is not broken."""
    environment = {"PYTHONPATH": str(site.folder)}
    tables = '[plugins]\nonly = ["acme-fine"]\n[pipelines.fine]\n'
    host = RunningHost(tmp_path / "host", tables, environment=environment)
    process = subprocess.Popen(
        [sys.executable, "-m", "dicomnode.cli", "run", "--strict", "--config", str(host.config)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any(" listens on 127.0.0.1" in line for line in process.stderr)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
