"""What an executor may offer the host beyond ``concurrent.futures.Executor``."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class TerminableExecutor(Protocol):
    """An executor that can end a job that it runs.

    The hook ``dicomnode_executor`` may return any ``concurrent.futures.Executor``. One that has both methods,
    too, is asked to end jobs that are discarded, and everything when the host stops. Of any other executor
    the host cancels what has not begun, and drops the result of what goes on.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> isinstance(ThreadPoolExecutor(), TerminableExecutor)
    False
    """

    def terminate_job(self, future: Future[Any], reason: str) -> bool:
        """End the job of a future, begun or not, and return at once.

        Called on the host's scheduler thread.

        Parameters
        ----------
        future : concurrent.futures.Future
            What :meth:`~concurrent.futures.Executor.submit` returned.
        reason : str
            Why, in words that hold no patient data.

        Returns
        -------
        bool
            Whether the job ends: its future is soon cancelled, or done with whatever result. With ``False``
            the host counts the job as one that goes on.
        """
        ...

    def terminate(self) -> None:
        """End every job now, and give back what the executor holds. Called once, when the host stops."""
        ...
