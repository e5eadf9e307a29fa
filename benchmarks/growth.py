"""What an instance costs a host that has many already: rate, memory, ledger, restart.

::

    python benchmarks/growth.py [--to 100000] [--checksums] [--folder /dev/shm] [--json FILE]

A host takes images of 64 x 64 over four associations that all end in an abort, so that every image waits in
the tree. At each power of ten it is measured how fast the last thousand came, what memory the host has for
itself, how large the ledger is; then the host is stopped and started again, until it listens. A host reads
what has waited for a while once more, for its checksum; that is put off here unless it is asked for, since it
goes on beside the receiving of whatever comes and is not a part of it.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peers.clients import IMAGES, RawClient
from peers.servers import Conditions, Running, free_port, host_command

_IMAGES = IMAGES["64x64"]
_MAX_PDU = 131_072
_LAST = 1_000
_AT_ONCE = 50_000


class Host:
    """A host that is stopped and started again on the same directory."""

    def __init__(self, folder: Path, *, checksums: bool) -> None:
        self._given = Conditions(_MAX_PDU, "process", folder, free_port())
        settings = {} if checksums else {"checksum_after": "7 d"}
        self._command = host_command(self._given, 1, **settings)
        self.port = self._given.port
        self.ledger = folder / "data" / "ledger.sqlite"
        self.process = self._started()

    def _started(self) -> Running:
        log = (self._given.directory / "log").open("ab")
        with log:
            started = subprocess.Popen([*self._command], stdout=log, stderr=log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if started.poll() is not None:
                    raise RuntimeError(f"the host has ended: {self._given.directory / 'log'}") from None
                time.sleep(0.02)
            else:
                return Running(started, self.port)

    def stop(self) -> None:
        """Stop it, as a service manager would."""
        self.process.process.send_signal(signal.SIGTERM)
        self.process.process.wait()

    def restart(self) -> float:
        """Stop it, and return the seconds until it listens again."""
        self.stop()
        begin = time.perf_counter()
        self.process = self._started()
        return time.perf_counter() - begin


def _send(client: RawClient, host: Host, first: int, count: int) -> float:
    sent = client.warm_up(host.port, _IMAGES, count, associations=4, max_pdu=_MAX_PDU, first=first)
    return sent.seconds


def grow(folder: Path, to: int, *, checksums: bool) -> list[dict[str, Any]]:
    """Measure at each power of ten."""
    host, client = Host(folder, checksums=checksums), RawClient(folder)
    rows: list[dict[str, Any]] = []
    there, target = 0, 1_000
    print(
        f"{'instances':>10}{'a second':>10}{'CPU us':>8}{'MB':>7}{'ledger MB':>11}{'restart s':>11}{'MB':>7}"
    )
    try:
        while target <= to:
            while (more := min(target - _LAST - there, _AT_ONCE)) > 0:
                _send(client, host, there + 1, more)
                there += more
            time.sleep(1)
            before = host.process.cpu()
            seconds = _send(client, host, there + 1, _LAST)
            there += _LAST
            time.sleep(1)  # the ledger's last rows
            cpu, memory = host.process.cpu() - before, host.process.memory()
            ledger = sum(file.stat().st_size for file in host.ledger.parent.glob("ledger*"))
            restart = host.restart()
            row = {
                "instances": there,
                "instances_per_second": _LAST / seconds,
                "cpu_us_per_instance": 1e6 * cpu / _LAST,
                "memory_mb": memory / 2**20,
                "ledger_mb": ledger / 2**20,
                "restart_seconds": restart,
                "memory_mb_after_restart": host.process.memory() / 2**20,
            }
            rows.append(row)
            numbers = list(row.values())
            form = "{:>10}{:>10.0f}{:>8.0f}{:>7.0f}{:>11.1f}{:>11.2f}{:>7.0f}"
            print(form.format(*numbers), flush=True)
            target *= 10
    finally:
        host.stop()
    return rows


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=int, default=100_000, help="1000000 takes some 10 GB and half an hour")
    parser.add_argument("--checksums", action="store_true", help="take them meanwhile, as a host does")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="dicomnode-") as folder:
        rows = grow(Path(folder), arguments.to, checksums=arguments.checksums)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
