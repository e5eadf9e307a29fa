"""How an operator names a container that waits: by its key, or by its patient where that is enough."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote

from dicomnode.errors import JobStateError


def named_container(keys: Collection[str], name: str, pipeline: str) -> str:
    """Return the key of the container that a name means.

    Parameters
    ----------
    keys : collection of str
        Of the containers that wait for the pipeline.
    name : str
        One of them, or the Patient ID of one.
    pipeline : str
        Named in the message.

    Raises
    ------
    JobStateError
        When it means none, or several.
    """
    if name in keys:
        return name
    fitting = sorted(key for key in keys if name in _patients(key))
    if len(fitting) > 1:
        msg = (
            f"{len(fitting)} containers of {name!r} wait for the pipeline {pipeline!r}; name one of them:"
            f" {', '.join(fitting)}"
        )
        raise JobStateError(msg)
    if not fitting:
        raise JobStateError(nothing_waits(name, pipeline))
    return fitting[0]


def nothing_waits(name: str, pipeline: str) -> str:
    """Return the message for a container that does not wait."""
    return (
        f"nothing waits as {name!r} for the pipeline {pipeline!r}; `dicomnode-host status --patients` shows"
        " what waits"
    )


def _patients(key: str) -> set[str]:
    """Return what an operator may call the patient of a key: with issuer and without, quoted and plain."""
    whole = key.partition("/")[0]
    names = {whole, whole.partition("@")[0]}
    return names | {unquote(each) for each in names}
