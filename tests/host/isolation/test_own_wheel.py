"""A wheel of the host as it is installed."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from dicomnode.host.isolation.own_wheel import write_own_wheel
from dicomnode.plugins.registry import host_version


def test_the_own_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    """The wheel of the host has its modules, data and entry points, and the same bytes each time."""
    (tmp_path / "again").mkdir()
    first, second = write_own_wheel(tmp_path), write_own_wheel(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert {"dicomnode/__init__.pyi", "dicomnode/dicom/data/iod_tables.json", "dicomnode/py.typed"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name]


def test_the_record_of_the_own_wheel(tmp_path: Path) -> None:
    """Every file is in RECORD with its digest and size, as the format of wheels asks (PEP 427)."""
    wheel = zipfile.ZipFile(write_own_wheel(tmp_path))
    info = f"dicomnode_host-{host_version()}.dist-info"
    rows = [line.rsplit(",", 2) for line in wheel.read(f"{info}/RECORD").decode().splitlines()]
    assert {name for name, _, _ in rows} == set(wheel.namelist())
    for name, digest, size in rows:
        if name.endswith("/RECORD"):
            continue
        data = wheel.read(name)
        assert int(size) == len(data)
        expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert digest == f"sha256={expected}"
    assert b"Root-Is-Purelib: true" in wheel.read(f"{info}/WHEEL")
    assert b"[console_scripts]" in wheel.read(f"{info}/entry_points.txt")
