"""How fast instances are received, by ours and by others, in one run.

::

    python benchmarks/receiving.py [--hooks] [--quick] [--only TEXT] [--servers A,B] [--runs 5] [--json FILE]

Every server is started afresh, with an empty directory, for each of its runs; the runs of all servers are
interleaved, so that what disturbs the machine disturbs all; the first round is thrown away. Shown are medians
and spread of instances a second, and the CPU time that the server takes for one. Ratios are medians of the
ratios within each round. Files lie on tmpfs where nothing is synced, else on a real disk (``--disk``).

With ``--hooks`` a host is compared with the same host and a plugin with hooks: one that names the attributes
that it looks at (``looks_at``), as a site's rules do, and one that does not.

The thin client and the sink are C and are compiled when they are first needed; DCMTK and Orthanc must be
installed. What is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peers.clients import IMAGES, RawClient, ToolClient
from peers.servers import HOOKS, SERVERS, Running, Server, running

_WARM_UP = 100


@dataclass(frozen=True)
class Scenario:
    """One line of questions: what is sent, how, to whom."""

    images: str
    associations: int
    max_pdu: int
    durability: str = "process"
    client: str = "raw"
    servers: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    """Servers that get fewer images, because they would take minutes."""
    against: str = ""
    """The server that the others are compared with; where none is named, ours with those that are not."""

    @property
    def name(self) -> str:
        """How it is called in the table."""
        pdu = f"PDU {self.max_pdu // 1024} k"
        return f"{self.images}, {self.associations} assoc., {pdu}, {self.durability}, {self.client}"


_OURS = ("receiver", "receiver x2", "host", "host x2")
_MANY = (
    "sink",
    "storescp --fork",
    "storescp --fork +B",
    "Orthanc",
    "pynetdicom raw",
    "pynetdicom save_as",
    *_OURS,
)
_ONE = ("storescp", *_MANY)
"""Without ``--fork``, storescp serves one association after the other."""
_SYNCING = ("Orthanc", *_OURS)
_LARGE = ("sink", "storescp --fork", "storescp --fork +B", *_OURS)
_STALLING = tuple((name, 60) for name in _ONE if name not in {"sink", "storescp --fork +B", *_OURS})
SCENARIOS = (
    *(
        Scenario(images, associations, max_pdu, servers=_ONE if associations == 1 else _MANY)
        for max_pdu in (131_072, 16_384)
        for images in ("CT", "64x64")
        for associations in (1, 4, 16)
    ),
    *(Scenario("large", associations, 131_072, servers=_LARGE) for associations in (1, 4, 16)),
    *(Scenario(images, 4, 131_072, "power", servers=_SYNCING) for images in ("CT", "64x64")),
    *(
        Scenario(
            "64x64",
            1,
            16_384,
            client=client,
            servers=(*dict(_STALLING), *_OURS),
            counts=_STALLING,
        )
        for client in ("storescu", "dcmsend")
    ),
)
_WITH_HOOKS = tuple(
    Scenario(images, associations, 131_072, servers=tuple(HOOKS), against="host")
    for images in ("CT", "64x64")
    for associations in (1, 4)
)


@dataclass
class Series:
    """What came of the runs of one server."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return medians and spread."""
        return {
            "instances_per_second": statistics.median(self.rates),
            "least": min(self.rates),
            "most": max(self.rates),
            "cpu_ms_per_instance": statistics.median(self.cpu),
            "peak_memory_mb": max(self.memory, default=0) / 2**20,
            "rates": self.rates,
        }


class Benchmark:
    """Runs scenarios.

    Parameters
    ----------
    shm, disk : Path
        Where servers write that do not sync, and that do.
    runs : int
        Rounds that count.
    quick : bool
        Send fewer images.
    """

    def __init__(self, shm: Path, disk: Path, runs: int, *, quick: bool) -> None:
        self._shm, self._disk, self._runs, self._quick = shm, disk, runs, quick
        self._first = 10_000
        self._raw = RawClient(shm)

    def run(self, scenario: Scenario, servers: Sequence[Server]) -> dict[str, Any]:
        """Measure one scenario with all its servers."""
        series = {server.name: Series() for server in servers}
        for round_ in range(self._runs + 1):
            for server in servers:
                rate, cpu, memory = self._once(scenario, server)
                if round_:
                    series[server.name].rates.append(rate)
                    series[server.name].cpu.append(cpu)
                    series[server.name].memory.append(memory)
        return {
            "scenario": scenario.name,
            "servers": {name: one.summary() for name, one in series.items()},
            "ratios": _ratios(series, scenario.against),
        }

    def _once(self, scenario: Scenario, server: Server) -> tuple[float, float, int]:
        images = IMAGES[scenario.images]
        count = images.quick if self._quick else images.count
        count = min(count, dict(scenario.counts).get(server.name, count))
        root = self._disk if scenario.durability == "power" else self._shm
        raw = scenario.client == "raw"
        with running(server, root, scenario.max_pdu, scenario.durability, no_delay=raw) as process:
            if scenario.images != "large":
                self._raw.warm_up(
                    process.port,
                    images,
                    _WARM_UP,
                    associations=scenario.associations,
                    max_pdu=scenario.max_pdu,
                )
            client = self._raw if raw else ToolClient(scenario.client, self._shm)
            before = process.cpu()
            with _peak(process, measured=scenario.images == "large") as peak:
                sent = client.send(
                    process.port,
                    images,
                    count,
                    self._first,
                    associations=scenario.associations,
                    max_pdu=scenario.max_pdu,
                )
            cpu = process.cpu() - before
        return count / sent.seconds, 1000 * cpu / count, peak[0]


@contextmanager
def _peak(process: Running, *, measured: bool) -> Iterator[list[int]]:
    """Note the most memory that a server has while the block runs."""
    most, stop = [0], threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            most[0] = max(most[0], process.memory())

    thread = threading.Thread(target=work)
    if measured:
        thread.start()
    try:
        yield most
    finally:
        stop.set()
        if measured:
            thread.join()


def _ratios(series: dict[str, Series], against: str) -> dict[str, dict[str, float]]:
    """Return ours divided by each other: medians of the ratios within each round."""
    others = [name for name in series if name == against or not (against or SERVERS[name].ours)]
    return {
        our: {
            name: statistics.median(a / b for a, b in zip(series[our].rates, series[name].rates, strict=True))
            for name in others
        }
        for our in series
        if our not in others
    }


def _say(text: str) -> None:
    print(text, flush=True)


def _show(result: dict[str, Any]) -> None:
    _say(f"\n{result['scenario']}")
    ours = list(result["ratios"])
    heads = "".join(f"{our + ' is':>15}" for our in ours)
    _say(f"  {'':20}{'a second':>10}{'from':>9}{'to':>9}{'CPU ms':>9}{'MB':>7}{heads}")
    for name, row in result["servers"].items():
        times = "".join(
            f"{result['ratios'][our][name]:>14.2f}x" if name in result["ratios"][our] else f"{'':15}"
            for our in ours
        )
        memory = f"{row['peak_memory_mb']:>7.0f}" if row["peak_memory_mb"] else f"{'':7}"
        _say(
            f"  {name:20}{row['instances_per_second']:>10.1f}{row['least']:>9.1f}{row['most']:>9.1f}"
            f"{row['cpu_ms_per_instance']:>9.3f}{memory}{times}"
        )


def _machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": model[0].partition(": ")[2] if model else "",
        "cores": os.cpu_count(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _installed(server: Server) -> bool:
    program = {"storescp": "storescp", "Orthanc": "Orthanc"}.get(server.name.split()[0])
    if server.name == "host":
        return Path(sys.executable).with_name("dicomnode-host").exists()
    return program is None or shutil.which(program) is not None or Path(f"/usr/sbin/{program}").exists()


def main() -> None:
    """Measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hooks", action="store_true", help="a host with and without a plugin with hooks")
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--only", action="append", default=[], help="scenarios whose name holds this text")
    parser.add_argument("--servers", help="these servers only, by name, with commas between")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="where what is synced goes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    known, scenarios = (HOOKS, _WITH_HOOKS) if arguments.hooks else (SERVERS, SCENARIOS)
    names = arguments.servers.split(",") if arguments.servers else list(known)
    missing = [name for name in names if not _installed(known[name])]
    if missing:
        _say(f"left out, because not installed: {', '.join(missing)}")
    results = []
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="dicomnode-") as shm,
        tempfile.TemporaryDirectory(dir=arguments.disk, prefix="dicomnode-") as disk,
    ):
        benchmark = Benchmark(Path(shm), Path(disk), arguments.runs, quick=arguments.quick)
        for scenario in scenarios:
            if all(text in scenario.name for text in arguments.only):
                servers = [known[name] for name in scenario.servers if name in names and name not in missing]
                results.append(benchmark.run(scenario, servers))
                _show(results[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": _machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
