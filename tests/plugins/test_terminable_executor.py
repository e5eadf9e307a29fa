"""What an executor may offer beyond ``concurrent.futures.Executor``."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.plugins.terminable_executor import TerminableExecutor


class Half(Executor):
    """Can end a job, and not everything."""

    def terminate_job(self, future: Future[Any], reason: str) -> bool:
        """End nothing."""
        return False


def test_which_executors_can_end_jobs() -> None:
    """The host's own pool can; a pool of threads cannot, and one of the two methods is not enough."""
    with WorkerPool() as pool:
        assert isinstance(pool, TerminableExecutor)
    with ThreadPoolExecutor() as threads:
        assert not isinstance(threads, TerminableExecutor)
    assert not isinstance(Half(), TerminableExecutor)
