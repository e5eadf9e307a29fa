"""Peers on this machine for demonstrations and tests: one that receives, and one that sends.

They are plain pynetdicom, so that what the host does is shown to another implementation than its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association

from dicomnode.dicom.values.safe import safe_name
from dicomnode.errors import DeliveryError

_TIMEOUT = 30.0
_MOST_CONTEXTS = 128


class ReceivingPeer:
    """A storage SCP on the loopback interface that keeps what it is sent, in memory and on disk.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files go, named by their SOP Instance UIDs.
    ae_title : str
        Its AE title.

    Examples
    --------
    >>> with ReceivingPeer(Path("/tmp/peer")) as peer:  # doctest: +SKIP
    ...     peer.wait_for(5)
    """

    def __init__(self, folder: Path, ae_title: str = "LOOPBACK") -> None:
        self.folder, self.ae_title = folder, ae_title
        self._received: list[Dataset] = []
        self._changed = threading.Condition()
        self._server: Any = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.socket.getsockname()[1])

    @property
    def address(self) -> str:
        """The same as ``HOST:PORT``, as the configuration has it."""
        return f"127.0.0.1:{self.port}"

    @property
    def received(self) -> list[Dataset]:
        """What has come so far, in order of arrival."""
        with self._changed:
            return list(self._received)

    def wait_for(self, count: int, timeout: float = 60.0) -> list[Dataset]:
        """Wait until so many instances have come, and return all that have, even if they are fewer."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._received) >= count, timeout)
            return list(self._received)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        ae = AE(self.ae_title)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), context.transfer_syntax)
        self._server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        path = self.folder / f"{safe_name(str(dataset.SOPInstanceUID))}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        with self._changed:
            self._received.append(dataset)
            self._changed.notify_all()
        return 0x0000


def send_files(
    paths: Iterable[Path],
    address: tuple[str, int],
    called_ae_title: str,
    *,
    calling_ae_title: str = "LOOPBACK",
    sent: Callable[[Path, int], None] = lambda path, status: None,  # noqa: ARG005 - nobody looks
) -> list[int]:
    """Send files over one association, and release it.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        Part 10 files.
    address : (str, int)
        Where to.
    called_ae_title, calling_ae_title : str
        The AE titles.
    sent : callable
        Called after each file with its path and C-STORE status.

    Returns
    -------
    list of int
        The C-STORE status of each.

    Raises
    ------
    DeliveryError
        When there is no association, or it is lost.
    """
    files = list(paths)
    contexts = (_context_of(path) for path in files)
    association = associate(contexts, address, called_ae_title, calling_ae_title)
    statuses = []
    try:
        for path in files:
            answer = association.send_c_store(path)
            if "Status" not in answer:
                raise DeliveryError(f"the association with {called_ae_title} was lost")
            statuses.append(int(answer.Status))
            sent(path, statuses[-1])
    finally:
        association.release()
    return statuses


def associate(
    contexts: Iterable[tuple[str, str]], address: tuple[str, int], called_ae_title: str, calling_ae_title: str
) -> Association:
    """Return an established association.

    Parameters
    ----------
    contexts : iterable of (str, str)
        SOP Class UID and Transfer Syntax UID of what will be sent.
    address : (str, int)
        Where to.
    called_ae_title, calling_ae_title : str
        The AE titles.

    Raises
    ------
    DeliveryError
        When the peer does not answer or does not accept.
    """
    ae = AE(calling_ae_title)
    for SOPClassUID, TransferSyntaxUID in sorted(set(contexts))[:_MOST_CONTEXTS]:  # noqa: N806 - DICOM's own
        ae.add_requested_context(SOPClassUID, TransferSyntaxUID)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _TIMEOUT
    association = ae.associate(*address, ae_title=called_ae_title)
    if not association.is_established:
        raise DeliveryError(f"no association with {called_ae_title} at {address[0]}:{address[1]}")
    _leave_answers(association)
    return association


def _leave_answers(association: Association) -> None:
    """Leave the messages of the peer to who waits for an answer.

    pynetdicom's own thread takes requests of a peer off the same queue. It is paused while an answer is
    awaited, but passes for paused, too, where it has just been told to go on: then it takes the answer, and
    who sent waits until the timeout. A peer asks nothing here, so the thread is to take nothing.
    """
    take = association.dimse.get_msg
    association.dimse.get_msg = (  # type: ignore[method-assign]  # pynetdicom has no other way
        lambda block=False: take(block=True) if block else (None, None)
    )


def _context_of(path: Path) -> tuple[str, str]:
    meta = dcmread(path, specific_tags=["SOPClassUID"]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


__all__ = ["ReceivingPeer", "associate", "send_files"]
