"""Signals: none is lost, and none finds a lock in its way."""

from __future__ import annotations

import signal
import subprocess
import sys

HAMMERED = """
import os, signal, threading
from dicomnode.cli.signals import Signals

def hammer():
    for _ in range(3000):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)

with Signals((signal.SIGHUP, signal.SIGTERM)) as signals:
    threading.Thread(target=hammer).start()
    while signals.wait() is signal.SIGHUP:
        pass
    print("over")
"""


def test_signals_at_any_instant() -> None:
    """However many signals come at whatever moments, the process goes on to the last of them."""
    done = subprocess.run(
        [sys.executable, "-c", HAMMERED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "over\n"


def test_what_came_before_the_wait_is_heard_in_order() -> None:
    """Signals that come while nobody waits, during the start of a host, are not lost."""
    code = (
        "import os, signal\nfrom dicomnode.cli.signals import Signals\n"
        "before = signal.getsignal(signal.SIGHUP)\n"
        "with Signals((signal.SIGHUP, signal.SIGTERM)) as signals:\n"
        "    for number in (signal.SIGHUP, signal.SIGTERM):\n"
        "        os.kill(os.getpid(), number)\n"
        "    print(signals.wait().name, signals.wait().name)\n"
        "assert signal.getsignal(signal.SIGHUP) is before\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("SIGHUP SIGTERM\n", -signal.SIGTERM), done.stderr
