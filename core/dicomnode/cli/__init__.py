"""Floor 5: the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``dicomnode-host``: the console script.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of the process's own.
    """
    from dicomnode.cli.command_line import run_command_line

    sys.exit(run_command_line(arguments))
