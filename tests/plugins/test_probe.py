"""Loading every plugin in a process of its own: what it does there is reported, and ends nothing else."""

import os
import select
from contextlib import suppress

import pytest

from dicomnode.plugins.probe import find_problems, load_each
from dicomnode.plugins.registry import PluginStatus, Registry

PIPELINE = """
    from dicomnode import AbstractInput, AbstractPipeline

    class Pipeline(AbstractPipeline):
        inputs = {"images": AbstractInput}

        def process(self, inputs): ...
"""


def loaded(distribution):
    """Return a plugin after it was loaded in a process of its own."""
    registry = Registry(only=[distribution])
    find_problems(registry, 60)
    return next(each for each in registry.plugins if each.distribution == distribution)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import os\nPipeline = os._exit(0)", "importing it ended the process (exit status 0)"),
        (
            "import os\nPipeline = os.kill(os.getpid(), 11)",
            "ended the process (signal SIGSEGV)",
        ),
        ("import threading\nPipeline = threading.Event().wait()", "importing it takes longer than 10 s"),
        ("def f(): raise RuntimeError('late')\nPipeline = f()", "RuntimeError: late"),
    ],
)
def test_loading_contains_whatever_a_plugin_does(plugins, module, reason):
    """An exit without a word, a segfault, an endless import: told in one line; the next one is loaded."""
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    plugins.install("fine", {"pipelines": {"fine": "fine:Pipeline"}}, modules={"fine.py": PIPELINE})
    registry = Registry(only=["acme", "fine"])
    (trouble,) = find_problems(registry, timeout=10 if "longer" in reason else 60)
    assert trouble.startswith("acme 1.0: failed: ")
    assert reason in trouble


def test_loading_leaves_no_process_behind(plugins, tmp_path):
    """What an import started ends with it."""
    note = tmp_path / "child"
    module = f"""
        import pathlib, subprocess, sys
        from dicomnode import AbstractPipeline as Pipeline

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path({str(note)!r}).write_text(str(child.pid))
    """
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    assert "is abstract" in loaded("acme").reason
    with suppress(ProcessLookupError):
        ended, _, _ = select.select([os.pidfd_open(int(note.read_text()))], [], [], 10)
        assert ended, "the child of the import still runs"


def test_hooks_that_only_an_import_shows(plugins):
    """Hooks that are made while the module is imported are noted with the plugin."""
    module = """
        from dicomnode import hookimpl

        def make(name):
            def hook(job): ...
            hook.__name__ = name
            globals()[name] = hookimpl(hook)

        make("dicomnode_job" + "_changed")
    """
    plugins.install("acme", {"hooks": {"acme": "acme"}}, modules={"acme.py": module})
    assert loaded("acme").hooks == ["dicomnode_job_changed"]


def test_plugins_that_are_left_out_are_not_loaded(plugins, tmp_path):
    """A plugin that is disabled, or known to be broken, is not imported."""
    mark = tmp_path / "imported"
    module = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    registry = Registry(disabled=["acme"], only=["acme"])
    load_each(registry)
    acme = next(each for each in registry.plugins if each.distribution == "acme")
    assert acme.status is PluginStatus.DISABLED
    assert not mark.exists()
