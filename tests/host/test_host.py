"""The host as a whole: what it is made of starts together, stops together, and leaves nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import hookimpl
from dicomnode.errors import ListenError
from dicomnode.host.configuration.config import Config
from dicomnode.host.host import Host
from dicomnode.host.operation.control import ask
from dicomnode.host.spool.data_directory import DataDirectory


def config(data: Path, bind: str = "127.0.0.1:0") -> Config:
    """Return the configuration of a host with one pipeline."""
    return Config.model_validate(
        {
            "host": {"bind": bind, "data": data, "reserve": 0, "durability": "process"},
            "pipelines": {"smooth": {"destinations": [f"file:{data / 'results'}"]}},
        }
    )


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Where the port is taken, no thread goes on, the data directory is free, and the next start succeeds."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ListenError, match="cannot listen on"):
            Host(config(tmp_path, f"127.0.0.1:{taken.getsockname()[1]}")).start()
        assert set(threading.enumerate()) <= before
    DataDirectory(tmp_path).lock().unlock()
    with Host(config(tmp_path)) as host:
        assert host.address[1]


def test_a_stop_leaves_nothing_and_is_done_once(tmp_path: Path) -> None:
    """No thread goes on, plugins learn of it once, and a second stop does nothing."""
    before = set(threading.enumerate())
    stopping: list[Any] = []

    def dicomnode_host_stopping(host: Any) -> None:
        stopping.append(host)

    host = Host(config(tmp_path))
    host.hooks.register(SimpleNamespace(dicomnode_host_stopping=hookimpl(dicomnode_host_stopping)), "acme")
    host.start()
    host.stop()
    host.stop()
    assert stopping == [host]
    assert set(threading.enumerate()) <= before


def test_what_a_plugin_is_given_of_the_host(tmp_path: Path) -> None:
    """When it listens: its address, configuration and pipelines, as the page of the hook says."""
    seen: list[Any] = []

    def dicomnode_host_started(host: Any) -> None:
        seen.append((host.address, host.config.host.data, sorted(host.configured_pipelines)))

    host = Host(config(tmp_path))
    host.hooks.register(SimpleNamespace(dicomnode_host_started=hookimpl(dicomnode_host_started)), "acme")
    with host:
        assert seen == [(host.address, tmp_path, ["smooth"])]


def test_the_status_of_a_running_host(tmp_path: Path) -> None:
    """What only the host knows, over its control socket; patients are named on request only."""
    with Host(config(tmp_path)) as host:
        plain = ask(host.data.control, "status")
        with_patients = ask(host.data.control, "status", patients=True)
    assert plain["address"] == f"127.0.0.1:{host.address[1]}"
    assert plain["ae_title"] == host.config.host.ae_title
    assert plain["unstoppable_jobs"] == []
    assert plain["backoffs"] == {}
    (pipeline,) = plain["pipelines"].values()
    assert pipeline["waiting"] == {"patients": 0, "images": 0}
    assert "patients" not in pipeline
    assert with_patients["pipelines"]["smooth"]["patients"] == []


class Terminable(Executor):
    """An executor that counts how it is ended."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take nothing."""
        raise NotImplementedError

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Count."""
        self.calls.append("shutdown")

    def terminate_job(self, future: Future[Any], reason: str) -> bool:
        """End nothing."""
        return False

    def terminate(self) -> None:
        """Count."""
        self.calls.append("terminate")


def test_how_the_executor_of_a_plugin_is_ended(tmp_path: Path) -> None:
    """By `terminate` where it has that, else by `shutdown`; not before the host stops."""
    terminable, plain = Terminable(), ThreadPoolExecutor(1)
    for number, executor in enumerate((terminable, plain)):
        host = Host(config(tmp_path / str(number)))
        provided = SimpleNamespace(dicomnode_executor=hookimpl(lambda executor=executor: executor))
        host.hooks.register(provided, "acme")
        with host:
            assert not terminable.calls or number
            assert plain.submit(int).result(10) == 0
    assert terminable.calls == ["terminate"]
    with pytest.raises(RuntimeError, match="after shutdown"):
        plain.submit(int)
