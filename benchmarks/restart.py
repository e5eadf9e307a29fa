"""How long a host takes to have its trees again: many instances in spool and ledger, then recovery.

Run it with ``python benchmarks/restart.py [--instances 1000000] [--folder FOLDER]``. Files are empty:
recovery compares their names with the ledger's rows and opens none that the ledger knows.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.host.upkeep.recovery import Recovery
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registration, Registry

_PER_FOLDER = 2000
_PER_PATIENT = 200


class Images(AbstractInput):
    """Any image."""

    several_series = True


class Nothing(AbstractPipeline):
    """Waits for ever."""

    inputs = {"images": Images}  # noqa: RUF012 - as an author writes it
    gather_by = "patient"

    def process(self, inputs: object) -> NoOutput:
        """Do nothing."""
        return NoOutput()


def record(number: int) -> InstanceRecord:
    """Return the row of an instance, with the values that a receiver would have read."""
    series, patient = number // 100, number // _PER_PATIENT
    index = {
        0x00080016: "1.2.840.10008.5.1.4.1.1.2",
        0x00080018: f"1.2.826.0.1.3680043.{number}",
        0x00080060: "CT",
        0x00100020: f"P{patient}",
        0x0020000D: f"1.2.826.0.1.{patient}",
        0x0020000E: f"1.2.826.0.2.{series}",
        0x00200013: number % 100,
        0x00200032: [-100.0, -100.0, float(number % 100)],
        0x00200037: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        0x00280030: [0.5, 0.5],
    }
    return InstanceRecord(
        path=f"kept/{number // _PER_FOLDER + 1:06x}/{number:08x}.dcm",
        pipeline="nothing",
        container_key=f"P{patient}",
        inputs=("images",),
        SOPInstanceUID=str(index[0x00080018]),
        index=index,
        received=float(number),
        association="a",
    )


def main() -> None:
    """Fill a data directory, and recover it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        data = DataDirectory(Path(folder)).lock()
        ledger = Ledger(data.ledger, durable=False)
        Spool(data.spool, "process")
        for number in range(options.instances):
            row = record(number)
            path = data.spool / row.path
            if number % _PER_FOLDER == 0:
                path.parent.mkdir(parents=True)
            path.touch()
            ledger.post(add_instance(row))
        ledger.close()
        began = time.monotonic()
        ledger = Ledger(data.ledger, durable=False)
        opened = time.monotonic()
        registration = Registration("pipelines", "nothing", "benchmark:Nothing", "benchmark", "1", None)
        configured = ConfiguredPipeline("nothing", Nothing(), "NOTHING", (), PipelineTable(), registration)
        trees = {"nothing": WaitingImages(configured, Hooks(Registry()))}
        found = Recovery(data, ledger, Spool(data.spool, "process"), trees, frozenset()).run()
        done = time.monotonic()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = data.ledger.stat().st_size / options.instances
        print(
            f"{found.waiting} instances in {len(trees['nothing'].keys())} patients: ledger opened and"
            f" checked in {opened - began:.1f} s, recovered in {done - opened:.1f} s"
            f" ({(done - opened) / options.instances * 1e6:.0f} us each); peak memory {memory:.0f} MB,"
            f" ledger {size:.0f} bytes an instance"
        )
        ledger.close()
        data.unlock()


if __name__ == "__main__":
    main()
