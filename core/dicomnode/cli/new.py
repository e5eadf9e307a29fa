"""``dicomnode-host new``: a plugin package whose tests pass."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click

from dicomnode.errors import DicomnodeError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".j2"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the templates are told of a kind of plugin."""

    group: str
    target: str
    what: str
    description: str
    usage: str


_KINDS = {
    "pipeline": _Kind(
        "pipelines",
        "{package}:{class_name}",
        "A pipeline",
        "Computes a derived series from a CT or MR series.",
        "Then `dicomnode-host run`, and send a series to the AE title {title} on 127.0.0.1:11112. A site sets"
        " it up in `[pipelines.{name}]`.",
    ),
    "hooks": _Kind(
        "hooks",
        "{package}",
        "Hooks",
        "The rules of a site: what is refused, and what every result carries.",
        "Where it is installed its hooks are called, for every pipeline.",
    ),
    "output": _Kind(
        "outputs",
        "{package}:{class_name}",
        "An output",
        "Delivers a table of measurements.",
        'A pipeline returns it, or names it in its configuration: `outputs = ["{name}"]`.',
    ),
    "element": _Kind(
        "elements",
        "{package}:{class_name}",
        "A virtual element",
        "Says in a result how many images it was made from.",
        'A blueprint uses it, in Python or by name: `ImageComments = {{ element = "{name}" }}`.',
    ),
}


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(list(_KINDS)), default="pipeline", show_default=True, help="What it is."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the package's folder is made. By default here.",
)
@click.option("--description", help="What it does, in a sentence.")
def new(name: str, kind: str, folder: Path, description: str | None) -> int:
    """Make a plugin package NAME, with tests that pass, a README and a CI file."""
    written = make_package(name, kind, folder, description)
    click.echo(f"{written}: a package with {_KINDS[kind].what.lower()}. Now:")
    click.echo(f'  cd {written}\n  pip install -e ".[test]"\n  pytest\n  dicomnode-host --list-plugins')
    return 0


def make_package(name: str, kind: str, folder: Path, description: str | None = None) -> Path:
    """Write a plugin package.

    Parameters
    ----------
    name : str
        The name of the distribution, and of its entry point.
    kind : {"pipeline", "hooks", "output", "element"}
        What it registers.
    folder : pathlib.Path
        The package's folder is made in it.
    description : str, optional
        What it does, in a sentence.

    Returns
    -------
    pathlib.Path
        The package's folder.

    Raises
    ------
    DicomnodeError
        When the name will not do, or the folder is there already.
    """
    from dicomnode.plugins.registry import host_version

    package = _package_name(name)
    root = folder / name
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        msg = f"{root} is there already: choose another name, or another --folder"
        raise DicomnodeError(msg)
    words = {
        "name": name,
        "package": package,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "title": name.upper()[:16],
    }
    about = _KINDS[kind]
    values = {
        **words,
        "group": about.group,
        "target": about.target.format(**words),
        "what": about.what,
        "usage": about.usage.format(**words),
        "description": _sentence(description or about.description),
        "host_version": re.match(r"[\d.]*\d", host_version())[0],  # type: ignore[index]  # every version has one
    }
    for path, text in _rendered(kind, values):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def _package_name(name: str) -> str:
    """Return the import name of a distribution.

    Raises
    ------
    DicomnodeError
        When there can be no such package, or there is one.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(package):
        msg = (
            f"{name!r} is no name for a package: small letters, digits and single hyphens, such as lung-mask"
        )
        raise DicomnodeError(msg)
    if package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        msg = f"{name!r}: there is a Python package {package!r} already; choose another name"
        raise DicomnodeError(msg)
    return package


def _sentence(text: str) -> str:
    """Return a description that can stand in TOML and in a docstring."""
    if not re.fullmatch(r"[^\x00-\x1f\x7f\"\\]+", text):
        msg = "--description takes one line of text, without double quotes and backslashes"
        raise DicomnodeError(msg)
    return text


def _rendered(kind: str, values: dict[str, str]) -> list[tuple[PurePosixPath, str]]:
    """Return path and text of every file of a package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(  # noqa: S701 - no HTML; what goes in is checked above
        loader=PackageLoader(__package__, "templates"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    files = []
    for template in templates.list_templates():
        part, _, path = template.partition("/")
        if part in ("common", kind):
            target = path.removesuffix(_SUFFIX).replace("src/package/", f"src/{values['package']}/")
            files.append((PurePosixPath(target), templates.get_template(template).render(values)))
    return files
