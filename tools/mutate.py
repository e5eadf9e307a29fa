"""Measure what the tests of a room notice: change its code in one small place at a time, and run them.

``python tools/mutate.py spool --sample 200 --seed 1`` takes a copy of the project, draws 200 mutations of the
room's modules (tools/mutations.py says which there are), runs the room's tests on each, and prints those that
no test has noticed ("survivors") as diffs, and the score of each module. docs/testing.md says how to read it.

Of each mutant's tests those run first that ran the changed line when nothing was changed; all others of the
room follow only if these pass. A test process is forked from one that has imported the libraries already.

Results are kept in ``build/mutation/ROOM.jsonl`` and used again as long as the module is the same:
a run that was stopped goes on, a larger sample measures only what is new, ``--again`` repeats the survivors.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from mutations import Mutation, mutations

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("spool", "ledger", "gathering", "jobs", "delivery")
LIBRARIES: Final = (
    "pytest", "hypothesis", "numpy", "pydicom", "pydicom.data", "pynetdicom", "pydantic", "pluggy", "click",
    "jinja2", "rich.console", "rich.table", "importlib_metadata", "sqlite3", "ssl", "highdicom",
)  # fmt: skip
PYTEST: Final = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no")
_PR_SET_CHILD_SUBREAPER: Final = 36
_MEMORY: Final = 8 << 30
_OK, _TESTS_FAILED, _NO_TESTS = 0, 1, 5


@dataclass(frozen=True)
class Mutant:
    """A mutation of a module of the room."""

    module: str
    digest: str
    mutation: Mutation

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others, and from the same place in another version of the module."""
        return self.module, self.digest, self.mutation.key


@dataclass(frozen=True)
class Result:
    """What came of a mutant: ``killed``, ``timeout`` or ``survived``, by which test, in how many seconds."""

    module: str
    digest: str
    mutation: str
    outcome: str
    test: str
    seconds: float

    @property
    def key(self) -> tuple[str, str, str]:
        """The mutant's."""
        return self.module, self.digest, self.mutation


class Copy:
    """A copy of the project in which a module is changed, and its tests are run.

    Parameters
    ----------
    root : pathlib.Path
        The project.
    room : str
        A folder of ``core/dicomnode/host``, with tests in ``tests/host``.
    directory : pathlib.Path
        Where the copy goes.
    """

    def __init__(self, root: Path, room: str, directory: Path) -> None:
        self.directory = directory
        for name in ("core", "tests", "examples", "docs", "pyproject.toml"):
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".venv", "build")
                shutil.copytree(root / name, directory / name, ignore=ignored)
            elif (root / name).exists():
                shutil.copy(root / name, directory / name)
        self.room = directory / "core" / "dicomnode" / "host" / room
        self.tests = f"tests/host/{room}"
        self._output = directory / "output"

    def modules(self) -> Iterator[tuple[str, str]]:
        """Yield name and source of each module of the room."""
        for path in sorted(self.room.glob("*.py")):
            yield path.name, path.read_text(encoding="utf-8")

    def change(self, module: str, source: str) -> None:
        """Replace a module."""
        (self.room / module).write_text(source, encoding="utf-8")

    def run(self, arguments: Sequence[str], timeout: float, plugin: object = None) -> tuple[int | None, str]:
        """Run pytest in a process of its own, end all that it leaves, and return its exit code and output.

        The code is None after a timeout.
        """
        process = os.fork()
        if not process:
            code = 99
            try:
                code = self._pytest(arguments, plugin)
            finally:
                os._exit(code)
        ended = _wait(process, timeout)
        _end_children()
        return ended, self._output.read_text(encoding="utf-8", errors="replace")

    def _pytest(self, arguments: Sequence[str], plugin: object) -> int:
        os.setsid()
        output = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.directory)
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        sys.path.insert(0, str(self.directory / "core"))
        # Compiled files are told from old ones by whole seconds: a mutant would run as its predecessor.
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": sys.path[0], "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "500"}
        import pytest
        from hypothesis import HealthCheck, settings

        slow = [HealthCheck.too_slow]
        settings.register_profile(
            "mutation", database=None, derandomize=True, deadline=None, suppress_health_check=slow
        )
        base = ["--basetemp", str(self.directory / "temporary"), "--hypothesis-profile", "mutation"]
        code = pytest.main([*PYTEST, *base, *arguments], plugins=[plugin] if plugin else [])
        sys.stdout.flush()
        sys.stderr.flush()
        return int(code)


class LineRecorder:
    """A pytest plugin that writes down which lines of a room each test has run, as JSON, at the end."""

    def __init__(self, room: Path, target: Path) -> None:
        self._room, self._target = f"{room}/", target
        self._lines: dict[str, set[str]] = defaultdict(set)
        self._seconds: dict[str, float] = {}
        self._began = 0.0
        self._now: set[str] | None = None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin to record: the set-up of a test counts as the test."""
        self._now, self._began = self._lines[nodeid], time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Record no more."""
        sys.settrace(None)
        threading.settrace(None)
        self._seconds[nodeid] = time.monotonic() - self._began

    def pytest_sessionfinish(self) -> None:
        """Write it down."""
        recorded = {
            test: {"seconds": self._seconds[test], "lines": sorted(lines)}
            for test, lines in self._lines.items()
        }
        self._target.write_text(json.dumps(recorded))

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(self._room):
            return None
        module, lines = name.removeprefix(self._room), self._now

        def trace_line(frame: FrameType, _event: str, _argument: Any) -> Any:
            if lines is not None:
                lines.add(f"{module}:{frame.f_lineno}")
            return trace_line

        return trace_line(frame, event, argument)


class Measurement:
    """Runs mutants and keeps their results.

    Parameters
    ----------
    copy : Copy
    store : pathlib.Path
        The file of the results, one a line.
    patience : int
        Seconds that a test may take beyond five times those of the longest when nothing was changed.
    covering : bool
        Whether only tests are run that ran the changed line, where there are any.
    """

    def __init__(self, copy: Copy, store: Path, patience: int, *, covering: bool = False) -> None:
        self._copy, self._store, self._patience, self._covering = copy, store, patience, covering
        self.results = {each.key: each for each in self._stored()}
        self._tests_of: dict[str, list[str]] = {}
        self._timeout = self._test_timeout = 0

    def prepare(self) -> None:
        """Run the tests on the unchanged room: they must pass, and which lines each runs is learnt."""
        target = self._copy.directory / "lines.json"
        began = time.monotonic()
        code, output = self._copy.run(
            ["--timeout=0", self._copy.tests], 3600, LineRecorder(self._copy.room.resolve(), target)
        )
        if code != _OK:
            raise SystemExit(f"the tests fail before anything is changed:\n{output}")
        recorded = json.loads(target.read_text())
        # What takes so long on a quiet machine may take a multiple of it beside other work.
        self._timeout = 60 + 3 * int(time.monotonic() - began)
        longest = max(each["seconds"] for each in recorded.values())
        self._test_timeout = self._patience + int(5 * longest)
        for test, each in recorded.items():
            for line in each["lines"]:
                self._tests_of.setdefault(line, []).append(test)

    def measure(self, mutant: Mutant, source: str) -> Result:
        """Run the tests on a mutant and keep the result."""
        began = time.monotonic()
        self._copy.change(mutant.module, mutant.mutation.apply(source))
        try:
            outcome, test = self._outcome(mutant)
        finally:
            self._copy.change(mutant.module, source)
        result = Result(*mutant.key, outcome, test, round(time.monotonic() - began, 1))
        self.results[result.key] = result
        with self._store.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result

    def _outcome(self, mutant: Mutant) -> tuple[str, str]:
        lines = range(mutant.mutation.line, mutant.mutation.last_line + 1)
        names = {test for line in lines for test in self._tests_of.get(f"{mutant.module}:{line}", ())}
        own = f"{self._copy.tests}/test_{mutant.module.removesuffix('.py')}.py"
        first = sorted(names, key=lambda name: (not name.startswith(own), name))
        # Processes that the tests start run lines of which the recorder does not know.
        every = [] if self._covering and first else [[self._copy.tests]]
        for tests in ([first] if first else []) + every:
            code, output = self._copy.run([f"--timeout={self._test_timeout}", *tests], self._timeout)
            if code is None or "from pytest-timeout" in output:
                return "timeout", ""
            if code not in (_OK, _NO_TESTS):
                failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, flags=re.MULTILINE)
                return "killed", failed[1] if failed else f"exit code {code}"
        return "survived", ""

    def _stored(self) -> Iterator[Result]:
        if self._store.exists():
            for line in self._store.read_text().splitlines():
                yield Result(**json.loads(line))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one room; the exit code is 1 if its score is below ``--least``."""
    asked = _parser().parse_args(arguments)
    store = asked.root / "build" / "mutation" / f"{asked.room}.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        copy = Copy(asked.root, asked.room, Path(directory).resolve())
        sources = dict(copy.modules())
        mutants = _drawn(sources, asked)
        measurement = Measurement(copy, store, asked.patience, covering=asked.covering)
        missing = [each for each in mutants if _is_missing(each, measurement, again=asked.again)]
        if missing and not asked.report:
            _become_subreaper()
            for name in LIBRARIES:
                with suppress(ImportError):
                    importlib.import_module(name)
            measurement.prepare()
            for number, mutant in enumerate(missing, 1):
                result = measurement.measure(mutant, sources[mutant.module])
                said = f"{mutant.module}:{mutant.mutation.line} {mutant.mutation.kind}: {result.outcome}"
                print(f"{number}/{len(missing)} {said} ({result.seconds} s)", flush=True)  # noqa: T201 - a command
        score = _report(asked, sources, mutants, measurement)
    return int(score < asked.least)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--sample", type=int, metavar="N", help="how many, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; default: 1")
    parser.add_argument(
        "--module", metavar="NAME.py", action="append", help="mutants of this module only; may be repeated"
    )
    parser.add_argument("--again", action="store_true", help="run the survivors of the sample again")
    parser.add_argument(
        "--covering",
        action="store_true",
        help="run only tests that ran the changed line: sooner, some survive",
    )
    parser.add_argument("--report", action="store_true", help="print what is known, run nothing")
    parser.add_argument("--least", type=float, default=0, metavar="PERCENT", help="exit with 1 below it")
    parser.add_argument("--patience", type=int, default=15, metavar="SECONDS", help="before a test hangs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project; default: where this file is")
    return parser


def _drawn(sources: dict[str, str], asked: argparse.Namespace) -> list[Mutant]:
    every = [
        Mutant(module, hashlib.sha256(source.encode()).hexdigest()[:12], each)
        for module, source in sources.items()
        if not asked.module or module in asked.module
        for each in mutations(source)
    ]
    # One order for each seed: a larger sample holds the smaller one, so that its results are used again.
    random.Random(asked.seed).shuffle(every)  # noqa: S311 - nothing is secret
    return every[: asked.sample]


def _is_missing(mutant: Mutant, measurement: Measurement, *, again: bool) -> bool:
    result = measurement.results.get(mutant.key)
    return result is None or (again and result.outcome == "survived")


def _report(
    asked: argparse.Namespace, sources: dict[str, str], mutants: Sequence[Mutant], measurement: Measurement
) -> float:
    """Print survivors and scores, and return the score of the room in percent."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    lines = []
    for mutant in sorted(mutants, key=lambda each: (each.module, each.mutation.start)):
        result = measurement.results.get(mutant.key)
        outcome = result.outcome if result else "not run"
        counts[mutant.module][outcome] += 1
        if outcome == "survived":
            lines.append(mutant.mutation.diff(sources[mutant.module], mutant.module))
    lines.append("")
    total: dict[str, int] = defaultdict(int)
    for module, outcomes in sorted(counts.items()):
        lines.append(f"{module:32} {_score(outcomes):5.1f} %  {_said(outcomes)}")
        for outcome, count in outcomes.items():
            total[outcome] += count
    lines.append(f"{asked.room:32} {_score(total):5.1f} %  {_said(total)}")
    print("\n".join(lines))  # noqa: T201 - a command
    return _score(total)


def _score(outcomes: dict[str, int]) -> float:
    noticed = outcomes.get("killed", 0) + outcomes.get("timeout", 0)
    run = noticed + outcomes.get("survived", 0)
    return 100 * noticed / run if run else 100.0


def _said(outcomes: dict[str, int]) -> str:
    order = ("killed", "timeout", "survived", "not run")
    return ", ".join(f"{outcomes[each]} {each}" for each in order if outcomes.get(each))


# -- processes --------------------------------------------------------------------------------------------


def _become_subreaper() -> None:
    """Let what the tests' processes leave behind become this process's children, so that it can be ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _wait(process: int, timeout: float) -> int | None:
    """Return the exit code of a child, or None after it was killed for taking longer."""
    ended = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        in_time = bool(poll.poll(timeout * 1000))
    finally:
        os.close(ended)
    if not in_time:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _end_children() -> None:
    while True:
        tasks = Path("/proc/self/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
        if not children:
            return
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main())
