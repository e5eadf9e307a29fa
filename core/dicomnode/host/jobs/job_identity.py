"""What the new UIDs of a job's results derive from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def job_identity(pipeline: str, container_key: str, uids: Iterable[str], content: str) -> str:
    """Return what a job's new UIDs are derived from.

    Parameters
    ----------
    pipeline : str
        The name of the pipeline's table.
    container_key : str
        The key of the patient container.
    uids : iterable of str
        The SOP Instance UIDs of the inputs. Neither their order nor how often one is named matters.
    content : str
        What decides about the content of the results besides
        (:func:`.content_digest`): the same images sent again under other
        settings make other instances, which must not have the UIDs of the first.

    Returns
    -------
    str
        A digest, the same on every machine, which gives away neither patient nor instances.
    """
    digest = hashlib.sha256()
    for part in (pipeline, container_key, content, *sorted(set(map(str, uids)))):
        text = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(text), text))
    return digest.hexdigest()
