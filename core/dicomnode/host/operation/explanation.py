"""What the node would do with a file: which pipelines and inputs take it, and which rule refuses it.

The same code decides as for an image from the network; only nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ImageRefusedError, StructureError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.gathering_rules import gathering_rules
from dicomnode.host.configuration.receiver_building import receiver_settings
from dicomnode.host.dimse.pynetdicom_private import Negotiator
from dicomnode.host.gathering.duplicates import AnyFile, Held, compare
from dicomnode.host.gathering.instance_intake import IS_ANOTHER, answer_to
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.parsing.inspection import RefusedDataSetError
from dicomnode.host.parsing.statuses import Status
from dicomnode.host.spool.spool import read_index

if TYPE_CHECKING:
    from dicomnode.host.configuration.receiver_settings import ReceiverSettings


def explain(
    file: Path, trees: Iterable[WaitingImages], config: Config, wanted: frozenset[int]
) -> dict[str, Any]:
    """Return what would become of a file if it were sent, as plain data.

    Parameters
    ----------
    file : pathlib.Path
        A PS3.10 file.
    trees : iterable of WaitingImages
        Of the pipelines, with what waits in them.
    config : Config
        The configuration.
    wanted : frozenset of int
        The tags that are read of every instance.

    Returns
    -------
    dict
        ``file``, ``taken`` (by any pipeline), ``opened``, ``refused`` (status and reason, where the receiver
        refuses it whatever the pipeline) and ``pipelines``, each with ``taken``, ``status``, ``reason``,
        ``container_key``, ``inputs`` (name -> the reason, or ``None`` where it is wanted), ``here`` (whether
        the instance is here already) and ``missing`` (what would still be missing).
    """
    settings = receiver_settings(config)
    report: dict[str, Any] = {
        "file": str(file),
        "opened": True,
        "taken": False,
        "refused": None,
        "pipelines": [],
    }
    try:
        # Senders (storescu, dcmsend) request what the data set says, whatever the meta information says.
        meta, index = read_index(file, wanted, settings.limits, as_named=False)
        size = file.stat().st_size
    except RefusedDataSetError as refused:
        report["refused"] = {"status": refused.response.status, "reason": str(refused)}
        return report
    except StructureError as error:
        report["refused"] = {"status": None, "reason": f"it cannot be sent: {error}"}
        return report
    except OSError as error:
        reason = f"it cannot be opened: {error.strerror}"
        return {**report, "opened": False, "refused": {"status": None, "reason": reason}}
    image = LazyDataset(file, index)
    report["SOPClassUID"], report["SOPInstanceUID"] = str(image.SOPClassUID), str(image.SOPInstanceUID)
    unread = _not_received(settings, report["SOPClassUID"], meta.TransferSyntaxUID, size)
    if unread is not None:
        return {**report, "refused": {"status": None, "reason": unread}}
    report["pipelines"] = [_by_pipeline(tree, image) for tree in trees]
    report["taken"] = any(each["taken"] for each in report["pipelines"])
    return report


def _not_received(settings: ReceiverSettings, sop_class: str, transfer_syntax: str, size: int) -> str | None:
    """Say why the receiver would not even read it; ``None`` where it would."""
    if size > settings.max_object_size:
        return f"it has {size} bytes; the association is ended at receiver.max_object_size"
    negotiator = Negotiator(settings)
    reason = negotiator.refusal_of(sop_class, transfer_syntax)
    if reason is None:
        return None
    return (
        f"{reason}: no presentation context can be agreed upon. See receiver.extra_sop_classes,"
        " receiver.extra_transfer_syntaxes and receiver.deflated"
    )


def _by_pipeline(tree: WaitingImages, image: LazyDataset) -> dict[str, Any]:
    """Return what one pipeline makes of an image."""
    configured = tree.configured
    report: dict[str, Any] = {
        "pipeline": configured.name,
        "ae_title": configured.ae_title,
        "gather_by": configured.gathers_by,
        "rules": gathering_rules(configured),
        "taken": False,
        "status": Status.SUCCESS,
        "reason": None,
        "container_key": None,
        "inputs": {},
        "here": tree.known.where(str(image.SOPInstanceUID)),
        "missing": None,
    }
    if _is_another(tree, image):
        return {**report, "status": IS_ANOTHER.status, "reason": IS_ANOTHER.comment}
    try:
        admission = tree.admission(image)
    except ImageRefusedError as refused:
        return {**report, **_refusal(tree, refused)}
    report["container_key"], report["inputs"] = admission.container_key, dict(admission.reasons)
    if not admission.inputs:
        return {**report, **_refusal(tree, ImageRefusedError(str(admission)))}
    return {**report, "taken": True, "missing": tree.missing_with(image, admission)}


def _is_another(tree: WaitingImages, image: LazyDataset) -> bool:
    """Say whether the instance is here with other content, and is not replaced by this one."""
    uid = str(image.SOPInstanceUID)
    held = tree.known.file_of(uid)
    if held is None or (tree.configured.table.on_conflict == "replace" and tree.holds(uid)):
        return False
    return compare(held, AnyFile(image.path), "") is Held.OTHER


def _refusal(tree: WaitingImages, refused: ImageRefusedError) -> dict[str, Any]:
    cause = refused.__cause__
    why = f" ({type(cause).__name__}: {cause})" if cause is not None else ""
    # A pipeline that sorts later has answered by then; the image is quarantined.
    status = answer_to(refused, tree).status if tree.configured.policy.sorts_before_answer else Status.SUCCESS
    return {"status": status, "reason": f"{refused}{why}"}
