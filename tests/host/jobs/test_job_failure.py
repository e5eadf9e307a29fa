"""How a job can fail: one word for each kind, a reason in words, and words of a plugin kept apart."""

from __future__ import annotations

import errno

import pytest

from dicomnode.errors import (
    ConfigurationError,
    FileGoneError,
    GeometryError,
    JobFailedError,
    OutputError,
    PluginError,
    StructureError,
)
from dicomnode.host.jobs.job_failure import Failure, failing_as, failure_word

WHAT = "process of Smooth"


class CannotBeShownError(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise self


def failed(error: BaseException, what: str = WHAT) -> JobFailedError:
    """Raise an error inside, and return what comes out."""
    with pytest.raises(JobFailedError) as caught, failing_as(what):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("sigma"), Failure.RAISED, "process of Smooth raised ValueError: sigma"),
        (ValueError(), Failure.RAISED, "process of Smooth raised ValueError"),
        (GeometryError("a slice is missing"), Failure.RAISED, "process of Smooth: a slice is missing"),
        (PluginError("gone"), Failure.PLUGIN, "process of Smooth: gone"),
        (ConfigurationError("bad"), Failure.PLUGIN, "process of Smooth: bad"),
        (FileGoneError("no file"), Failure.INPUT, "process of Smooth: no file"),
        (StructureError("cut off"), Failure.INPUT, "process of Smooth: cut off"),
        (OutputError("no items"), Failure.OUTPUT, "process of Smooth: no items"),
        (MemoryError("8 GB"), Failure.MEMORY, f"{WHAT} could not get the memory it asked for: 8 GB"),
        (MemoryError(), Failure.MEMORY, "process of Smooth could not get the memory it asked for"),
        (SystemExit(3), Failure.EXITED, "process of Smooth called sys.exit(3)"),
        (KeyboardInterrupt(), Failure.EXITED, "process of Smooth raised KeyboardInterrupt"),
        (OSError(errno.EACCES, "no"), Failure.RAISED, f"{WHAT} raised PermissionError: [Errno 13] no"),
        (CannotBeShownError(), Failure.RAISED, f"{WHAT} raised CannotBeShownError: (it cannot be shown)"),
    ],
)  # fmt: skip
def test_each_exception_has_its_kind(error: BaseException, kind: Failure, reason: str) -> None:
    """What is raised becomes a failure with its kind and a reason; the summary has none of its words."""
    found = failed(error)
    assert (found.kind, str(found)) == (kind, reason)
    assert found.summary == f"process of Smooth raised {type(error).__name__}"
    assert found.__cause__ is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_from_other_errors(number: int) -> None:
    """No space, no quota and a file that may not grow are the disk's failure."""
    assert failed(OSError(number, "full")).kind == Failure.DISK


def test_the_log_has_the_traceback() -> None:
    """With the line that raised; or a word where it cannot be shown."""
    assert "ValueError: sigma" in failed(ValueError("sigma")).log_tail
    assert "raise error" in failed(ValueError("sigma")).log_tail


def test_a_traceback_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says whose it was."""

    def failing(_error: BaseException) -> list[str]:
        raise RecursionError

    monkeypatch.setattr("traceback.format_exception", failing)
    assert failed(ValueError("x")).log_tail == "(the traceback of a ValueError cannot be shown)"


def test_a_failure_of_the_host_passes_as_it_is() -> None:
    """What is said already is not said again in other words."""
    inner = JobFailedError("it hung", Failure.TIMEOUT, "the log", summary="short")
    assert failed(inner) is inner


def test_a_failure_that_a_plugin_makes_up_is_raised_by_it() -> None:
    """An author's own JobFailedError keeps its message and log; its word and summary are not taken."""
    inner = JobFailedError("Mr Smith moved", "Mr Smith", "the log", summary="Mr Smith")
    found = failed(inner)
    assert (str(found), found.kind, found.log_tail) == ("Mr Smith moved", Failure.RAISED, "the log")
    assert found.summary == "process of Smooth raised JobFailedError"
    assert "Traceback" in failed(JobFailedError("x", "y")).log_tail


def test_nothing_happens_where_nothing_is_raised() -> None:
    """A block that ends ends."""
    done = []
    with failing_as("process"):
        done.append(1)
    assert done == [1]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (JobFailedError("x", Failure.NO_WORKER), "no worker"),
        (JobFailedError("x", "Mr Smith"), "JobFailedError"),
        (JobFailedError("x"), "JobFailedError"),
        (ValueError("Mr Smith"), "ValueError"),
    ],
)
def test_one_word_for_the_log(error: BaseException, word: str) -> None:
    """A kind of ours, or the type of the exception, and never what an author chose."""
    assert failure_word(error) == word
