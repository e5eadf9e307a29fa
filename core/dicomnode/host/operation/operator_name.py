"""Who gives an order on the command line."""

from __future__ import annotations

import os
import pwd


def operator_name() -> str:
    """Return the name of the user who runs this process; behind ``sudo``, of who called it."""
    if caller := os.environ.get("SUDO_USER"):
        return caller
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container whose user has no entry
        return f"user {os.getuid()}"
