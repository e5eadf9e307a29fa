"""The worker process itself: how it is confined, and how it runs tasks."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.workers import worker_child
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_child import TASKS, serve


def repeat(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument, or raise what it says."""
    if "raise" in argument:
        raise {"value": ValueError, "exit": SystemExit, "job": JobFailedError}[argument["raise"]]("no")
    return dict(argument)


def served(monkeypatch: pytest.MonkeyPatch, *arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a worker that is sent tasks, one after the other."""
    monkeypatch.setattr(worker_child, "TASKS", {"repeat": __name__})
    ours, theirs = socket.socketpair()
    with ours:
        thread = threading.Thread(target=serve, args=(theirs,))
        thread.start()
        channel = Channel(ours, blocking=True)
        messages: list[dict[str, Any]] = []
        for number, argument in enumerate(arguments, 1):
            channel.send({"task": "repeat", "argument": dict(argument)})
            while len(messages) < 2 * number:
                messages += channel.receive()
        ours.shutdown(socket.SHUT_WR)
        thread.join(60)
    assert not thread.is_alive()
    theirs.close()
    return messages


def test_tasks_are_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task is announced before it runs, so that a crash in it can be told from one before it."""
    assert served(monkeypatch, {"a": 1}, {"b": 2}) == [
        {"begun": True}, {"done": {"a": 1}}, {"begun": True}, {"done": {"b": 2}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        ("value", "raised", "repeat raised ValueError: no"),
        ("exit", "exited", "repeat called sys.exit(no)"),
        ("job", "raised", "no"),
    ],
)
def test_a_task_that_raises(monkeypatch: pytest.MonkeyPatch, raised: str, kind: str, reason: str) -> None:
    """A task that raises, or exits, is a failure with its traceback; the worker is there for the next."""
    _, failed, _, done = served(monkeypatch, {"raise": raised}, {"a": 1})
    assert (failed["failed"]["kind"], failed["failed"]["reason"]) == (kind, reason)
    assert "Traceback" in failed["failed"]["log_tail"]
    assert done == {"done": {"a": 1}}


@pytest.mark.parametrize(("name", "module"), TASKS.items())
def test_every_task_is_there(name: str, module: str) -> None:
    """The names of tasks lead to functions: a worker imports them only when it is asked."""
    assert callable(getattr(importlib.import_module(module), name))


def test_a_confined_process() -> None:
    """It has a session, a file mode mask and limits of its own, no input, and its output goes to the log."""
    code = """
        import json, os, resource, sys
        from pathlib import Path
        from dicomnode.host.workers.worker_child import confine_process
        from dicomnode.host.workers.worker_settings import WorkerSettings

        nice = os.nice(0)
        confine_process(WorkerSettings(disk=1 << 20, nice=3), int(sys.argv[1]))
        print(json.dumps({
            "session": os.getsid(0) == os.getpid(),
            "umask": os.umask(0),
            "input": sys.stdin.read(),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
            "file": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
            "nice": os.nice(0) - nice,
            "killed first": Path("/proc/self/oom_score_adj").read_text().strip(),
        }), flush=True)
        print("an error", file=sys.stderr, flush=True)
    """
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(writing)],
            input="nothing of this\n", capture_output=True, text=True, pass_fds=(writing,), timeout=60,
            check=True,
        )  # fmt: skip
    finally:
        os.close(writing)
    with os.fdopen(reading) as log:
        state, error = log.read().splitlines()
    assert (done.stdout, done.stderr, error) == ("", "", "an error")
    assert json.loads(state) == {
        "session": True, "umask": 0o077, "input": "", "core": 1, "file": 1 << 20, "nice": 3,
        "killed first": "500",
    }  # fmt: skip
