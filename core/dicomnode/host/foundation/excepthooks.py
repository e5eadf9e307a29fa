"""What Python would print by itself, as it is, goes through the log instead."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

_LOG = logging.getLogger("dicomnode")


def install_excepthooks(*, debug: bool) -> None:
    """Have warnings, and what ends a thread or this process, logged.

    Parameters
    ----------
    debug : bool
        Whether warnings are wanted: those of libraries show values of images.
    """
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.DEBUG if debug else logging.CRITICAL + 1)
    threading.excepthook = _thread_ended
    sys.excepthook = _process_ended
    sys.unraisablehook = _ignored


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "?"
    if args.exc_value is not None:
        _LOG.critical("the thread %s ended with an error", name, exc_info=args.exc_value)


def _process_ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _LOG.critical("ended with an error", exc_info=(kind, error, trace))


def _ignored(args: Any) -> None:
    _LOG.debug("an error was ignored", exc_info=args.exc_value)
