"""The host as its own process, as an operator runs it: ``dicomnode-host run --config FILE``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dicomnode.host.foundation.failpoints import VARIABLE
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.operation.control import NotRunningError, ask

_PATIENCE = 60.0


class HostEndedError(AssertionError):
    """The host has ended before it had logged what was waited for."""


class RunningHost:
    """A host process on a data directory and a free port of its own; it can be killed and started again.

    Parameters
    ----------
    directory : pathlib.Path
        Where configuration, data and log go.
    config : str
        The configuration (TOML) but for ``[host]``.
    host : mapping of str to Any
        Keys of ``[host]`` besides ``bind`` and ``data``.
    environment : mapping of str to str
        Further environment variables.
    patience : float
        Seconds within which it must have started; more for tests that run at a low priority.

    Examples
    --------
    >>> with RunningHost(tmp_path, "[pipelines.smooth]") as host:  # doctest: +SKIP
    ...     subprocess.run(["echoscu", "127.0.0.1", str(host.port)])
    """

    def __init__(
        self,
        directory: Path,
        config: str = "",
        *,
        host: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self.patience = patience
        self.directory, self.data = directory, directory / "data"
        self.log = directory / "host.log"
        self.config = directory / "dicomnode.toml"
        directory.mkdir(parents=True, exist_ok=True)
        table = {"bind": "127.0.0.1:0", "data": str(self.data), "reserve": 0, **(host or {})}
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        self.config.write_text(f"[host]\n{lines}\n{config}\n")
        self.environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.seconds_to_serve = 0.0

    def start(self) -> Self:
        """Start the process and wait until it listens."""
        self.start_only()
        text = self.wait_for_log(r"\S+ listens on 127\.0\.0\.1:(\d+)", self.patience)
        self.port = int(text[1])
        self.seconds_to_serve = time.monotonic() - self._began
        return self

    def start_only(self) -> None:
        """Start the process and wait for nothing."""
        command = [sys.executable, "-m", "dicomnode.cli", "run", "--config", str(self.config)]
        self._began = time.monotonic()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self.environment
            )

    def stop(self, *, expect: int = 0, timeout: float = 60.0) -> None:
        """Stop it as systemd would (SIGTERM)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.wait_ended(expect, timeout)

    def wait_ended(self, expect: int, timeout: float = 60.0) -> None:
        """Wait until the process has ended, with this exit code (minus the number of a signal)."""
        assert self.process is not None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            msg = f"the host has not ended within {timeout:g} s: {self.run_as_text()}"
            raise AssertionError(msg) from None
        assert code == expect, f"the host ended with {code} instead of {expect}: {self.run_as_text()}"

    def run_as_text(self) -> str:
        """Return what explains this run: how old it is, where it was to be killed, its log, its threads."""
        assert self.process is not None
        age = time.monotonic() - self._began
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGABRT)  # faulthandler adds to the log where each thread is
            self.process.wait(30)
        point = self.environment.get(VARIABLE, "none")
        log = self.text() or "(empty: it ended before it had anything to say)"
        return f"process {self.process.pid}, {age:.2f} s old, kill point: {point}, log:\n{log}"

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()

    # -- looking ------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return what this run has logged so far."""
        content = self.log.read_bytes() if self.log.exists() else b""
        return content[self._log_from :].decode("utf-8", "replace")

    def wait_for_log(self, pattern: str, timeout: float = _PATIENCE) -> re.Match[str]:
        """Wait until this run has logged something that matches."""
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.text())
            if found:
                return found
            if ended:
                raise HostEndedError(f"the host ended with {self.process.returncode}: {self.run_as_text()}")
            assert time.monotonic() < deadline, f"nothing matches {pattern!r}: {self.run_as_text()}"
            threading.Event().wait(0.02)  # a file cannot be awaited

    def wait_for_jobs(self, count: int, *states: str, timeout: float = _PATIENCE) -> None:
        """Wait until so many jobs are in one of some states (``delivered`` if none is named)."""
        wanted = states or ("delivered",)
        deadline = time.monotonic() + timeout
        while True:
            jobs = self.jobs()
            if sum(job["state"] in wanted for job in jobs) >= count:
                return
            assert time.monotonic() < deadline, f"jobs are {jobs}:\n{self.text()}"
            threading.Event().wait(0.05)

    def wait_for_results(self, count: int, timeout: float = _PATIENCE) -> None:
        """Wait until so many results lie in the outbox: what is over is removed in the background."""
        deadline = time.monotonic() + timeout
        while len(found := list((self.data / "outbox").iterdir())) != count:
            assert time.monotonic() < deadline, f"the outbox has {found}"
            threading.Event().wait(0.02)  # a folder cannot be awaited

    def jobs(self) -> list[dict[str, Any]]:
        """Return the ledger's jobs as plain data."""
        reader = LedgerReader(self.data / "ledger.sqlite")
        try:
            return [
                {"id": job.id, "state": job.state.value, "reason": job.reason, "pipeline": job.pipeline}
                for job in reader.jobs()
            ]
        finally:
            reader.close_reader()

    def instances(self) -> dict[str, str]:
        """Return file -> state of the ledger's instances."""
        reader = LedgerReader(self.data / "ledger.sqlite")
        try:
            return {path: state.value for path, state in reader.instance_states().items()}
        finally:
            reader.close_reader()

    def ask(self, order: str, **details: Any) -> Any:
        """Give it an order over its control socket."""
        return ask(self.data / "control.sock", order, **details)

    @property
    def answers(self) -> bool:
        """Whether it takes orders."""
        try:
            self.ask("status")
        except NotRunningError:
            return False
        return True


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Sequence):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return str(value)
