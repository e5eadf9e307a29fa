"""Virtual environments for tests, made in a second and without a network: they borrow the host's packages."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path


def make_environment(path: Path, *, borrow: bool = True) -> Path:
    """Make a virtual environment and return the folder of its packages.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    borrow : bool
        Whether it has the packages of the tests' own environment (dicomnode-host and what it needs), by a
        path file: they come after its own.
    """
    venv.create(path, with_pip=False, symlinks=True)
    version = sysconfig.get_python_version()
    packages = path / "lib" / f"python{version}" / "site-packages"
    if borrow:
        (packages / "borrowed.pth").write_text(borrowed())
    return packages


def borrowed() -> str:
    """Return the text of a path file that adds the tests' own packages, and what their path files add."""
    return f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
