"""``dicomnode-host --list-plugins``: a row for each distribution, what is wrong with it, nothing imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
RULES = """
    from dicomnode import hookimpl

    @hookimpl
    def dicomnode_validate_image(image):
        return None

    @hookimpl
    def dicomnode_host_started():
        ...
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


# -- in a process of its own: what is imported, and what the whole command prints ---------------------------


@pytest.fixture
def site(tmp_path: Path) -> PluginFolder:
    """Return a folder for plugins that the command line's process has on its path."""
    folder = tmp_path / "site"
    folder.mkdir()
    return PluginFolder(folder)


def command_line(site: PluginFolder, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``dicomnode-host`` in a process of its own and return what came of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DICOMNODE_")}
    return subprocess.run(
        [sys.executable, "-m", "dicomnode.cli", *arguments],
        env={**kept, "PYTHONPATH": str(site.folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of ``--json`` by distribution."""
    return {row["distribution"]: row for row in json.loads(done.stdout)}


def test_json_has_a_row_for_each_distribution(site: PluginFolder) -> None:
    """Distribution, version, status, what it registers, its hooks; the host's own first; exit code 0."""
    site.install(
        "acme-smooth", {"pipelines": {"acme": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    site.install(
        "acme-rules", {"hooks": {"rules": "acme_rules"}}, version="2.1", modules={"acme_rules.py": RULES}
    )
    done = command_line(site, "--list-plugins", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["distribution"] == "dicomnode-host"
    assert rows(done)["acme-smooth"] == {
        "distribution": "acme-smooth",
        "version": "1.0",
        "status": "active",
        "reason": "",
        "registers": {"pipelines": {"acme": "acme_smooth:Pipeline"}},
        "hooks": [],
    }
    assert rows(done)["acme-rules"]["version"] == "2.1"
    assert rows(done)["acme-rules"]["hooks"] == ["dicomnode_host_started", "dicomnode_validate_image"]


def test_every_kind_of_trouble_is_one_row_and_the_others_work(site: PluginFolder) -> None:
    """Failed and conflict, each with its reason in one line; exit code 1; what is fine is active."""

    def pipeline(name: str, module: str = "", **more: Any) -> None:
        key = name.replace("-", "_")
        site.install(
            name,
            {"pipelines": {more.pop("claims", name): f"{key}:Pipeline"}},
            modules={f"{key}.py": module},
            **more,
        )

    pipeline("acme-fine", PIPELINE)
    pipeline("acme-import-error", "import a_package_that_is_not_there")
    pipeline("acme-exits", "import sys\nsys.exit(3)")
    pipeline("acme-newer", PIPELINE, requires=["dicomnode-host>=99"])
    pipeline("acme-dependency", PIPELINE, requires=["torch-that-is-not-there>=2"])
    pipeline("acme-wrong-kind", "class Pipeline: ...")
    pipeline("acme-twin-a", PIPELINE, claims="twin")
    pipeline("acme-twin-b", PIPELINE, claims="twin")
    hooks = {
        "acme-unknown-hook": "dicomnode_no_such_hook()",
        "acme-arguments": "dicomnode_validate_image(picture)",
    }
    for name, signature in hooks.items():
        key = name.replace("-", "_")
        module = f"from dicomnode import hookimpl\n@hookimpl\ndef {signature}: ..."
        site.install(name, {"hooks": {"hooks": key}}, modules={f"{key}.py": module})
    done = command_line(site, "--list-plugins", "--json")
    assert done.returncode == 1
    found = rows(done)
    told = {
        "acme-import-error": ("failed", "imports a_package_that_is_not_there, which is not installed"),
        "acme-exits": ("failed", "ends the process when it is imported: sys.exit(3)"),
        "acme-newer": ("failed", f"needs dicomnode-host>=99; this is {host_version()}"),
        "acme-dependency": ("failed", "needs torch-that-is-not-there>=2, which is not installed"),
        "acme-wrong-kind": ("failed", "Pipeline is no subclass of AbstractPipeline"),
        "acme-twin-a": (
            "conflict",
            "the name 'twin' in dicomnode.pipelines is claimed by acme-twin-a 1.0 and acme-twin-b 1.0",
        ),
        "acme-twin-b": (
            "conflict",
            "the name 'twin' in dicomnode.pipelines is claimed by acme-twin-a 1.0 and acme-twin-b 1.0",
        ),
        "acme-unknown-hook": ("failed", "this host has no hook dicomnode_no_such_hook"),
        "acme-arguments": (
            "failed",
            "dicomnode_validate_image has no argument picture; it has pipeline, input_name",
        ),
        "acme-fine": ("active", ""),
        "dicomnode-host": ("active", ""),
    }
    for name, (status, reason) in told.items():
        assert found[name]["status"] == status
        assert reason in found[name]["reason"]
        assert "\n" not in found[name]["reason"]
    table = command_line(site, "--list-plugins")
    assert table.returncode == 1
    for name, (status, reason) in told.items():
        (line,) = [line for line in table.stdout.splitlines() if name in line.split()[1:2]]
        assert status in line
        assert reason in line


def test_what_only_an_import_shows_is_told_with_load(site: PluginFolder) -> None:
    """--load imports each plugin in a process of its own: what it prints or does there stays there."""
    module = "print('hello')\ndef f(): raise RuntimeError('no GPU here')\nPipeline = f()"
    site.install("acme-late", {"pipelines": {"late": "acme_late:Pipeline"}}, modules={"acme_late.py": module})
    assert rows(command_line(site, "--list-plugins", "--json"))["acme-late"]["status"] == "active"
    done = command_line(site, "--list-plugins", "--load", "--json")
    assert done.returncode == 1
    assert rows(done)["acme-late"]["status"] == "failed"
    assert "RuntimeError: no GPU here" in rows(done)["acme-late"]["reason"]


@pytest.mark.parametrize("then", ["", "import os\nos._exit(7)", "import sys\nsys.exit()"])
def test_listing_imports_no_plugin(site: PluginFolder, tmp_path: Path, then: str) -> None:
    """A module is listed without being imported, whatever it would do then."""
    mark = tmp_path / "imported"
    module = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{then}\nPipeline = 1"
    site.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    assert "acme" in rows(command_line(site, "--list-plugins", "--json"))
    assert not mark.exists()


def imported_by_listing(site: PluginFolder) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """List the plugins, and return the rows and the names of all modules that were imported for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dicomnode.cli", "--list-plugins", "--json"],
        env={**os.environ, "PYTHONPATH": str(site.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time")]
    return rows(done), {line.rpartition("|")[2].strip() for line in lines}


def test_a_hundred_plugins_cost_no_import_more_than_two(site: PluginFolder) -> None:
    """A hundred installed plugins, half with hooks: what is imported is what was for two of them."""
    counts: list[int] = []
    imported: list[set[str]] = []
    for number in range(50):
        pipeline, rules = f"acme_p{number}", f"acme_r{number}"
        site.install(
            pipeline,
            {"pipelines": {pipeline: f"{pipeline}:Pipeline"}},
            modules={f"{pipeline}.py": PIPELINE},
            requires=["numpy>=1", "pydicom", f"dicomnode-host>={host_version()}"],
        )
        site.install(
            rules, {"hooks": {"rules": rules}}, modules={f"{rules}.py": RULES}, requires=["dicomnode-host"]
        )
        if number in {0, 49}:
            listed, names = imported_by_listing(site)
            counts.append(len(listed))
            imported.append(names)
    assert counts[1] - counts[0] == 98
    assert imported[1] == imported[0]


def test_listing_imports_neither_arrays_nor_dicom(site: PluginFolder) -> None:
    """What takes long in the host itself is not imported either."""
    _, imported = imported_by_listing(site)
    assert "dicomnode.plugins.registry" in imported
    assert not imported & {"numpy", "pydicom", "pynetdicom", "highdicom"}


def test_plugins_are_left_out_by_configuration_and_by_environment(site: PluginFolder, tmp_path: Path) -> None:
    """Block-list and allow-list in [plugins], overridden by the environment; an idle name is told."""
    for name in ("acme-a", "acme-b"):
        key = name.replace("-", "_")
        site.install(name, {"pipelines": {"twin": f"{key}:Pipeline"}}, modules={f"{key}.py": PIPELINE})
    file = tmp_path / "config.toml"
    file.write_text('[plugins]\ndisabled = ["acme-b", "acme-typo"]\n')
    done = command_line(site, "--config", str(file), "--list-plugins", "--json")
    assert (rows(done)["acme-a"]["status"], rows(done)["acme-b"]["status"]) == ("active", "disabled")
    assert done.returncode == 0
    assert "acme-typo, which registers nothing here" in done.stderr
    done = command_line(site, "--list-plugins", "--json", DICOMNODE_PLUGINS__ONLY='["acme-b"]')
    assert (rows(done)["acme-a"]["status"], rows(done)["acme-b"]["status"]) == ("disabled", "active")
    assert rows(done)["dicomnode-host"]["status"] == "active"
    done = command_line(site, "--list-plugins", "--json", DICOMNODE_PLUGINS__DISABLED="acme-a, acme-b")
    assert (rows(done)["acme-a"]["status"], rows(done)["acme-b"]["status"]) == ("disabled", "disabled")
    done = command_line(
        site, "--config", str(file), "--list-plugins", "--json", DICOMNODE_PLUGINS__DISABLED="[]"
    )
    assert rows(done)["acme-b"]["status"] == "conflict"
