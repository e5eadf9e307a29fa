"""The points at which a test has the host killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.host.foundation import failpoints

CODE = """
from dicomnode.host.foundation.failpoints import failpoint
for round in range(3):
    for point in ("written", "job built"):
        print(round, point, flush=True)
        failpoint(point)
"""


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        (None, "2 job built"),
        ("synced", "2 job built"),
        ("written", "0 written"),
        ("job built", "0 job built"),
        ("written:2", "1 written"),
        ("job built:3", "2 job built"),
    ],
)
def test_where_a_process_is_killed(asked: str | None, last: str) -> None:
    """At the point that is asked for, when it is passed for the n-th time; without one, nowhere."""
    environment = {key: value for key, value in os.environ.items() if key != failpoints.VARIABLE}
    if asked is not None:
        environment[failpoints.VARIABLE] = asked
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines()[-1] == last, done.stderr
    killed = asked not in {None, "synced"}
    assert done.returncode == (-signal.SIGKILL if killed else 0)


def test_every_point_is_passed_somewhere_and_explained() -> None:
    """A name that nothing passes would let a test of kills succeed for nothing."""
    core = Path(failpoints.__file__).parents[2]
    sources = [path.read_text() for path in core.rglob("*.py")]
    passed = {name for source in sources for name in re.findall(r'failpoint\("([^"]+)"\)', source)}
    assert passed == set(failpoints.KILL_POINTS)
    explained = re.findall(r"^(\w[\w ]*?)  +\w", failpoints.__doc__ or "", re.MULTILINE)
    assert explained == list(failpoints.KILL_POINTS)
