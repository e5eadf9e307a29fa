"""The sender of a simulation: hands files to the reception as the receiver hands it what comes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import StructureError
from dicomnode.host.dimse.pynetdicom_private import Negotiator
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, StoreRequest
from dicomnode.host.parsing.file_meta import FileMeta, decode_prefix
from dicomnode.host.parsing.inspection import RefusedDataSetError
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.simulation.sending import Found, SimulatedAssociation
from dicomnode.host.simulation.simulated_host import SimulatedHost
from dicomnode.pipeline.pipeline_tree import Admission

_SERIES = 0x0020000E
_HEAD = 65_536
_CALLING = "SIMULATED"


class Sender:
    """Sends files over simulated associations.

    Parameters
    ----------
    host : SimulatedHost
        To whom.
    """

    def __init__(self, host: SimulatedHost) -> None:
        self._host, settings = host, host.settings
        self._negotiator = Negotiator(settings)

    def find(self, folder: Path) -> tuple[list[Found], list[Path]]:
        """Return the DICOM files of a folder, and those that are none."""
        found, others = [], []
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            try:
                with path.open("rb") as file:
                    decode_prefix(file.read(_HEAD))
            except StructureError:
                others.append(path)
                continue
            try:
                _, index = self._host.spool.read_index(path, frozenset())
            except StructureError:  # it is sent, and refused
                index = {}
            found.append(Found(path, str(index.get(_SERIES) or "")))
        return found, others

    def send(self, association: SimulatedAssociation, file: Found) -> dict[str, Any]:
        """Send a file, and return what came of it.

        Returns
        -------
        dict
            ``SOPInstanceUID``, ``status`` (``None`` where no presentation context would be accepted),
            ``reason``, ``container_key``, and ``inputs``: name -> why it does not want the image, or
            ``None``.
        """
        data = file.path.read_bytes()
        meta, offset = decode_prefix(data[:_HEAD])
        uid = meta.MediaStorageSOPInstanceUID
        report: dict[str, Any] = {"SOPInstanceUID": uid, "status": None, "container_key": None, "inputs": {}}
        unacceptable = self._negotiator.refusal_of(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        if unacceptable is not None:
            return {**report, "reason": f"{unacceptable}: no presentation context"}
        tree = self._host.tree
        tree.said.pop(uid, None)
        response = self._answer(association, file, meta, data[offset:])
        self._host.reception.flush()
        report |= {"status": response.status, "reason": response.comment}
        match tree.said.get(uid):
            case Admission() as said:
                return {**report, "container_key": said.container_key, "inputs": dict(said.reasons)}
            case str() as raised:
                return {**report, "reason": raised}
        return report if response.status else {**report, "reason": "it is here already"}

    def end(self, association: SimulatedAssociation) -> AssociationEnd:
        """End an association, and return how."""
        end = AssociationEnd.ABORTED if association.aborted else AssociationEnd.RELEASED
        self._host.reception.association_ended(self._info(association), end)
        self._host.reception.flush()
        return end

    def _answer(
        self, association: SimulatedAssociation, file: Found, meta: FileMeta, data: bytes
    ) -> StoreResponse:
        reception = self._host.reception
        request = StoreRequest(
            self._info(association),
            1,
            meta.MediaStorageSOPClassUID,
            meta.MediaStorageSOPInstanceUID,
            meta.TransferSyntaxUID,
        )
        refusal = reception.admit(request)
        if refusal is not None:
            return refusal
        try:
            _, index = self._host.spool.read_index(file.path, reception.wanted)
        except RefusedDataSetError as refused:
            return refused.response
        except StructureError as error:
            return StoreResponse.plain(Status.UNREADABLE, str(error))
        return self._received(request, index, data)

    def _received(
        self, request: StoreRequest, index: Mapping[int, IndexedValue], data: bytes
    ) -> StoreResponse:
        meta = FileMeta(
            request.AffectedSOPClassUID,
            request.AffectedSOPInstanceUID,
            request.transfer_syntax_uid,
            _CALLING,
            request.association.called_ae_title,
        )
        writer = self._host.spool.new(meta)
        writer.write([data])
        spooled = writer.finish()
        try:
            return self._host.reception.received(request, index, spooled)
        finally:
            spooled.discard()

    def _info(self, association: SimulatedAssociation) -> AssociationInfo:
        title = self._host.configured.ae_title
        return AssociationInfo(
            f"simulated-{association.number}", _CALLING, title, "127.0.0.1", datetime.now(UTC)
        )
