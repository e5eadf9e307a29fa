"""What lazy handles and trees cost as they grow: memory and time an instance, at several sizes.

Run it with ``python benchmarks/trees.py [--sizes 1000,10000,100000,1000000] [--json FILE]``. Each size runs
in a process of its own, so that the peak of one is not the peak of the next; memory is tracemalloc's (one
run, without timing) and the process's (resident set, the run that is timed).
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicomnode import DicomTree, LazyDataset

PER_SERIES, SERIES_A_STUDY, STUDIES_A_PATIENT = 200, 4, 2
RUNS = 5


def handles(count: int) -> Iterator[LazyDataset]:
    """Yield handles with ten indexed tags, as the receiver would make them after a CT."""
    root = "1.2.826.0.1.3680043.8.498."
    for number in range(count):
        series = number // PER_SERIES
        study = series // SERIES_A_STUDY
        yield LazyDataset(
            f"/var/lib/dicomnode/spool/{number % 256:02x}/{number * 2654435761 % 2**256:064x}.dcm",
            {
                0x00080016: "1.2.840.10008.5.1.4.1.1.2",
                0x00080018: f"{root}{10**37 + number}",
                0x00080020: "20260101",
                0x00080060: "CT",
                0x0008103E: f"AX {series % 7}",
                0x00100020: f"PATIENT{study // STUDIES_A_PATIENT}",
                0x0020000D: f"{root}{2 * 10**37 + study}",
                0x0020000E: f"{root}{3 * 10**37 + series}",
                0x00200013: number % PER_SERIES + 1,
                0x00200032: [-250.0, -250.0, 1.25 * number],
            },
        )


def resident() -> int:
    """Return the resident set of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def memory(count: int) -> dict[str, float]:
    """Return bytes an instance: of the handle alone, and of the handle in its tree."""
    list(handles(10))  # caches and imports are not the handles'
    gc.collect()
    tracemalloc.start()
    held = list(handles(count))
    gc.collect()
    alone = tracemalloc.get_traced_memory()[0] - sys.getsizeof(held)
    tree = DicomTree()
    tree.add_images(held)
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0] - sys.getsizeof(held)
    tracemalloc.stop()
    return {"handle_bytes": alone / count, "handle_in_tree_bytes": whole / count}


def timing(count: int) -> dict[str, float]:
    """Return microseconds an instance, and the resident set that came of it."""
    DicomTree().add_images(handles(1000))  # what happens once is no instance's
    before = resident()
    started = time.perf_counter()
    held = list(handles(count))
    made = time.perf_counter()
    tree = DicomTree()
    tree.add_images(held)
    inserted = time.perf_counter()
    names = [str(image.SOPInstanceUID) for image in held]
    asked = time.perf_counter()
    found = sum(name in tree for name in names)
    looked = time.perf_counter()
    iterated = sum(1 for _ in tree)
    walked = time.perf_counter()
    length = len(tree)
    counted = time.perf_counter()
    if not count == found == iterated == length:
        message = f"{count} handles, but {found} found, {iterated} iterated, {length} counted"
        raise AssertionError(message)
    grown = resident() - before
    for name in names:
        tree.remove(name)
    removed = time.perf_counter()
    micro = 1e6 / count
    return {
        "make_us": (made - started) * micro,
        "insert_us": (inserted - made) * micro,
        "attribute_us": (asked - inserted) * micro,
        "contains_us": (looked - asked) * micro,
        "iterate_us": (walked - looked) * micro,
        "len_ms": (counted - walked) * 1e3,
        "remove_us": (removed - counted) * micro,
        "resident_bytes": grown / count,
    }


def measured(count: int) -> dict[str, Any]:
    """Return the medians of a size, and the spread of the insertion."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        runs = [pool.apply(timing, (count,)) for _ in range(RUNS + 1)][1:]
        size = pool.apply(memory, (count,))
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    inserts = sorted(run["insert_us"] for run in runs)
    return {"count": count, **size, **medians, "insert_us_spread": [inserts[0], inserts[-1]]}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measured(int(size)) for size in arguments.sizes.split(",")]
    columns = [key for key in rows[0] if key != "insert_us_spread"]
    print(" ".join(f"{column:>20}" for column in columns))
    for row in rows:
        print(" ".join(f"{row[column]:>20,.2f}" for column in columns))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
