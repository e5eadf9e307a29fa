"""New UIDs: random, or derived from a job's identity so that a repeated job makes the same ones."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.uid import UID

# 2.25 and the integer of a random UUID (PS3.5 section B.2); it never changes, whatever the version.
IMPLEMENTATION_CLASS_UID: Final = UID("2.25.302451193377921164920734381957420638547")
"""This software, in file meta information and association requests (PS3.7 section D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME: Final = "DICOMNODE_HOST"
_ROOT = "2.25."
_KEY_SIZE = 32
_VERSION_MASK, _VERSION_8 = 0xF << 76, 0x8 << 76
_VARIANT_MASK, _VARIANT_RFC = 0x3 << 62, 0x2 << 62


@dataclass(frozen=True)
class SeriesUIDs:
    """The UIDs of one result series.

    Made by :meth:`UIDSource.series`. Each is ``2.25.`` and the decimal form of a UUID (PS3.5 section B.2, RFC
    9562 version 8), at most 44 characters.

    Parameters
    ----------
    key : bytes
        What all of them are derived from.
    """

    key: bytes

    def uid(self, *names: str | int) -> UID:
        """Return the UID of a name; the same names give the same UID.

        Parameters
        ----------
        *names : str or int
            Any names, for instance ``"FrameOfReferenceUID"``.
        """
        return _uid(self.key, *names)

    @property
    def SeriesInstanceUID(self) -> UID:  # noqa: N802 - DICOM's own spelling
        """The UID of the series."""
        return self.uid("SeriesInstanceUID")

    def SOPInstanceUID(self, index: int) -> UID:  # noqa: N802 - DICOM's own spelling
        """Return the UID of an instance.

        Parameters
        ----------
        index : int
            Its zero-based place in the series.
        """
        return self.uid("SOPInstanceUID", index)


class UIDSource:
    """Where the new UIDs of a result come from.

    Use :meth:`random` or :meth:`derived`; the host makes one from each job's identity.

    Parameters
    ----------
    key : bytes
        The secret or public key of the digest, at most 64 bytes.

    Examples
    --------
    >>> first, again = UIDSource.derived("job 7"), UIDSource.derived("job 7")
    >>> first.series().SeriesInstanceUID == again.series().SeriesInstanceUID
    True
    >>> first.series().SeriesInstanceUID == again.series("mask").SeriesInstanceUID
    False
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._made = 0
        self._lock = threading.Lock()

    @classmethod
    def random(cls) -> UIDSource:
        """Return a source whose UIDs are new each time."""
        return cls(secrets.token_bytes(_KEY_SIZE))

    @classmethod
    def derived(cls, identity: str) -> UIDSource:
        """Return a source whose UIDs follow from an identity.

        Parameters
        ----------
        identity : str
            What makes the job this job: pipeline, patient, input instances. No UID gives it away.
        """
        return cls(hashlib.blake2b(identity.encode("utf-8"), digest_size=_KEY_SIZE).digest())

    def series(self, key: str | None = None) -> SeriesUIDs:
        """Return the UIDs of a series.

        Parameters
        ----------
        key : str, optional
            The name of a series within the job, such as ``"mask"``. The same key gives the same UIDs whatever
            else was made. Without it, series are counted: the n-th one of a job is the same when the job runs
            again.
        """
        if key is not None:
            return SeriesUIDs(_digest(self._key, "named series", key))
        with self._lock:
            number, self._made = self._made, self._made + 1
        return SeriesUIDs(_digest(self._key, "counted series", number))

    def uid(self, *names: str | int) -> UID:
        """Return the UID of a name, outside of any series."""
        return _uid(self._key, *names)

    def __getstate__(self) -> dict[str, Any]:
        return {"key": self._key, "made": self._made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._key, self._made, self._lock = state["key"], state["made"], threading.Lock()

    def __repr__(self) -> str:
        return f"<UIDSource, {self._made} counted series made>"


def _digest(key: bytes, *names: str | int, size: int = _KEY_SIZE) -> bytes:
    """Return a keyed digest; names are separated by their lengths, so that ("ab", "c") is not ("a", "bc")."""
    text = b"".join(b"%d:%b" % (len(part), part) for part in (str(name).encode() for name in names))
    return hashlib.blake2b(text, key=key, digest_size=size).digest()


def _uid(key: bytes, *names: str | int) -> UID:
    number = int.from_bytes(_digest(key, *names, size=16), "big")
    number = number & ~_VERSION_MASK | _VERSION_8
    number = number & ~_VARIANT_MASK | _VARIANT_RFC
    return UID(f"{_ROOT}{number}", validation_mode=IGNORE)  # it is one


__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "SeriesUIDs", "UIDSource"]
