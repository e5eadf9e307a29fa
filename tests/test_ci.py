"""The workflow of the code host runs the steps of ``.ci/run``, all of them and no others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / ".ci" / "run", *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def test_the_workflow_runs_every_step() -> None:
    """Each step of ``.ci/run`` is in a job; only the Debian packages are installed in several."""
    calls = re.findall(r"- run: .*bash \.ci/run (.+)", WORKFLOW.read_text())
    named = [step for call in calls for step in call.split()]
    steps = run("--list").stdout.split()
    assert sorted(set(named)) == sorted(steps)
    assert all(named.count(step) == 1 for step in steps if step != "packages")


def test_a_step_that_is_not_there_is_an_error() -> None:
    """A step of an unknown name is reported, and nothing is run."""
    done = run("linters", "lint")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'lint'" in done.stderr
