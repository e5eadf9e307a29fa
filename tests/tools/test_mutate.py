"""The mutation run: on a small project, which tests notice what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "mutate.py"
FILES = {
    "core/dicomnode/__init__.py": "",
    "core/dicomnode/testing/__init__.py": "",
    "core/dicomnode/testing/fixtures.py": "",  # pytest loads it: dicomnode-host registers it as its plugin
    "core/dicomnode/host/__init__.py": "",
    "core/dicomnode/host/spool/__init__.py": "",
    "core/dicomnode/host/spool/small.py": """
        import time

        def first_even(numbers):
            for number in numbers:
                if number % 2 == 0:
                    return number

        def twice(number):
            return number + number

        def thrice(number):
            return 3 * number

        def nobody_asks():
            return "unknown"

        def wait(event):
            while not event.is_set():
                time.sleep(0.01)
    """,
    "tests/host/spool/test_small.py": """
        import threading
        import subprocess, sys
        from dicomnode.host.spool.small import first_even, thrice, twice, wait

        def test_first_even():
            assert first_even([1, 4, 6]) == 4

        def test_twice_in_another_process():
            code = "from dicomnode.host.spool.small import twice; raise SystemExit(twice(4))"
            assert subprocess.run([sys.executable, "-c", code]).returncode == 8

        def test_thrice():
            thrice(4)

        def test_thrice_in_another_process():
            code = "from dicomnode.host.spool.small import thrice; raise SystemExit(thrice(4))"
            assert subprocess.run([sys.executable, "-c", code]).returncode == 12

        def test_wait():
            event = threading.Event()
            event.set()
            wait(event)
    """,
    "pyproject.toml": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project of one room with one module."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return tmp_path


def mutate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TOOL, "spool", "--root", project, "--patience", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def results(project: Path) -> list[dict[str, str]]:
    lines = (project / "build" / "mutation" / "spool.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_tests_notice_and_what_not(project: Path) -> None:
    """Mutants are killed by the test that notices them, in any process; survivors are shown as diffs."""
    done = mutate(project, "--least", "50")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '-    return "unknown"\n+    return None' in done.stdout
    assert "number // 2 == 0" not in done.stdout
    found = {(each["mutation"].split(":")[2], each["outcome"], each["test"]) for each in results(project)}
    assert ("arithmetic", "killed", "tests/host/spool/test_small.py::test_first_even") in found
    assert ("arithmetic", "killed", "tests/host/spool/test_small.py::test_twice_in_another_process") in found
    assert ("boolean", "timeout", "") in found
    assert {outcome for _kind, outcome, _test in found} == {"killed", "survived", "timeout"}
    assert not [path for path in project.rglob("*.py") if "mutated" in path.read_text()]


@pytest.mark.parametrize(
    ("arguments", "outcome", "test"),
    [
        ((), "killed", "tests/host/spool/test_small.py::test_thrice_in_another_process"),
        (("--covering",), "survived", ""),
    ],
)
def test_only_tests_that_ran_the_line(
    project: Path, arguments: tuple[str, ...], outcome: str, test: str
) -> None:
    """What only another test notices survives then; what no test is known to have run is tried with all."""
    mutate(project, *arguments)
    found = {(each["mutation"].split(":")[2], each["outcome"], each["test"]) for each in results(project)}
    assert ("arithmetic", outcome, test) in found
    assert ("arithmetic", "killed", "tests/host/spool/test_small.py::test_twice_in_another_process") in found


def test_a_run_goes_on_where_it_was(project: Path) -> None:
    """A larger sample runs only what is new, the same one nothing; a change of the module begins again."""
    assert mutate(project, "--sample", "2").returncode == 0
    assert len(results(project)) == 2
    assert "1/1 " in mutate(project, "--sample", "3").stdout
    assert len(results(project)) == 3
    report = mutate(project, "--sample", "3")
    assert "1/" not in report.stdout
    assert report.stdout.splitlines()[-1].startswith("spool ")
    module = project / "core/dicomnode/host/spool/small.py"
    module.write_text(module.read_text() + "\n\n# changed\n")
    assert "3 not run" in mutate(project, "--sample", "3", "--report").stdout
    assert len(results(project)) == 3


def test_tests_that_fail_before_anything_is_changed(project: Path) -> None:
    """Nothing is measured with tests that fail: the failure is shown instead."""
    tests = project / "tests/host/spool/test_small.py"
    tests.write_text(tests.read_text() + "\n\ndef test_broken():\n    assert False\n")
    done = mutate(project)
    assert done.returncode == 1
    assert "the tests fail before anything is changed" in done.stderr
    assert "test_broken" in done.stderr
    assert not (project / "build" / "mutation" / "spool.jsonl").exists()


def test_a_score_below_the_least_is_a_failure(project: Path) -> None:
    """A run can be a step of a script: its exit code says whether enough was noticed."""
    assert mutate(project, "--sample", "4", "--least", "101").returncode == 1
