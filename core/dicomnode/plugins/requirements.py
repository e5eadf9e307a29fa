"""Whether what a distribution needs is there: read from metadata, nothing imported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

HOST_DISTRIBUTION = "dicomnode-host"

VersionOf = Callable[[str], str | None]
"""Returns the installed version of a distribution, or ``None``."""
RequirementsOf = Callable[[str], Sequence[str]]
"""Returns what an installed distribution requires."""


def unmet(
    requires: Iterable[str], requires_python: str, version_of: VersionOf, requirements_of: RequirementsOf
) -> Iterator[str]:
    """Yield why a distribution cannot work here, one reason for each requirement that is not met.

    Parameters
    ----------
    requires : iterable of str
        ``Requires-Dist`` of its metadata.
    requires_python : str
        ``Requires-Python`` of its metadata.
    version_of : callable
        Returns the installed version of a distribution, or ``None`` where it is not installed.
    requirements_of : callable
        Returns what an installed distribution requires; asked for the extras of a requirement.
    """
    if requires_python and not _holds(requires_python, platform.python_version()):
        yield f"needs Python {requires_python}; this is {platform.python_version()}"
    for requirement in _applicable(requires, ""):
        yield from _missing(requirement, version_of)
        for extra in sorted(requirement.extras):
            for needed in _applicable(requirements_of(requirement.name), extra):
                for reason in _missing(needed, version_of):
                    yield f"{reason} (for {requirement.name}[{extra}])"


def _applicable(requires: Iterable[str], extra: str) -> Iterator[Requirement]:
    """Yield the requirements that hold on this machine: those of an extra, or those without one."""
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # pip would not have installed it; there is nothing that we could check
        marker = requirement.marker
        wanted = marker is None or marker.evaluate({"extra": extra})
        if wanted and not (extra and (marker is None or marker.evaluate({"extra": ""}))):
            yield requirement


def _missing(requirement: Requirement, version_of: VersionOf) -> Iterator[str]:
    version = version_of(requirement.name)
    needed = f"{requirement.name}{requirement.specifier}"
    host = canonicalize_name(requirement.name) == HOST_DISTRIBUTION
    if version is None:
        yield f"needs {needed}, which is not installed"
    elif not _holds(requirement.specifier, version):
        yield f"needs {needed}; " + (f"this is {version}" if host else f"{version} is installed")


def _holds(specifier: SpecifierSet | str, version: str) -> bool:
    try:
        return SpecifierSet(str(specifier)).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True
