"""The how-to guides of plugins: their Python runs in order, their files work as they stand."""

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dicomnode import NumpyGrinder
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.plugins.plugin import GROUPS
from dicomnode.testing import run_pipeline, synthetic_series

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem.startswith(("write-a", "test-a-plugin")))


def blocks(page, language):
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def files(page):
    """Return the blocks that are files: name -> content, by the comment in the first line."""
    found = {}
    for language in ("python", "toml"):
        for block in blocks(page, language):
            if name := re.match(r"# ([\w.]+\.(?:py|toml))\n", block):
                found[name[1]] = block
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_guide_runs(page, monkeypatch):
    """All blocks of a page, one after the other, as one module."""
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    assert blocks(page, "python")
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name} {number}", "exec"), vars(module))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem.startswith("write-a")], ids=lambda page: page.stem
)
def test_the_entry_point_of_a_guide_names_what_it_defines(page, monkeypatch):
    """The group exists, and the class (or the module) is that of the guide's file."""
    tables = [tomllib.loads(block) for block in blocks(page, "toml")]
    (entry_points,) = [table["project"]["entry-points"] for table in tables if "project" in table]
    ((group, registered),) = entry_points.items()
    assert group in GROUPS.values()
    ((name, value),) = registered.items()
    module, _, attribute = value.partition(":")
    (file,) = [each for each in files(page) if each.endswith(".py")]
    assert module == file.removesuffix(".py")
    if attribute:
        scope = ModuleType(module)
        monkeypatch.setitem(sys.modules, module, scope)
        exec(files(page)[file], vars(scope))
        assert isinstance(getattr(scope, attribute), type)
        assert getattr(getattr(scope, attribute), "name", name) == name


def test_the_declared_pipeline_of_its_guide_works(plugins):
    """Function, configuration and blueprint file as they stand on the page."""
    for name, content in files(FOLDER / "declare-a-pipeline.md").items():
        (plugins.folder / name).write_text(content)
    table = load_config(plugins.folder / "dicomnode.toml", {}).pipelines["scaled"]
    result = run_pipeline(
        "scaled", synthetic_series("CT"), declared=table.declaration(), settings=table.settings
    )
    assert {each.SeriesDescription for each in result} == {"Scaled"}
    assert {each.BodyPartExamined for each in result} == {"CHEST"}
    volumes = [NumpyGrinder()(images).array for images in (result, synthetic_series("CT"))]
    assert np.allclose(volumes[0], 2 * volumes[1], atol=0.1)


def test_the_other_tables_of_the_guides_are_configuration(tmp_path):
    """Every key is one that the configuration knows."""
    shown = 0
    for page in (FOLDER / "declare-a-pipeline.md", FOLDER / "choose-plugins.md"):
        for block in blocks(page, "toml"):
            if not block.startswith("# scaled.toml"):
                shown += 1
                (tmp_path / "dicomnode.toml").write_text(block)
                (tmp_path / "scaled.toml").write_text('base = "ct"\n')
                load_config(tmp_path / "dicomnode.toml", {})
    assert shown == 3
