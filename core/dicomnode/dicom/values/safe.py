"""The one place that makes DICOM text safe for the file system, the log and the terminal."""

from __future__ import annotations

import hashlib
import re

_NAME_LENGTH = 64
_TEXT_LENGTH = 200
_DIGEST_CHARACTERS = 16
_UNFIT_FOR_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def safe_name(text: str, *, empty: str = "_") -> str:
    """Return a file name for any text.

    Text of ASCII letters, digits, ``.``, ``_`` and ``-`` that does not begin with ``.`` or ``-`` stays as it
    is, so a UID keeps its name. Of anything else the fit characters stay, for the reader's sake, followed by
    ``~`` and a digest of the whole text: two texts never share a name, and no text can name a parent, a
    hidden file, an option or another folder.

    Parameters
    ----------
    text : str
        Anything, for instance a Patient ID from the network.
    empty : str
        The name for the empty text. Give it a character that no text keeps, such as ``~``, where it must not
        be mistaken for a text.

    Returns
    -------
    str
        At most 64 ASCII characters.

    Examples
    --------
    >>> safe_name("1.2.840.1")
    '1.2.840.1'
    >>> safe_name("../../etc/passwd")
    'etc_passwd~3754d6cb3a38e118'
    """
    if not text:
        return empty
    fit = _UNFIT_FOR_NAMES.sub("_", text).lstrip("._-")
    if fit == text and len(fit) <= _NAME_LENGTH and not fit.endswith(".") and not _DEVICE.match(fit):
        return fit
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    kept = fit[: _NAME_LENGTH - _DIGEST_CHARACTERS - 1].rstrip("._-")
    return f"{kept}~{digest}"


def safe_text(text: object, *, longest: int = _TEXT_LENGTH) -> str:
    r"""Return text for a log line or a terminal.

    Control and format characters (line ends, ESC, the marks that change the direction of writing) and lone
    surrogates are escaped as ``\x1b`` or ``\u202e``, backslashes as ``\\``; letters of any script stay.
    Longer text is cut, and says so.

    Parameters
    ----------
    text : object
        Anything; its ``str`` is taken.
    longest : int
        The most characters of the text that are shown.

    Examples
    --------
    >>> print(safe_text("Müller\x1b[2J\n"))
    Müller\x1b[2J\n
    """
    whole = str(text)
    shown = "".join(
        each if each.isprintable() and each != "\\" else _escaped(each) for each in whole[:longest]
    )
    return shown if len(whole) <= longest else f"{shown}... ({len(whole)} characters)"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
