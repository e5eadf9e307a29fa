"""What may be said in the log about an exception that nobody expected."""

from __future__ import annotations

from dicomnode.errors import DicomnodeError


class StoreHandlerFailedError(DicomnodeError):
    """The sink could not decide, and has logged why."""


def described(error: BaseException) -> str:
    """Return an exception's type and the line that raised it; its text could hold patient data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"
