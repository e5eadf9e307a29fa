"""How fast a built series is sent to DCMTK's storescp: by the host, by storescu, by pynetdicom.

::

    python benchmarks/sending.py [--images 200] [--runs 5] [--max-pdu 16384]

All in turn within one run, the first round thrown away. storescp takes everything and writes nothing
(``--ignore``), so that the sender is what is measured. storescu is timed with its start, and once more with
``TCP_NODELAY=1`` in its environment, without which Debian's waits for acknowledgements; pynetdicom sends
datasets that it has in memory. In brackets: milliseconds of the sender's CPU for an image.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pynetdicom import AE

sys.path.insert(0, str(Path(__file__).parent))

from peers.clients import EXPLICIT, IMAGES
from peers.servers import free_port

from dicomnode.host.dimse.store_scu import StoreAssociation

_CT = IMAGES["CT"]


@dataclass
class Times:
    """Images a second, and milliseconds of CPU for one, of each round that counts."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@contextmanager
def _storescp(folder: Path, max_pdu: int) -> Iterator[int]:
    port = free_port()
    command = ["/usr/bin/storescp", "--ignore", "-dhl", "-pdu", str(max_pdu), "-od", str(folder), str(port)]
    with subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}) as process:
        try:
            time.sleep(0.5)
            yield port
        finally:
            process.terminate()


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def _ours(port: int, files: list[Path], uids: list[str]) -> None:
    contexts = [(_CT.sop_class, EXPLICIT)]
    with StoreAssociation("127.0.0.1", port, "STORESCP", "NODE", contexts) as association:
        for path, uid in zip(files, uids, strict=True):
            answer = association.send(path, _CT.sop_class, uid, EXPLICIT)
            if answer:
                raise RuntimeError(f"answered {answer:#06x}")


def _storescu(port: int, folder: Path, **environment: str) -> None:
    command = ["/usr/bin/storescu", "-xe", "127.0.0.1", str(port), "+sd", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)


def _pynetdicom(port: int, datasets: list[pydicom.Dataset]) -> None:
    entity = AE("NODE")
    entity.add_requested_context(_CT.sop_class, EXPLICIT)
    association = entity.associate("127.0.0.1", port, ae_title="STORESCP")
    for dataset in datasets:
        if association.send_c_store(dataset).Status:
            raise RuntimeError("not stored")
    association.release()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--max-pdu", type=int, default=16_384)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="dicomnode-") as folder:
        images = Path(folder, "images")
        images.mkdir()
        files = [images / f"{number}.dcm" for number in range(arguments.images)]
        datasets = [_CT.dataset(number) for number in range(arguments.images)]
        for file, dataset in zip(files, datasets, strict=True):
            dataset.save_as(file, enforce_file_format=True)
        uids = [str(dataset.SOPInstanceUID) for dataset in datasets]
        with _storescp(Path(folder), arguments.max_pdu) as port:
            ways: dict[str, Callable[[], None]] = {
                "the host's sender": lambda: _ours(port, files, uids),
                "storescu": lambda: _storescu(port, images),
                "storescu, TCP_NODELAY": lambda: _storescu(port, images, TCP_NODELAY="1"),
                "pynetdicom send_c_store": lambda: _pynetdicom(port, datasets),
            }
            times = {name: Times() for name in ways}
            for fairness in range(arguments.runs + 1):
                for name, send in ways.items():
                    cpu, begin = _cpu(), time.perf_counter()
                    send()
                    seconds, spent = time.perf_counter() - begin, _cpu() - cpu
                    if fairness:
                        times[name].rates.append(len(files) / seconds)
                        times[name].cpu.append(1000 * spent / len(files))
    ours = times["the host's sender"]
    for name, each in times.items():
        ratio = statistics.median(a / b for a, b in zip(ours.rates, each.rates, strict=True))
        spread = f"{min(each.rates):.0f} to {max(each.rates):.0f}"
        rate, cpu = statistics.median(each.rates), statistics.median(each.cpu)
        print(f"{name:26}{rate:>8.0f} a second ({spread}), {cpu:.2f} ms; the host's is {ratio:.2f}x")


if __name__ == "__main__":
    main()
