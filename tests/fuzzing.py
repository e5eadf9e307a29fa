"""Reading damaged inputs again and again, with a watchdog, and a report of what goes wrong."""

from __future__ import annotations

import hashlib
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scanner_seeds import damaged
from scanner_targets import Target

LEAST = 50
"""Inputs that a target is given at least, each time that it is its turn."""
_SLICE = 1.0


class EndlessError(BaseException):
    """An input does not end. No ``except Exception`` of a reader catches it."""


@contextmanager
def watchdog(processor_seconds: float, seconds: float) -> Iterator[None]:
    """Raise :class:`EndlessError` where the block takes too long; for the main thread.

    Processor time does not count what other processes take, so a busy machine makes no difference.
    """

    def endless(_signal: int, _frame: Any) -> None:
        raise EndlessError

    handlers = {number: signal.signal(number, endless) for number in (signal.SIGVTALRM, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_VIRTUAL, processor_seconds)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)  # pytest-timeout's


@dataclass
class Report:
    """What was read, and what went wrong.

    Parameters
    ----------
    keep : Path
        The folder for inputs that are reported.
    processor_seconds, seconds : float
        What an input may take.
    """

    keep: Path
    processor_seconds: float = 2.0
    seconds: float = 60.0
    inputs: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, str, str], Path] = field(default_factory=dict)

    def run(self, name: str, target: Target, data: bytes) -> None:
        """Read one input; keep it and print what is wrong, if that is the first of its kind."""
        self.inputs[name] += 1
        try:
            with watchdog(self.processor_seconds, self.seconds):
                target.run(data)
        except (Exception, EndlessError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, EndlessError) else f"{Path(last.filename).name}:{last.lineno}"
            kind = name, type(error).__name__, where
            if kind not in self.faults:
                path = self.faults[kind] = self.keep / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"FAULT {' '.join(kind)}: {path}", flush=True)  # noqa: T201 - for who runs the fuzzer
                traceback.print_exception(error, limit=-6)

    def print(self) -> None:
        """Print how many inputs were read, and how many kinds of fault there are."""
        for name, count in self.inputs.items():
            print(f"{name:22}{count:10} inputs")  # noqa: T201 - as above
        print(f"{len(self.faults)} kinds of fault")  # noqa: T201 - as above


def fuzz(targets: Mapping[str, Target], seed: int, report: Report, seconds: float) -> None:
    """Damage sound inputs and read them, the targets in turn, for so long; each at least once."""
    random_ = random.Random(seed)
    deadline = time.monotonic() + seconds
    while True:
        for name, target in targets.items():
            turn_ends = time.monotonic() + min(_SLICE, seconds)
            while True:
                good = target.seed(random_)
                report.run(name, target, good)
                for _ in range(LEAST - 1):
                    report.run(name, target, damaged(random_, good))
                if time.monotonic() >= turn_ends:
                    break
        if time.monotonic() >= deadline:
            return
