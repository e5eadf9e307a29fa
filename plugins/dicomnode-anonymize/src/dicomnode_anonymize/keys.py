"""The secret key that pseudonyms are made with: in a file of its owner's alone, or in the environment."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import platformdirs

from dicomnode_anonymize.errors import AnonymizeError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SHORTEST = 16
_NEW = 32


def default_key_file() -> Path:
    """Return where the key is when nobody says otherwise: the user's configuration folder."""
    return Path(platformdirs.user_config_dir("dicomnode")) / "anonymize.key"


def key_from_file(path: Path) -> str:
    """Return the key in a file, which is made with a new random key when there is none.

    Two processes that come at once get the same key.

    Parameters
    ----------
    path : pathlib.Path
        The file. Only its owner may have access to it (mode 0600).

    Raises
    ------
    AnonymizeError
        When it cannot be read or made, others have access to it, or the key is too short.
    """
    try:
        if not path.exists():
            _make(path)
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the key file {path} cannot be used: {getattr(error, 'strerror', None) or error}"
        raise AnonymizeError(msg) from error
    if mode & _OTHERS:
        msg = f"the key file {path} can be read by others, who could find patients with it: chmod 600 {path}"
        raise AnonymizeError(msg)
    return _checked(text, f"the key file {path}")


def key_from_environment(variable: str) -> str:
    """Return the key in an environment variable.

    Raises
    ------
    AnonymizeError
        When it is not set, or the key is too short.
    """
    text = os.environ.get(variable)
    if text is None:
        msg = f"the environment has no variable {variable}, which should hold the key"
        raise AnonymizeError(msg)
    return _checked(text.strip(), f"the environment variable {variable}")


def _checked(key: str, where: str) -> str:
    if len(key.encode()) < _SHORTEST:
        msg = f"the key in {where} has {len(key.encode())} bytes; {_SHORTEST} are the least"
        raise AnonymizeError(msg)
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(_NEW) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            return  # another process was quicker: its key counts
    finally:
        unfinished.unlink(missing_ok=True)
