"""Whether what a distribution needs is installed, by metadata alone."""

from __future__ import annotations

import platform

import pytest

from dicomnode.plugins.requirements import unmet

INSTALLED = {"dicomnode-host": "1.2", "numpy": "2.0", "torch": "2.5.1+cu124", "dask": "2025.1"}
REQUIREMENTS = {"dask": ["distributed>=2025; extra == 'distributed'", "numpy>=1"]}


def reasons(*requires: str, python: str = "") -> list[str]:
    """Return what is not met."""
    return list(unmet(requires, python, INSTALLED.get, lambda name: REQUIREMENTS.get(name, [])))


@pytest.mark.parametrize(
    "requirement",
    [
        "numpy",
        "numpy>=1.26,<3",
        "torch>=2.5",
        "dicomnode-host>=1.0",
        "not-installed; python_version < '3'",
        "not-installed; extra == 'test'",
        "this is no requirement at all !",
    ],
)
def test_what_is_met(requirement: str) -> None:
    """Installed in a version that will do, or not needed on this machine, or nothing that can be checked."""
    assert reasons(requirement) == []


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("nibabel>=5", "needs nibabel>=5, which is not installed"),
        ("numpy<2", "needs numpy<2; 2.0 is installed"),
        ("dicomnode-host>=2", "needs dicomnode-host>=2; this is 1.2"),
        ("dicomnode_host>=2", "needs dicomnode_host>=2; 1.2 is installed"),
        ("dask[distributed]", "needs distributed>=2025, which is not installed (for dask[distributed])"),
    ],
)
def test_what_is_not_met(requirement: str, reason: str) -> None:
    """The reason names the requirement, and what there is."""
    versions = {**INSTALLED, "dicomnode_host": "1.2"}
    found = unmet([requirement], "", versions.get, lambda name: REQUIREMENTS.get(name, []))
    expected = reason.replace("1.2 is installed", "this is 1.2") if "_host" in requirement else reason
    assert list(found) == [expected]


def test_every_reason_is_given() -> None:
    """Requirements are checked one by one, and the Python version, too."""
    found = reasons("numpy<2", "nibabel", python=">=4")
    assert found == [
        f"needs Python >=4; this is {platform.python_version()}",
        "needs numpy<2; 2.0 is installed",
        "needs nibabel, which is not installed",
    ]
    assert reasons(python="nonsense") == []
