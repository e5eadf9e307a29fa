"""Sends files to a peer by C-STORE (PS3.4 annex B), as they lie on disk.

pynetdicom's machinery negotiates (:mod:`dicomnode.host.dimse.association_request`); then commands come
from templates and data sets straight from the file (:mod:`dicomnode.host.dimse.data_set_pdus`): nothing
is decoded, no thread runs.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dicomnode.errors import DeliveryError, StructureError
from dicomnode.host.dimse.association_request import NegotiatedContext, Proposal
from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.data_set_pdus import DataSetPDUs
from dicomnode.host.dimse.message_templates import (
    DecodedStoreResponse,
    decode_store_response,
    encode_store_request,
)
from dicomnode.host.dimse.p_data import as_pdus
from dicomnode.host.dimse.requested_association import AssociationEndedError, RequestedAssociation
from dicomnode.host.dimse.transfer_syntax_conversion import convert_file
from dicomnode.host.parsing.file_meta import decode_prefix

_LOG = logging.getLogger(__name__)
_HEAD, _LONGEST_HEAD = 4096, 65_536
_LEAST_RATE: Final = 16_384
"""Bytes a second: the association with a peer that takes a data set more slowly is ended."""


class UnfitFileError(DeliveryError):
    """The file cannot be read, or is not the instance that it should be: nothing was sent."""


class StoreAssociation(RequestedAssociation):
    """An association that stores instances at a peer. For one thread, but for :meth:`break_off`.

    Parameters
    ----------
    host, port
        Where the peer listens.
    called_ae_title, calling_ae_title : str
        The peer's, and this node's.
    contexts : iterable of (str, str)
        SOP class and transfer syntax of all that will be sent, at most 128 pairs.
    timeout : float
        Seconds for each step: to connect (TLS included), to answer the request, to take bytes, to answer a
        C-STORE.
    tls : ssl.SSLContext, optional
        Speak TLS, with this context.

    Attributes
    ----------
    established : bool
        Whether instances can be sent.
    error_comment : str
        Error Comment (0000,0902) of the last answer, as the peer sent it; empty if there was none.

    Raises
    ------
    ValueError
        If `contexts` are none or too many.

    Examples
    --------
    ::

        with StoreAssociation("10.0.0.4", 4242, "PACS", "DICOMNODE", [(CT, EXPLICIT)]) as association:
            status = association.send(path, CT, uid, EXPLICIT)
    """

    def __init__(
        self,
        host: str,
        port: int,
        called_ae_title: str,
        calling_ae_title: str,
        contexts: Iterable[tuple[str, str]],
        *,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            host,
            port,
            called_ae_title,
            calling_ae_title,
            Proposal(contexts),
            timeout=timeout,
            tls=tls,
        )
        self._data_set_pdus: DataSetPDUs | None = None
        self._message_id = 0
        self.error_comment = ""

    # -- sending --------------------------------------------------------------------------------------------

    def send(
        self,
        path: Path,
        SOPClassUID: str,  # noqa: N803 - DICOM's keywords
        SOPInstanceUID: str,  # noqa: N803 - DICOM's own spelling
        TransferSyntaxUID: str,  # noqa: N803 - DICOM's own spelling
    ) -> int | None:
        """Send a PS3.10 file.

        Where the peer does not take its transfer syntax, but another that is uncompressed as well, it is
        converted on the way.

        Parameters
        ----------
        path : Path
            The file.
        SOPClassUID, SOPInstanceUID, TransferSyntaxUID : str
            What its file meta information says.

        Returns
        -------
        int or None
            The Status (0000,0900) of the answer; None if none came (the peer aborted, vanished or took too
            long): the instance may be stored or not, and the association is over.

        Raises
        ------
        NoAcceptedContextError
            If the peer accepted no context for it.
        UnfitFileError
            If the file cannot be read, or is another instance.
        AssociationEndedError
            If the association was over before.
        """
        self.error_comment = ""
        if not self.established or self._acceptance is None:
            raise AssociationEndedError(f"the association with {self._called!r} has ended")
        context = self._acceptance.context_for(SOPClassUID, TransferSyntaxUID)
        try:
            descriptor, begin, end = _opened(path, (SOPClassUID, SOPInstanceUID, TransferSyntaxUID))
            if context.transfer_syntax_uid != TransferSyntaxUID:
                os.close(descriptor)
                descriptor, begin, end = convert_file(path, context.transfer_syntax_uid)
        except (OSError, StructureError) as error:
            raise UnfitFileError(f"{path} cannot be sent: {error}") from None
        try:
            return self._store(descriptor, begin, end, context, SOPClassUID, SOPInstanceUID)
        except ConnectionEndedError as ended:
            _LOG.info("association with %s:%d ended: %s", self._host, self._port, ended)
            self.abort()
            return None
        except OSError as error:
            self.abort()  # part of the message may be with the peer, never all of it
            raise UnfitFileError(f"{path} cannot be read: {error}") from None
        finally:
            os.close(descriptor)

    def _store(  # noqa: PLR0917 - the file, and what it is
        self,
        descriptor: int,
        begin: int,
        end: int,
        context: NegotiatedContext,
        sop_class: str,
        sop_instance: str,
    ) -> int:
        reader, acceptance = self._reader, self._acceptance
        if reader is None or acceptance is None:
            raise ConnectionEndedError("not open")
        data_set_pdus = self._data_set_pdus = self._data_set_pdus or DataSetPDUs(acceptance.max_pdu_length)
        self._message_id = self._message_id % 0xFFFF + 1
        command = encode_store_request(sop_class, sop_instance, self._message_id)
        pdus = as_pdus(context.context_id, command, acceptance.max_pdu_length, command=True)
        deadline = time.monotonic() + self._timeout + (end - begin) / _LEAST_RATE

        def send(data: memoryview) -> None:
            if time.monotonic() > deadline:
                raise ConnectionEndedError("the peer takes the data set too slowly")
            reader.send(data)

        reader.rewind()
        data_set_pdus.send(descriptor, begin, end, context.context_id, pdus, send)
        response = self._receive_response(time.monotonic() + self._timeout)
        if response.message_id != self._message_id:
            raise ConnectionEndedError("a response to another request")
        self.error_comment = response.comment
        return response.status

    def _receive_response(self, deadline: float) -> DecodedStoreResponse:
        response = decode_store_response(self._receive_message(deadline, longest_data_set=0).command)
        if response is None:
            raise ConnectionEndedError("a message that is no response to a C-STORE")
        return response


def _opened(path: Path, expected: tuple[str, str, str]) -> tuple[int, int, int]:
    """Open a file; return its descriptor and where its data set lies."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return descriptor, _data_set_begin(descriptor, expected), os.fstat(descriptor).st_size
    except BaseException:
        os.close(descriptor)
        raise


def _data_set_begin(descriptor: int, expected: tuple[str, str, str]) -> int:
    head = os.pread(descriptor, _HEAD, 0)
    if len(head) == _HEAD and 144 + int.from_bytes(head[140:144], "little") > _HEAD:
        head = os.pread(descriptor, _LONGEST_HEAD, 0)
    meta, begin = decode_prefix(head)
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) != expected:
        raise StructureError("its file meta information names another instance, class or transfer syntax")
    if os.fstat(descriptor).st_size <= begin:
        raise StructureError("it holds no data set")
    return begin
