"""Sending images over a real association, with faults on request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from dicomnode.cli.loopback import associate
from dicomnode.errors import DeliveryError
from dicomnode.testing.faults import Faults


def send(
    images: Dataset | Iterable[Dataset],
    address: tuple[str, int],
    called_ae_title: str,
    *,
    calling_ae_title: str = "SCANNER",
    faults: Faults | None = None,
) -> list[int]:
    """Send images over one association, and release it (or abort it, where the faults say so).

    Parameters
    ----------
    images : Dataset or iterable of Dataset
        The images, with file meta information.
    address : (str, int)
        Where to.
    called_ae_title, calling_ae_title : str
        The AE titles.
    faults : Faults, optional
        What goes wrong.

    Returns
    -------
    list of int
        The C-STORE status of each image that was sent.

    Raises
    ------
    DeliveryError
        When there is no association, or it is lost.
    """
    faults = faults or Faults()
    given: Sequence[Dataset] = [images] if isinstance(images, Dataset) else list(images)
    sent = faults.applied(given)
    contexts = ((str(image.SOPClassUID), str(image.file_meta.TransferSyntaxUID)) for image in sent)
    association = associate(contexts, address, called_ae_title, calling_ae_title)
    statuses: list[int] = []
    for image in sent[: faults.abort_after]:
        answer = association.send_c_store(image)
        if "Status" not in answer:
            msg = f"the association with {called_ae_title} was lost after {len(statuses)} images"
            raise DeliveryError(msg)
        statuses.append(int(answer.Status))
    if faults.abort_after is None:
        association.release()
    else:
        association.abort()
    return statuses


__all__ = ["send"]
