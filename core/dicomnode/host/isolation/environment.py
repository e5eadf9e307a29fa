"""The environments that pipelines live in: virtual environments that are there, or made from requirements."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicomnode.errors import ConfigurationError
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.isolation.own_wheel import write_own_wheel
from dicomnode.host.workers.worker_process import environment_variables, python_of
from dicomnode.plugins.registry import HOST_DISTRIBUTION, host_version

_LOG = logging.getLogger(__name__)
_COMPLETE = "dicomnode-complete"
_START_TIMEOUT = 120.0
_SHOWN = 2000
_VERSION = f"import importlib.metadata as m; print(m.version({HOST_DISTRIBUTION!r}))"


def ready_environment(declared: Path | Sequence[str], home: Path) -> Path:
    """Return a virtual environment that can run workers of this host.

    Parameters
    ----------
    declared : pathlib.Path or sequence of str
        What the configuration says: a virtual environment, a file of requirements, or requirements.
    home : pathlib.Path
        Where environments are made from requirements. One that was made before is used again.

    Raises
    ------
    ConfigurationError
        When there is none, it cannot be made, or it has another host than this.
    """
    if isinstance(declared, Path) and not declared.is_file():
        path = declared
        if not Path(python_of(str(path))).exists():
            msg = f"{path} is no virtual environment: it has no bin/python. Make one: python -m venv {path}"
            raise ConfigurationError(msg)
    else:
        path = _environment_of(declared, home)
    _check_host(path)
    return path


def _check_host(path: Path) -> None:
    """Check that an environment has the host's own package, in its version."""
    python, version = python_of(str(path)), host_version()
    done = _run([python, "-P", "-c", _VERSION], path, _START_TIMEOUT)
    found = done.stdout.strip()
    if done.returncode == 0 and found == version:
        return
    has = f"has {HOST_DISTRIBUTION} {found}" if done.returncode == 0 else f"has no {HOST_DISTRIBUTION}"
    how = f"{python} -m pip install {HOST_DISTRIBUTION}=={version}"
    msg = f"{path} {has}, and needs {version}, which this host is: {how}"
    raise ConfigurationError(msg)


def _environment_of(declared: Path | Sequence[str], home: Path) -> Path:
    """Return the environment of some requirements; make it where there is none."""
    requirements = _requirements(declared)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home), tempfile.TemporaryDirectory(prefix=".new-", dir=home) as waiting:
        wheel = write_own_wheel(Path(waiting))
        content = [requirements, sys.version, hashlib.sha256(wheel.read_bytes()).hexdigest()]
        path = home / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        if not (path / _COMPLETE).exists():
            _make(path, [str(wheel), *requirements])
    return path


def _requirements(declared: Path | Sequence[str]) -> list[str]:
    if not isinstance(declared, Path):
        return list(declared)
    try:
        lines = declared.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the requirements {declared} cannot be read: {error}"
        raise ConfigurationError(msg) from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _make(path: Path, packages: Sequence[str]) -> None:
    _LOG.info("making the environment %s; this may take minutes", path)
    remove_or_move_aside(path)
    try:
        venv.create(path, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        msg = f"the environment {path} cannot be made: {error}"
        raise ConfigurationError(msg) from error
    command = [
        python_of(str(path)),
        "-P",
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ]
    done = _run([*command, "--", *packages], path, None)
    if done.returncode != 0:
        remove_or_move_aside(path)
        asked = ", ".join(packages[1:])
        msg = f"the environment of {asked} cannot be made; pip says:\n{done.stderr.strip()[-_SHOWN:]}"
        raise ConfigurationError(msg)
    (path / _COMPLETE).touch()


def _run(command: Sequence[str], path: Path, timeout: float | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - an interpreter that the configuration names
            command,
            env=environment_variables(str(path)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{command[0]} cannot be run: {error}"
        raise ConfigurationError(msg) from error


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Keep another host with the same data from making environments at the same time."""
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
