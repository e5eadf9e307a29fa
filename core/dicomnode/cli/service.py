"""What a service manager such as systemd wants to know (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_service_manager(state: str) -> None:
    """Tell the service manager how far the node is; nothing happens where there is none.

    Parameters
    ----------
    state : str
        ``READY=1`` once images can be received, ``STOPPING=1`` when no more are.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # in the abstract namespace
        address = "\0" + address[1:]
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifying,
    ):
        notifying.sendto(state.encode(), address)
