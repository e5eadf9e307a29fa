"""The list of plugins, called in this process: its table, its exit code, and what ``--strict`` refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicomnode.cli.plugins_list import list_plugins, require_sound
from dicomnode.errors import ConfigurationError, PluginError
from dicomnode.plugins.registry import Registry, host_version
from plugin_packages import PluginFolder

PIPELINE = """
    from dicomnode import AbstractInput, AbstractPipeline, NoOutput

    class Pipeline(AbstractPipeline):
        inputs = {"images": AbstractInput}

        def process(self, inputs):
            return NoOutput()
"""
LATE = "def f(): raise RuntimeError('no GPU here')\nPipeline = f()"


def install(plugins: PluginFolder, name: str, module: str = PIPELINE) -> None:
    """Install a plugin of one pipeline."""
    key = name.replace("-", "_")
    plugins.install(name, {"pipelines": {key: f"{key}:Pipeline"}}, modules={f"{key}.py": module})


def only(tmp_path: Path, *names: str) -> Path:
    """Return a configuration that uses no other plugins than these."""
    file = tmp_path / "config.toml"
    file.write_text(f"[plugins]\nonly = {json.dumps(names)}\n")
    return file


def line_of(name: str, text: str) -> str:
    """Return the line of the table that is of a distribution."""
    (line,) = [line for line in text.splitlines() if name in line.split()[1:2]]
    return line


def test_the_table_has_a_line_for_each(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status, distribution, version and what is registered; 0 where all are fine."""
    install(plugins, "acme-fine")
    assert list_plugins(only(tmp_path, "acme-fine")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.split()[:6] == ["status", "distribution", "version", "registers", "hooks", "reason"]
    assert line_of("acme-fine", out).split() == ["active", "acme-fine", "1.0", "pipelines:", "acme_fine"]
    assert line_of("dicomnode-host", out).split()[:3] == ["active", "dicomnode-host", host_version()]


def test_all_kinds_that_a_plugin_registers_are_named(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of a kind in order, with commas between; the kinds with semicolons."""
    plugins.install(
        "acme-many",
        {
            "pipelines": {"b": "acme_many:Pipeline", "a": "acme_many:Pipeline"},
            "inputs": {"c": "acme_many:AbstractInput"},
        },
        modules={"acme_many.py": PIPELINE},
    )
    assert list_plugins(only(tmp_path, "acme-many")) == 0
    line = line_of("acme-many", capsys.readouterr().out)
    assert "pipelines: a, b" in line
    assert "inputs: c" in line
    assert ";" in line


def test_a_broken_plugin_is_told_with_code_1(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its reason is on its line, however long."""
    install(plugins, "acme-broken", "import a_package_that_is_not_there")
    assert list_plugins(only(tmp_path, "acme-broken")) == 1
    line = line_of("acme-broken", capsys.readouterr().out)
    assert line.split()[0] == "failed"
    assert "imports a_package_that_is_not_there, which is not installed" in line


def test_json_is_the_same_for_scripts(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list of objects, and nothing else on stdout."""
    install(plugins, "acme-fine")
    assert list_plugins(only(tmp_path, "acme-fine"), as_json=True) == 0
    rows = {row["distribution"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["acme-fine"] == {
        "distribution": "acme-fine",
        "version": "1.0",
        "status": "active",
        "reason": "",
        "registers": {"pipelines": {"acme_fine": "acme_fine:Pipeline"}},
        "hooks": [],
    }


def test_a_name_that_means_no_plugin_is_told(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, for it may be a typing mistake; it is no failure."""
    install(plugins, "acme-fine")
    assert list_plugins(only(tmp_path, "acme-fine", "acme-typo"), as_json=True) == 0
    out, err = capsys.readouterr()
    assert err == "the table [plugins] names acme-typo, which registers nothing here\n"
    assert json.loads(out)


def test_what_only_an_import_shows_needs_load(
    plugins: PluginFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it nothing is imported."""
    install(plugins, "acme-late", LATE)
    file = only(tmp_path, "acme-late")
    assert list_plugins(file) == 0
    assert line_of("acme-late", capsys.readouterr().out).split()[0] == "active"
    assert list_plugins(file, load=True) == 1
    assert "RuntimeError: no GPU here" in line_of("acme-late", capsys.readouterr().out)


def test_a_wrong_configuration_lists_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error that names the file."""
    file = tmp_path / "config.toml"
    file.write_text("[plugins\n")
    with pytest.raises(ConfigurationError, match=r"config\.toml: not TOML"):
        list_plugins(file)
    assert capsys.readouterr().out == ""


def test_sound_plugins_are_not_refused(plugins: PluginFolder) -> None:
    """One that is left out does not count, however broken it is."""
    install(plugins, "acme-fine")
    install(plugins, "acme-late", LATE)
    registry = Registry(only=["acme-fine"])
    require_sound(registry)
    assert registry.problems() == []


def test_every_broken_plugin_is_named_in_the_refusal(plugins: PluginFolder) -> None:
    """A line for each; what only an import shows counts, too."""
    install(plugins, "acme-fine")
    install(plugins, "acme-late", LATE)
    install(plugins, "acme-missing", "import a_package_that_is_not_there")
    with pytest.raises(PluginError) as refused:
        require_sound(Registry(only=["acme-fine", "acme-late", "acme-missing"]))
    first, *lines = str(refused.value).split("\n")
    assert first == "refused to start (--strict), because of:"
    assert [line.partition(": ")[0] for line in lines] == ["  acme-late 1.0", "  acme-missing 1.0"]
    assert "RuntimeError: no GPU here" in lines[0]
