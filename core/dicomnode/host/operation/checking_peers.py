"""Checks of the peers, by C-ECHO."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from dicomnode.errors import ConfigurationError, DeliveryError
from dicomnode.host.configuration.config import Config, PeerTable
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.dimse.pynetdicom_private import VERIFICATION
from dicomnode.host.operation.finding import Finding, Verdict

_C_ECHO_RQ = 0x0030
_LONGEST_WAIT = 10.0


def check_peers(config: Config) -> Iterator[Finding]:
    """Ask every peer that has an address for an echo, all at once."""
    peers = {name: table for name, table in config.peers.items() if table.address is not None}
    if not peers:
        return
    with ThreadPoolExecutor(len(peers)) as threads:
        yield from threads.map(lambda name: _echo(name, peers[name], config.host.ae_title), peers)


def _echo(name: str, table: PeerTable, calling_ae_title: str) -> Finding:
    what = f"{name} ({table.ae_title} at {table.address})"
    patient = table.model_copy(update={"timeout": min(table.timeout, _LONGEST_WAIT)})
    started = time.monotonic()
    try:
        status = c_echo(Peer(name, patient, calling_ae_title))
    except NoAcceptedContextError:
        message = "it associates, but offers no verification (C-ECHO)"
        return Finding("peers", what, Verdict.WARNING, message)
    except (ConfigurationError, DeliveryError) as error:
        return Finding("peers", what, Verdict.FAILED, str(error))
    if status:
        return Finding("peers", what, Verdict.FAILED, f"it answers C-ECHO with {status:#06x}")
    milliseconds = (time.monotonic() - started) * 1000
    return Finding("peers", what, Verdict.OK, f"it answers C-ECHO ({milliseconds:.0f} ms)")


def c_echo(peer: Peer) -> int:
    """Verify the connection to a peer (PS3.4 annex A) and return the status.

    Raises
    ------
    NoAcceptedContextError
        When it does not offer the service.
    DeliveryError
        When there is no association to be had, or no answer.
    """
    command = {"CommandField": _C_ECHO_RQ, "AffectedSOPClassUID": VERIFICATION}
    with peer.service_association(VERIFICATION) as association:
        return next(answer.status for answer in association.request(command, None))
