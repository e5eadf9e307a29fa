"""File systems that tests make for themselves: an ext4 whose power can be cut, a tmpfs of a few megabytes."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = "DICOMNODE_REQUIRE_POWER_CUT"
_FS_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_LOG_FLUSH = 2


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        message = f"{command[0]}: {done.stderr.strip() or done.returncode}"
        raise OSError(message)


def _unmount(directory: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            _run("umount", directory)
        except OSError as error:
            if "busy" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _cannot(what: str, error: Exception | str) -> None:
    """Skip the test for want of privileges, or fail it where it is required."""
    reason = f"{what} needs root and what the kernel has for it: {error}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class PowerCutDisk:
    """An ext4 on a loop device.

    Attributes
    ----------
    mount : pathlib.Path
        Where it is mounted.
    """

    image: Path
    mount: Path

    def cut_power(self) -> None:
        """Write nothing any more, neither data nor journal: the power has gone. Who tries gets EIO."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """Mount it again, as after the power has come back. Nobody may have a file of it open."""
        self.take_away()
        _run("mount", "-o", "loop", self.image, self.mount)

    def take_away(self) -> None:
        """Unmount it, once the workers of a host that was killed have ended."""
        _unmount(self.mount)


@contextmanager
def power_cut_disk(directory: Path, megabytes: int = 256) -> Iterator[PowerCutDisk]:
    """Make an ext4 in a file below a directory, and mount it."""
    disk = PowerCutDisk(directory / "disk.img", directory / "disk")
    disk.mount.mkdir(parents=True)
    try:
        with disk.image.open("wb") as file:
            file.truncate(megabytes * 2**20)
        _run("mkfs.ext4", "-q", "-F", disk.image)
        _run("mount", "-o", "loop", disk.image, disk.mount)
    except (OSError, subprocess.SubprocessError) as error:
        _cannot("cutting the power of a file system", error)
    try:
        yield disk
    finally:
        disk.take_away()
        disk.image.unlink()


@contextmanager
def small_tmpfs(directory: Path, size: str, inodes: int = 0) -> Iterator[Path]:
    """Mount a tmpfs of so many bytes (``4m``) and, if given, inodes; yield where it is."""
    directory.mkdir(parents=True)
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    try:
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", directory)
    except (OSError, subprocess.SubprocessError) as error:
        _cannot("a small file system", error)
    try:
        yield directory
    finally:
        _unmount(directory)


@contextmanager
def immutable(path: Path, below: Path) -> Iterator[None]:
    """Make what even root cannot remove; afterwards nothing below a folder is so, wherever it is by then."""
    try:
        _run("chattr", "+i", path)
    except (OSError, subprocess.SubprocessError) as error:
        _cannot("an immutable file", error)
    try:
        yield
    finally:
        _run("chattr", "-R", "-i", below)


def fill(directory: Path, *, leave: int = 0) -> Path:
    """Fill a file system with one file, up to so many bytes that stay free; return the file."""
    path = directory / "filling"
    with path.open("ab") as file, _until_full():
        while (room := _free(directory) - leave) > 0:
            file.write(bytes(min(room, 2**20)))
            file.flush()
    return path


@contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def _free(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
