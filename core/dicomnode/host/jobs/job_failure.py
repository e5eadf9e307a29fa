"""How a job can fail, in one word each, and how what a plugin raises becomes one of them."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from dicomnode.errors import (
    ConfigurationError,
    DicomnodeError,
    FileGoneError,
    JobFailedError,
    OutputError,
    PluginError,
    StructureError,
)

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Failure(StrEnum):
    """What ended a job. The words hold no data of patient or plugin, so they may be logged and counted."""

    PLUGIN = "plugin"
    """The plugin could not be loaded, is of another version, or could not set itself up."""
    RAISED = "raised"
    """The plugin raised an exception."""
    OUTPUT = "output"
    """What it returned cannot be sent out, or must not be."""
    INPUT = "input"
    """An input file is gone, cannot be read, or was changed while the job ran."""
    DAMAGED = "damaged"
    """An input has gone for good, or is not what was received: to run again cannot help."""
    EXITED = "exited"
    """The plugin ended its process."""
    CRASHED = "crashed"
    """The process was ended by a signal: a segmentation fault, say."""
    TIMEOUT = "timeout"
    """It ran longer than it may."""
    MEMORY = "memory"
    """It took more memory than it may, or could not get what it asked for."""
    DISK = "disk"
    """It wrote more than it may, or the disk is full."""
    PROCESSES = "processes"
    """It started more processes than it may."""
    NO_WORKER = "no worker"
    """The worker process could not be started, or was lost."""
    ENDED = "ended"
    """It was ended on request, or because the host stops: not the plugin's fault, and no attempt."""


def failure_word(error: BaseException) -> str:
    """Return in one word what ended a job: a :class:`Failure`, or the type of the exception.

    An author may raise a JobFailedError, too, with whatever words: they are not taken.
    """
    kind = getattr(error, "kind", "")
    return str(kind) if kind in set(Failure) else type(error).__name__


@contextmanager
def failing_as(what: str) -> Iterator[None]:
    """Turn whatever is raised inside into a :class:`JobFailedError`.

    Parameters
    ----------
    what : str
        What runs inside, such as ``"process of Smooth"``.

    Raises
    ------
    JobFailedError
        With the traceback as its ``log_tail``. An exit is a failure like any other.
    """
    try:
        yield
    except JobFailedError as error:
        if error.kind in set(Failure):
            raise
        tail, summary = error.log_tail or _traceback(error), _summary(what, error)
        raise JobFailedError(str(error), Failure.RAISED, tail, summary=summary) from error
    except BaseException as error:  # a plugin's exit, too, must end its job and no more
        reason, summary = _reason(what, error), _summary(what, error)
        raise JobFailedError(reason, _kind(error), _traceback(error), summary=summary) from error


_KINDS: dict[type[BaseException], Failure] = {
    PluginError: Failure.PLUGIN,
    ConfigurationError: Failure.PLUGIN,
    FileGoneError: Failure.INPUT,
    StructureError: Failure.INPUT,
    OutputError: Failure.OUTPUT,
    MemoryError: Failure.MEMORY,
    SystemExit: Failure.EXITED,
    KeyboardInterrupt: Failure.EXITED,
}


def _kind(error: BaseException) -> Failure:
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return Failure.DISK
    return next((kind for cause, kind in _KINDS.items() if isinstance(error, cause)), Failure.RAISED)


def _reason(what: str, error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(it cannot be shown)"
    if isinstance(error, SystemExit):
        return f"{what} called sys.exit({text})"
    if isinstance(error, DicomnodeError):
        return f"{what}: {text}"
    if isinstance(error, MemoryError):
        return f"{what} could not get the memory it asked for: {text}".rstrip(": ")
    return f"{what} raised {type(error).__name__}: {text}".rstrip(": ")


def _summary(what: str, error: BaseException) -> str:
    """Return the reason without the words of the exception, which may name a patient."""
    return f"{what} raised {type(error).__name__}"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return f"(the traceback of a {type(error).__name__} cannot be shown)"
