"""The saved table, with which a study can be reversed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomnode import IdentityMapping, errors
from dicomnode_anonymize.errors import AnonymizeError


@contextmanager
def mapping_in(path: Path | None, key: str | None) -> Iterator[IdentityMapping]:
    """Give a mapping for the length of a ``with`` block, and save it at the end if it is in a table.

    One process at a time has the table; another waits. It is saved also when the block fails, since files
    that were written before have their pseudonyms.

    Parameters
    ----------
    path : pathlib.Path or None
        The table; ``None`` for a mapping that remembers nothing.
    key : str or None
        The key. A table that exists has one of its own, which must be the same. ``None`` takes the table's,
        or for a new table a random one.

    Raises
    ------
    AnonymizeError
        When the table cannot be used, or was made with another key.
    """
    if path is None:
        yield IdentityMapping(key, remember=False)
        return
    with _lock(path):
        mapping = _opened(path, key)
        try:
            yield mapping
        finally:
            mapping.save(path)


def _opened(path: Path, key: str | None) -> IdentityMapping:
    if not path.exists():
        return IdentityMapping(key, remember=True)
    try:
        mapping = IdentityMapping.load(path)
    except (OSError, errors.InvalidValueError) as error:
        raise AnonymizeError(str(error)) from error
    if not mapping.remembers:
        msg = f"{path} holds a key and remembers nobody; give a new file for the table"
        raise AnonymizeError(msg)
    probe = "the same key makes the same pseudonym of this"
    if key is not None and IdentityMapping(key).pseudonym("key", probe) != IdentityMapping.load(
        path
    ).pseudonym("key", probe):
        msg = f"{path} was made with another key; use that key, or none, or a new file for the table"
        raise AnonymizeError(msg)
    return mapping


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        msg = f"the table {path} cannot be used: {error.strerror}"
        raise AnonymizeError(msg) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
