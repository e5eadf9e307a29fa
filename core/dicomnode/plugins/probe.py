"""Loading every plugin, each in a process of its own, which it may end without harm to the host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dicomnode.errors import PluginError
from dicomnode.plugins.examination import examine
from dicomnode.plugins.plugin import Plugin, PluginStatus
from dicomnode.plugins.registry import HOST_DISTRIBUTION, Registry

TIMEOUT = 120.0
"""Seconds that a plugin may take to be imported."""


def find_problems(registry: Registry, timeout: float = TIMEOUT) -> list[str]:
    """Return a line for each plugin that is not fine: what ``run --strict`` refuses to start with.

    Parameters
    ----------
    registry : Registry
        The plugins; what is found is noted there.
    timeout : float
        Seconds that each plugin may take to be imported.
    """
    examine(registry)
    load_each(registry, timeout)
    return registry.problems()


def load_each(registry: Registry, timeout: float = TIMEOUT) -> None:
    """Load all that each active plugin registers; note what goes wrong, and which hooks there are."""
    active = [
        plugin
        for plugin in registry.plugins
        if plugin.status is PluginStatus.ACTIVE and plugin.distribution != HOST_DISTRIBUTION
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda plugin: _load(plugin, timeout), active))


def _load(plugin: Plugin, timeout: float) -> None:
    with tempfile.TemporaryDirectory(prefix="dicomnode-plugin-") as folder:
        report = Path(folder) / "report.json"
        process = subprocess.Popen(  # noqa: S603 - our own Python, a name from metadata
            [sys.executable, "-m", __name__, plugin.distribution, str(report)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            plugin.fail(f"importing it takes longer than {timeout:g} s")
            return
        finally:
            _kill(process)
        if not report.exists():  # os._exit or a segfault: it ended before the report
            plugin.fail(f"importing it ended the process ({_described(code)})")
            return
        found = json.loads(report.read_text(encoding="utf-8"))
    plugin.note_hooks(found["hooks"])
    if found["reason"]:
        plugin.fail(found["reason"])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, and everything that the plugin may have started in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _described(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _report(distribution: str, file: Path) -> None:
    """Load what one distribution registers and write down what came of it. Runs in the process of its own."""
    from dicomnode.plugins.hooks import Hooks

    registry = Registry(only=[distribution])
    Hooks(registry)
    plugin = next(each for each in registry.plugins if each.distribution == distribution)
    for registration in plugin.registrations:
        with suppress(PluginError):  # noted with the plugin
            registry.load_registration(registration)
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps({"reason": plugin.reason, "hooks": plugin.hooks}), encoding="utf-8")
    partial.rename(file)


if __name__ == "__main__":
    _report(sys.argv[1], Path(sys.argv[2]))
