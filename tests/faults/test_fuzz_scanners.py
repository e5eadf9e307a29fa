"""The fuzzer itself: its targets hold for some inputs, and it notices what it is to notice."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest

from fuzzing import LEAST, Report, fuzz
from scanner_targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_each_reader_takes_some_damaged_inputs(tmp_path: Path, name: str) -> None:
    """A short run with a fixed seed finds no fault; the long one is by hand."""
    report = Report(tmp_path, processor_seconds=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about values that are broken on purpose
        fuzz({name: TARGETS[name]}, 7, report, 0)
    assert report.inputs[name] >= LEAST
    assert not report.faults


def endless(_data: bytes) -> None:
    while True:
        try:
            sum(range(100))
        except Exception:
            continue


def waits(_data: bytes) -> None:
    threading.Event().wait()


def raises(data: bytes) -> None:
    raise KeyError(data)


@pytest.mark.parametrize(
    ("run", "kind"), [(endless, "EndlessError"), (waits, "EndlessError"), (raises, "KeyError")]
)
def test_a_fault_is_reported_once_and_kept(
    tmp_path: Path, run: object, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An input that does not end, and an error that is not declared: one of each kind, with its input."""
    report = Report(tmp_path, processor_seconds=0.05, seconds=0.5)
    for data in (b"first", b"second"):
        report.run("reader", Target(run, lambda _random: b""), data)  # type: ignore[arg-type]  # one of the functions above
    ((name, what, _where),) = report.faults
    assert (name, what) == ("reader", kind)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]
    assert capsys.readouterr().out.count("FAULT") == 1
