"""Fuzzing of everything that reads bytes that others wrote: data sets, files, PDUs, messages.

::

    PYTHONPATH=tests python tests/faults/fuzz_scanners.py                      # ten minutes, all targets
    PYTHONPATH=tests python tests/faults/fuzz_scanners.py --seconds 60 walk header
    PYTHONPATH=tests python tests/faults/fuzz_scanners.py --replay FILE walk   # an input that was kept

The targets are those of ``tests/scanner_targets.py``; ``--list`` names them. Sound inputs are drawn at random
(``--seed`` gives others), damaged, and read. A watchdog reports an input that takes more than two seconds of
processor time or a minute altogether; anything that a reader raises beyond what it declares is reported too.
An input that is reported is kept in ``--keep`` (a folder), and one of each kind is printed. The exit status
is 1 if there were any.

Where atheris is installed (it is no dependency), ``--atheris`` fuzzes one target guided by its coverage,
until the first fault::

    PYTHONPATH=tests python tests/faults/fuzz_scanners.py --atheris walk --seconds 600
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path


def fuzz_guided(name: str, seed: int, seconds: int) -> None:
    """Fuzz one target with atheris; this ends the process."""
    import atheris

    with atheris.instrument_imports(include=["dicomnode"]):
        from scanner_targets import TARGETS
    be_quiet()
    random_ = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="seeds"))
    for number in range(200):
        (folder / str(number)).write_bytes(TARGETS[name].seed(random_))
    options = ["-timeout=20", "-max_len=20000", f"-max_total_time={seconds}", str(folder)]
    atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
    atheris.Fuzz()


def be_quiet() -> None:
    """Keep what the readers log and warn of from the terminal."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def main() -> int:
    """Fuzz as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--replay", type=Path, default=None, metavar="FILE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--atheris", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    if options.atheris:
        fuzz_guided(options.targets[0], seed, options.seconds)
    from fuzzing import Report, fuzz
    from scanner_targets import TARGETS

    if options.list:
        print(*TARGETS, sep="\n")  # noqa: T201 - for who runs the fuzzer
        return 0
    be_quiet()
    chosen = {name: TARGETS[name] for name in options.targets or TARGETS}
    keep = options.keep or Path(tempfile.mkdtemp(prefix="faults"))
    keep.mkdir(parents=True, exist_ok=True)
    report = Report(keep)
    if options.replay is not None:
        for name, target in chosen.items():
            report.run(name, target, options.replay.read_bytes())
    else:
        print(f"seed {seed}")  # noqa: T201 - as above
        fuzz(chosen, seed, report, options.seconds)
    report.print()
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
