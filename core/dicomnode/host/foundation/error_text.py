"""What of an exception may be in the log at INFO: nothing that could quote an image, or a plugin's words."""

from __future__ import annotations

import sqlite3

from dicomnode.errors import ConfigurationError, DataDirectoryError, DeliveryError, ListenError

_HARMLESS = (ConfigurationError, DataDirectoryError, ListenError, sqlite3.Error)
"""Errors whose texts quote no image and no plugin."""


def harmless_text(error: BaseException) -> str:
    """Return the text of an exception where it quotes nobody, else an empty one."""
    if isinstance(error, _HARMLESS):
        return str(error)
    return (error.strerror or "") if isinstance(error, OSError) else ""


def loggable_text(error: BaseException) -> str:
    """Return an exception for a line of the log: its harmless text, or else its type."""
    return harmless_text(error) or type(error).__name__


def delivery_reason(error: DeliveryError) -> str:
    """Return why something could not be delivered or fetched, for a line of the log.

    That is the message where the host's own code has raised it, else the type: authors may raise it, too, in
    words that name a patient.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return error.message if module.startswith("dicomnode.host.") else type(error).__name__


def type_and_line(error: BaseException) -> str:
    """Return an exception's type and the line that raised it; its text could hold patient data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"
