"""``dicomnode-host new``: a complete package, whose tests pass as soon as it is installed."""

import ast
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from dicomnode.cli.new import make_package
from dicomnode.errors import DicomnodeError

KINDS = ["pipeline", "hooks", "output", "element"]


def run(*command, folder):
    """Run a command and return what it printed; it must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def environment(tmp_path):
    """Make a virtual environment that has what this one has, and return its Python."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    here = sysconfig.get_path("purelib")
    (packages / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "hooks" else pytest.mark.slow) for kind in KINDS]
)
def test_the_tests_of_a_new_package_pass(kind, tmp_path, environment):
    """Made on the command line, installed with pip, its own tests run, and the host lists it as fine."""
    name = f"acme-{kind}"
    run(sys.executable, "-m", "dicomnode.cli", "new", name, "--kind", kind, folder=tmp_path)
    install = ["install", "-q", "--no-deps", "--no-build-isolation", tmp_path / name]
    run(sys.executable, "-m", "pip", "--python", environment, *install, folder=tmp_path)
    tested = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path / name)
    assert " passed" in tested
    assert "warning" not in tested
    listed = run(environment, "-m", "dicomnode.cli", "--list-plugins", "--load", folder=tmp_path)
    (line,) = [line for line in listed.splitlines() if f" {name} " in line]
    assert line.split()[0] == "active"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_is_complete(kind, tmp_path):
    """Metadata with an entry point, code, tests, README and CI file; no template syntax is left over."""
    root = make_package("lung-mask", kind, tmp_path, "Finds the lungs")
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml"} < files
    assert "src/lung_mask/__init__.py" in files
    assert any(file.startswith("tests/test_") for file in files)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (group,) = project["entry-points"]
    assert group == ("dicomnode.hooks" if kind == "hooks" else f"dicomnode.{kind}s")
    assert project["entry-points"][group]["lung-mask"].startswith("lung_mask")
    assert project["description"] == "Finds the lungs"
    for file in files:
        text = (root / file).read_text()
        assert "{%" not in text
        assert text.count("{{") == (1 if file.endswith("test.yml") else 0)
        if file.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Lung", "is no name for a package"),
        ("lung_mask", "is no name for a package"),
        ("../lung", "is no name for a package"),
        ("2lungs", "is no name for a package"),
        ("class", "is no name for a package"),
        ("numpy", "there is a Python package 'numpy' already"),
        ("statistics", "there is a Python package 'statistics' already"),
    ],
)
def test_a_name_that_will_not_do_is_told(name, told, tmp_path):
    """Before anything is written."""
    with pytest.raises(DicomnodeError, match=told):
        make_package(name, "pipeline", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    """A folder that holds something stays as it is; an empty one is filled."""
    (tmp_path / "lung-mask").mkdir()
    root = make_package("lung-mask", "pipeline", tmp_path)
    before = (root / "README.md").read_text()
    with pytest.raises(DicomnodeError, match="is there already"):
        make_package("lung-mask", "hooks", tmp_path)
    assert (root / "README.md").read_text() == before


@pytest.mark.parametrize("text", ['a "quoted" word', "two\nlines", "back\\slash"])
def test_a_description_that_would_break_the_files_is_told(text, tmp_path):
    """It stands in TOML and in a docstring."""
    with pytest.raises(DicomnodeError, match="--description takes one line"):
        make_package("lung-mask", "pipeline", tmp_path, text)


def test_the_templates_are_in_the_wheel():
    """They are package data beside the command."""
    import dicomnode.cli.new

    folder = Path(dicomnode.cli.new.__file__).parent / "templates"
    assert {each.name for each in folder.iterdir()} == {"common", *KINDS}
