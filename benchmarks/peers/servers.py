"""The servers that are compared, each started afresh for a run with a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_CPU_CLOCK = 2  # of a process, in clock_gettime's numbers: ~pid << 3 | 2
_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Conditions:
    """What is equal for all servers of a run."""

    max_pdu: int
    durability: str
    directory: Path
    port: int
    no_delay: bool = True
    """Whether DCMTK is told to do without Nagle's algorithm. Debian's does not unless it is told."""


Command = Callable[[Conditions], Sequence[str]]


@dataclass(frozen=True)
class Server:
    """A server: how it is called in the table, and how it is started."""

    name: str
    command: Command
    ours: bool = False
    hooks: str = ""
    """The source of a plugin with hooks that is installed for this server alone."""


def _storescp(*options: str) -> Command:
    def command(given: Conditions) -> Sequence[str]:
        where = ["-od", str(given.directory), "-pdu", str(given.max_pdu)]
        return ["/usr/bin/storescp", "-dhl", *options, *where, str(given.port)]

    return command


def _python(script: str, *more: str) -> Command:
    def command(given: Conditions) -> Sequence[str]:
        how = [given.durability, *more] if script == "scp_ours.py" else more
        where = [str(given.port), str(given.directory), str(given.max_pdu)]
        return [sys.executable, str(HERE / script), *where, *how]

    return command


def _sink(given: Conditions) -> Sequence[str]:
    return [str(compiled("raw_sink")), str(given.port), str(given.directory), str(given.max_pdu)]


def _orthanc(given: Conditions) -> Sequence[str]:
    settings = {
        "StorageDirectory": str(given.directory),
        "IndexDirectory": str(given.directory),
        "DicomPort": given.port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "HttpServerEnabled": False,
        "MaximumPduLength": given.max_pdu,
        "SyncStorageArea": given.durability == "power",
        "Plugins": [],
    }
    file = given.directory / "orthanc.json"
    file.write_text(json.dumps(settings), encoding="ascii")
    return ["/usr/sbin/Orthanc", str(file)]


def _host(receivers: int) -> Command:
    return lambda given: host_command(given, receivers)


def host_command(given: Conditions, receivers: int, **settings: str) -> Sequence[str]:
    """Return how a host is started, with a pipeline whose input takes all that the clients send.

    Further settings are keys of ``[host]``.
    """
    more = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    file = given.directory / "host.toml"
    file.write_text(
        f"""
[host]
ae_title = "DICOMNODE"
bind = "127.0.0.1:{given.port}"
data = "{given.directory}/data"
durability = "{given.durability}"
{more}
[receiver]
max_pdu_length = {given.max_pdu}
receivers = {receivers}

[pipelines.smooth]
ae_title = "BENCHMARK"
destinations = ["file:{given.directory}/results"]
on_conflict = "replace"
settle = "1 h"  # what is measured is receiving: no job begins while others still send
""",
        encoding="utf-8",
    )
    return [str(Path(sys.executable).with_name("dicomnode-host")), "--config", str(file), "run"]


_IMAGE_HOOK = """
from dicomnode import Blueprint, StaticElement, hookimpl, looks_at

@hookimpl
{named}def dicomnode_validate_image(image):
    if "LOCALIZER" in image.get("ImageType", ()):
        return "localizers are not processed here"
    if image.get("BurnedInAnnotation") == "YES":
        return "images with burned-in annotation are not processed here"
"""
_OTHER_HOOKS = """
@hookimpl
def dicomnode_blueprint():
    return Blueprint([StaticElement("InstitutionName", "Example Hospital")])

@hookimpl
def dicomnode_job_changed(job):
    pass
"""
HOOKS = {
    server.name: server
    for server in (
        Server("host", _host(1), ours=True),
        Server(
            "+hooks",
            _host(1),
            ours=True,
            hooks=_IMAGE_HOOK.format(named='@looks_at("ImageType", "BurnedInAnnotation")\n') + _OTHER_HOOKS,
        ),
        Server("+unnamed", _host(1), ours=True, hooks=_IMAGE_HOOK.format(named="") + _OTHER_HOOKS),
    )
}
"""A host without hooks, with those of a site, and with one that does not say which attributes it looks at."""

SERVERS = {
    server.name: server
    for server in (
        Server("sink", _sink),
        Server("storescp", _storescp()),
        Server("storescp --fork", _storescp("--fork")),
        Server("storescp --fork +B", _storescp("--fork", "+B")),
        Server("Orthanc", _orthanc),
        Server("pynetdicom raw", _python("scp_pynetdicom.py", "raw")),
        Server("pynetdicom save_as", _python("scp_pynetdicom.py", "save_as")),
        Server("receiver", _python("scp_ours.py", "1"), ours=True),
        Server("receiver x2", _python("scp_ours.py", "2"), ours=True),
        Server("host", _host(1), ours=True),
        Server("host x2", _host(2), ours=True),
    )
}


def compiled(name: str) -> Path:
    """Return the program of a C file, compiled if it is older than that."""
    source, header = HERE / f"{name}.c", HERE / "raw.h"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dicomnode-benchmarks"
    program = cache / name
    newest = max(source.stat().st_mtime, header.stat().st_mtime)
    if not program.exists() or program.stat().st_mtime < newest:
        cache.mkdir(parents=True, exist_ok=True)
        new = program.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O2", "-o", new, source, "-pthread"], check=True)
        new.replace(program)
    return program


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Running:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def cpu(self) -> float:
        """Return the seconds of CPU that it and its children, living and dead, have used."""
        total = 0.0
        for pid in _family(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
                total += time.clock_gettime(~pid << 3 | _CPU_CLOCK)
            except OSError:
                continue
            children = fields.rpartition(")")[2].split()[13:15]
            total += sum(map(int, children)) * _TICK
        return total

    def memory(self) -> int:
        """Return bytes of memory that it and its children have for themselves (PSS) at this moment."""
        total = 0
        for pid in _family(self.process.pid):
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            except OSError:
                continue
            total += (
                sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
            )
        return total


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


@contextmanager
def running(
    server: Server, root: Path, max_pdu: int, durability: str, *, no_delay: bool = True
) -> Iterator[Running]:
    """Start a server with an empty directory below `root`; stop it and remove the directory at the end."""
    directory = root / server.name.replace(" ", "_")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    given = Conditions(max_pdu, durability, directory, free_port(), no_delay)
    log = (directory / "log").open("wb")
    environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
    if server.hooks:
        environment["PYTHONPATH"] = str(_installed(directory / "plugins", server.hooks))
    if no_delay:
        environment["TCP_NODELAY"] = "1"
    with (
        log,
        subprocess.Popen(
            [*server.command(given)], stdout=log, stderr=subprocess.STDOUT, cwd=directory, env=environment
        ) as process,
    ):
        try:
            _wait_for(given, process)
            yield Running(process, given.port)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            shutil.rmtree(directory, ignore_errors=True)


def _installed(folder: Path, source: str) -> Path:
    """Install a plugin with hooks in a folder, as pip would; return the folder."""
    metadata = folder / "benchmark_hooks-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: benchmark-hooks\nVersion: 1.0\nRequires-Dist: dicomnode-host\n",
        encoding="ascii",
    )
    (metadata / "entry_points.txt").write_text(
        "[dicomnode.hooks]\nbenchmark = benchmark_hooks\n", encoding="ascii"
    )
    (folder / "benchmark_hooks.py").write_text(source, encoding="ascii")
    return folder


def _wait_for(given: Conditions, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", given.port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                message = (given.directory / "log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{process.args} does not listen: {message[-2000:]}") from None
            time.sleep(0.02)
        else:
            time.sleep(0.1)
            return
