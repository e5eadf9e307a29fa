"""Another version of a distribution, installed into a folder of its own, beside the one that is in use."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dicomnode.errors import PluginError
from dicomnode.plugins.registry import installed_packages

_OWN_VARIABLES = "DICOMNODE_"
_SHOWN = 2000


def install_aside(distribution: str, version_or_path: str, site: Path) -> str:
    """Install another version of a distribution into a folder, without what it requires; return its version.

    Raises
    ------
    PluginError
        When that cannot be done, or it is another distribution.
    """
    wanted, options = _wanted(distribution, version_or_path)
    command = [
        *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-input", "--no-deps"),
        *("--disable-pip-version-check", "--target", str(site), *options, "--", wanted),
    ]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    installed = subprocess.run(  # noqa: S603 - our own interpreter
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        msg = f"{wanted} cannot be installed; pip says:\n{installed.stderr.strip()[-_SHOWN:]}"
        raise PluginError(msg)
    found = dict(_names_in(site))
    version = found.get(canonicalize_name(distribution))
    if version is None:
        names = ", ".join(found) or "no distribution"
        msg = f"{version_or_path} is {names}, and the job's pipeline is of {distribution}"
        raise PluginError(msg)
    return version


def _wanted(distribution: str, version_or_path: str) -> tuple[str, list[str]]:
    """Return what pip is asked for, and with which further options."""
    try:
        return f"{distribution}=={Version(version_or_path)}", []
    except InvalidVersion:
        path = Path(version_or_path).expanduser().absolute()
    if not path.exists():
        msg = (
            f"{version_or_path!r} is neither a version (such as 1.2.0) nor a wheel or source tree that exists"
        )
        raise PluginError(msg)
    return str(path), ["--no-build-isolation"] if path.is_dir() and _can_build(path) else []


def _can_build(tree: Path) -> bool:
    """Say whether what builds a source tree is installed here, so that nothing need be fetched."""
    try:
        table = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
        needs = [Requirement(each) for each in table["build-system"]["requires"]]
    except (OSError, ValueError, KeyError, TypeError, InvalidRequirement):
        return False
    installed = {canonicalize_name(name): version for name, version in installed_packages().items() if name}
    return all(
        canonicalize_name(each.name) in installed
        and each.specifier.contains(installed[canonicalize_name(each.name)], prereleases=True)
        for each in needs
    )


def _names_in(site: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of what was installed into a folder."""
    for metadata in site.glob("*.dist-info/METADATA"):
        headers = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"), headersonly=True)
        yield canonicalize_name(headers["Name"]), headers["Version"]
