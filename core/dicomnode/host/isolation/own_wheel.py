"""A wheel of the host as it is installed, so that an environment gets the very host that will talk to it."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import dicomnode
from dicomnode.plugins.registry import host_metadata

_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: dicomnode-host\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_own_wheel(folder: Path) -> Path:
    """Write a wheel of the installed host into a folder and return its path.

    The same host makes the same bytes.
    """
    version, metadata, entry_points = host_metadata()
    name = f"dicomnode_host-{version}"
    info = f"{name}.dist-info"
    path = folder / f"{name}-py3-none-any.whl"
    files = dict(_package_files())
    files |= {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/entry_points.txt": entry_points.encode(),
        f"{info}/WHEEL": _WHEEL.encode(),
    }
    record = "".join(f"{each},sha256={_digest(data)},{len(data)}\n" for each, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for each, data in files.items():
            wheel.writestr(zipfile.ZipInfo(each, _EPOCH), data)
    return path


def _package_files() -> Iterator[tuple[str, bytes]]:
    package = Path(dicomnode.__path__[0])
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"dicomnode/{path.relative_to(package).as_posix()}", path.read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
