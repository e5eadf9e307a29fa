"""New identifiers for old ones, the same ones every time (PS3.15 section E.1.1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Self

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from dicomnode.errors import InvalidValueError

_KEY_SIZE = 32
_SHORTEST_KEY = 16
_CONTEXT = b"dicomnode identity mapping 1"
_FORMAT = "dicomnode-identity-mapping"
_VERSION = 1
_LENGTH = 16
"""Characters of a pseudonym: it fits an SH. 80 bits: two of a million meet with a chance of 1 in 10^12."""

_UID_KIND = "UID"
_DAYS_KIND = "days"


class IdentityMapping:
    """Maps patient IDs, UIDs and other identifiers to new ones, consistently.

    The same identifier gets the same pseudonym whenever and wherever the same key is used: pseudonyms are
    keyed digests (HMAC-SHA-256), nothing is counted and the order in which identifiers come does not matter.
    Without the key nobody can tell which pseudonym an identifier would get, not even by trying all Patient
    IDs. With it one can: keep the key as safe as the identifiers.

    Each kind of identifier has a domain of its own: a Patient ID and an Accession Number that are both
    ``"4711"`` get pseudonyms that have nothing to do with each other, and a UID is never answered with
    anything else than a UID.

    A mapping that remembers also keeps the originals. Saved, it is the table with which a study can be
    reversed; without the saved table no mapping can be.

    Parameters
    ----------
    key : bytes or str, optional
        A secret of at least 16 bytes. Random when not given: then the mapping lasts beyond this process only
        when it is saved.
    remember : bool
        Whether originals are kept, so that :meth:`original` and :meth:`save` work. By default they are when
        no key is given.

    Raises
    ------
    InvalidValueError
        When the key is shorter than 16 bytes.

    Examples
    --------
    >>> mapping = IdentityMapping("sixteen bytes or more")
    >>> mapping.patient_id("4711") == IdentityMapping("sixteen bytes or more").patient_id("4711")
    True
    >>> mapping.patient_id("4711") == mapping.pseudonym("AccessionNumber", "4711")
    False
    """

    def __init__(self, key: bytes | str | None = None, *, remember: bool | None = None) -> None:
        secret = secrets.token_bytes(_KEY_SIZE) if key is None else key
        self._key = secret.encode("utf-8") if isinstance(secret, str) else bytes(secret)
        if len(self._key) < _SHORTEST_KEY:
            msg = f"the key of an identity mapping has {len(self._key)} bytes; {_SHORTEST_KEY} are the least"
            raise InvalidValueError(msg)
        self.remembers = key is None if remember is None else remember
        self._originals: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    # -- pseudonyms ---------------------------------------------------------------------------------------

    def pseudonym(self, kind: str, identifier: str) -> str:
        """Return the pseudonym of an identifier.

        Parameters
        ----------
        kind : str
            What the identifier is, usually its keyword, for instance ``"AccessionNumber"``. Each kind is a
            domain of its own.
        identifier : str
            The identifier. Spaces around it do not count (PS3.5 section 6.2).

        Returns
        -------
        str
            16 characters of ``A-Z2-7``, which any SH, LO or PN takes. The empty text stays empty.
        """
        text = identifier.strip(" \0")
        return self._remembered(kind, text, self._pseudonym(kind, text)) if text else ""

    def patient_id(self, PatientID: str, issuer: str = "") -> str:  # noqa: N803 - DICOM's own spelling
        """Return the pseudonym of a Patient ID.

        Parameters
        ----------
        PatientID : str
            The identifier.
        issuer : str
            Who issued it (IssuerOfPatientID): the same number of two hospitals is two patients. It is
            remembered too: ``original("IssuerOfPatientID", pseudonym)``.
        """
        number, issued_by = PatientID.strip(" \0"), issuer.strip(" \0")
        if not number:
            return ""
        made = self._pseudonym(f"PatientID of {issued_by}" if issued_by else "PatientID", number)
        if issued_by:
            self._remembered("IssuerOfPatientID", issued_by, made)
        return self._remembered("PatientID", number, made)

    def uid(self, uid: str) -> UID:
        """Return the new UID of an instance, series, study, frame of reference or any other object.

        Parameters
        ----------
        uid : str
            The old one.

        Returns
        -------
        pydicom.uid.UID
            ``2.25.`` and a 128-bit number (PS3.5 section B.2). A UID that DICOM itself defines, such as a SOP
            class or a well-known frame of reference, and the empty text are returned as they are.
        """
        text = uid.strip(" \0")
        if not text or text in UID_dictionary:
            return UID(text)
        number = int.from_bytes(self._digest(_UID_KIND, text)[:16], "big")
        number = number & ~(0xF << 76) | 0x8 << 76  # version 8 and the variant of RFC 9562: a UUID like any
        number = number & ~(0x3 << 62) | 0x2 << 62
        return UID(self._remembered(_UID_KIND, text, f"2.25.{number}"))

    def days(self, PatientID: str, *, at_most: int = 3650) -> int:  # noqa: N803 - DICOM's own spelling
        """Return by how many days the dates of a patient are moved; the same for all that is the patient's.

        Parameters
        ----------
        PatientID : str
            The patient, as read; or whatever else stands for the patient.
        at_most : int
            The largest shift, in days.

        Returns
        -------
        int
            From ``-at_most`` to -1: dates move into the past, so that none lies in the future.
        """
        digest = self._digest(_DAYS_KIND, PatientID.strip(" \0"))
        return -1 - int.from_bytes(digest[:16], "big") % at_most

    # -- the table ----------------------------------------------------------------------------------------

    def original(self, kind: str, pseudonym: str) -> str:
        """Return the identifier that a pseudonym stands for.

        Parameters
        ----------
        kind : str
            What it is: the `kind` that :meth:`pseudonym` was given, ``"PatientID"``, or ``"UID"``.
        pseudonym : str
            The pseudonym.

        Raises
        ------
        KeyError
            When this mapping has not made it, or does not remember.
        """
        with self._lock:
            try:
                return self._originals[kind][pseudonym]
            except KeyError:
                why = "has not made it" if self.remembers else "does not remember (load the saved table)"
                msg = f"no original for this pseudonym of {kind}: the mapping {why}"
                raise KeyError(msg) from None

    def __len__(self) -> int:
        return sum(map(len, self._originals.values()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table: the key, and all originals with their pseudonyms.

        The file is readable by its owner only (mode 0600), and replaced as a whole.

        Parameters
        ----------
        path : str or os.PathLike
            The file.
        """
        target = Path(path)
        with self._lock:
            content = json.dumps(
                {
                    "format": _FORMAT,
                    "version": _VERSION,
                    "key": base64.b64encode(self._key).decode("ascii"),
                    "remembers": self.remembers,
                    "originals": self._originals,
                },
                indent=1,
            )
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the mapping that was saved.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        InvalidValueError
            When it is not a saved mapping.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["version"] != _VERSION:
                raise ValueError  # noqa: TRY301 - what is said of it is the same
            mapping = cls(base64.b64decode(content["key"], validate=True))
            mapping.remembers = bool(content["remembers"])
            mapping._originals = {
                str(kind): {str(new): str(old) for new, old in table.items()}
                for kind, table in content["originals"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{path}: not a table that IdentityMapping.save has written, or one of another version"
            raise InvalidValueError(msg) from error
        return mapping

    # -- how ----------------------------------------------------------------------------------------------

    def _pseudonym(self, kind: str, text: str) -> str:
        return base64.b32encode(self._digest(kind, text)).decode("ascii")[:_LENGTH]

    def _digest(self, kind: str, text: str) -> bytes:
        # Lengths keep the parts apart: kind "A" with text "BC" is not kind "AB" with text "C".
        parts = (_CONTEXT, kind.encode("utf-8"), text.encode("utf-8", "surrogatepass"))
        message = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)

    def _remembered(self, kind: str, original: str, pseudonym: str) -> str:
        if self.remembers:
            with self._lock:
                known = self._originals.setdefault(kind, {}).setdefault(pseudonym, original)
            if known != original:
                msg = f"two identifiers of kind {kind} have the same pseudonym; use another key"
                raise InvalidValueError(msg)
        return pseudonym

    def __repr__(self) -> str:
        # never the key, nor anybody's identifier
        kept = f"{len(self)} originals" if self.remembers else "remembering nothing"
        return f"<{type(self).__name__}, {kept}>"
