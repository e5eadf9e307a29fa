"""The kinds of values in the configuration: AE titles, durations, sizes, addresses, networks, secrets."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
)

_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?")
_BYTES = {"": 1, "k": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_HIGHEST_PORT = 65535


def _ae_title(value: str) -> str:
    title = value.strip()
    if not _AE_TITLE.fullmatch(title):
        msg = (
            "an AE title has 1 to 16 characters of ASCII, no backslash and no control characters"
            " (PS3.5 section 6.2)"
        )
        raise ValueError(msg)
    return title


def _names(value: object) -> object:
    """Take text as names between commas: an environment variable holds a list more easily so."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _seconds(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            msg = "a duration is a number of seconds, or text such as '30 s', '10 min', '2 h' or '14 d'"
            raise ValueError(msg)
        return float(match[1]) * _SECONDS[match[2]]
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            msg = "a size is a number of bytes, or text such as '500 MB' or '2 GB'"
            raise ValueError(msg)
        return int(float(match[1]) * _BYTES[match[2]])
    return value


class Address(BaseModel):
    """A host name or IP address, and a port."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isdigit() and int(port) <= _HIGHEST_PORT):
        msg = "an address is HOST:PORT, such as 10.0.0.4:4242 or [::1]:11112"
        raise ValueError(msg)
    return {"host": host, "port": int(port)}


def is_network(text: str) -> bool:
    """Say whether a text is an IP address or a range of them."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _network(value: str) -> str:
    if not is_network(value):
        msg = "a network is an IP address or a range of them, such as 10.0.0.7 or 10.0.0.0/24"
        raise ValueError(msg)
    return value


def _file_path(value: Path, info: ValidationInfo) -> Path:
    """Take a relative path as relative to the configuration file's folder, and ``~`` as the user's home."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value.expanduser()


def parse_address(text: str) -> Address:
    """Return an address from text such as ``10.0.0.4:4242``.

    Raises
    ------
    ValueError
        When it is none.
    """
    return Address.model_validate(_address(text))


AETitle = Annotated[str, AfterValidator(_ae_title)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
SecondsOrNone = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
AddressText = Annotated[Address, BeforeValidator(_address), PlainSerializer(str, return_type=str)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Network = Annotated[str, AfterValidator(_network)]
FilePath = Annotated[Path, AfterValidator(_file_path)]
Settings = dict[str, Any]
