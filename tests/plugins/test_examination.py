"""What the source of a plugin tells: its hooks and its faults, with nothing imported."""

import sys

import pytest

from dicomnode.plugins.examination import examine, hook_arguments
from dicomnode.plugins.hookspecs import INTERVENTIONS, NOTIFICATIONS
from dicomnode.plugins.probe import find_problems
from dicomnode.plugins.registry import PluginStatus, Registry

HOOKS = """
    from dicomnode import hookimpl
    from dicomnode import hookimpl as impl
    import dicomnode as dn
    import pluggy

    own = pluggy.HookimplMarker("dicomnode")

    @hookimpl
    def dicomnode_validate_image(image):
        return None

    @impl(specname="dicomnode_host_started")
    def up(host): ...

    @dn.hookimpl(wrapper=True)
    def dicomnode_process(pipeline):
        return (yield)

    if True:
        @own(tryfirst=True)
        def dicomnode_job_changed(job, extra=None): ...

    def dicomnode_blueprint(): ...   # not marked: no hook

    def a_helper(): ...
"""
HOOK_NAMES = [
    "dicomnode_host_started",
    "dicomnode_job_changed",
    "dicomnode_process",
    "dicomnode_validate_image",
]


def examined(distribution):
    """Return a plugin after its source was read."""
    registry = Registry(only=[distribution])
    examine(registry)
    return next(each for each in registry.plugins if each.distribution == distribution)


def loaded(distribution, timeout=60):
    """Return a plugin after it was loaded in a process of its own."""
    registry = Registry(only=[distribution])
    find_problems(registry, timeout)
    return next(each for each in registry.plugins if each.distribution == distribution)


def test_the_hooks_of_this_host_are_known():
    """Name and arguments of every hook."""
    assert set(hook_arguments()) == INTERVENTIONS | NOTIFICATIONS
    assert hook_arguments()["dicomnode_validate_image"] == ("pipeline", "input_name", "image")


def test_a_star_import_of_the_public_face_is_no_fault(plugins):
    """``from dicomnode import *`` works in Python; the hooks marked with what it brings are found, too."""
    text = """
        from dicomnode import *

        @hookimpl
        def dicomnode_host_started(host): ...
    """
    plugins.install("acme-star", {"hooks": {"rules": "acme_star"}}, modules={"acme_star.py": text})
    found = examined("acme-star")
    assert (found.status, found.reason, found.hooks) == (PluginStatus.ACTIVE, "", ["dicomnode_host_started"])
    assert loaded("acme-star").status is PluginStatus.ACTIVE


def test_hooks_are_read_from_the_source(plugins):
    """Whatever the marker is called, under whatever name the function stands, also within an if."""
    plugins.install(
        "acme-rules",
        {"hooks": {"rules": "acme.rules"}},
        modules={"acme/__init__.py": "", "acme/rules.py": HOOKS},
    )
    found = examined("acme-rules")
    assert (found.status, found.hooks) == (PluginStatus.ACTIVE, HOOK_NAMES)
    assert "acme" not in sys.modules
    assert loaded("acme-rules").hooks == HOOK_NAMES, "what pluggy finds is the same"


@pytest.mark.parametrize("value", ["acme:rules", "acme:Rules", "acme.inner:rules"])
def test_hooks_of_an_object_are_read_from_its_class(plugins, value):
    """An entry point may name an object; its class's methods are hooks, wherever it was imported from."""
    inner = """
        from dicomnode import hookimpl

        class Rules:
            @hookimpl
            def dicomnode_validate_image(self, image): ...

        rules = Rules()
    """
    modules = {"acme/__init__.py": "from .inner import Rules, rules", "acme/inner.py": inner}
    plugins.install("acme-rules", {"hooks": {"rules": value}}, modules=modules)
    assert examined("acme-rules").hooks == ["dicomnode_validate_image"]
    assert examined("acme-rules").status is PluginStatus.ACTIVE


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "from dicomnode import hookimpl\n@hookimpl\ndef dicomnode_nothing(): ...",
            "this host has no hook dicomnode_nothing",
        ),
        (
            "from dicomnode import hookimpl\n@hookimpl\ndef dicomnode_blueprint(picture): ...",
            "dicomnode_blueprint has no argument picture; it has pipeline, blueprint",
        ),
        (
            "from dicomnode import hookimpl\n@hookimpl(wrapper=True)\ndef dicomnode_blueprint(): yield",
            "there is nothing to wrap in dicomnode_blueprint",
        ),
        (
            "def dicomnode_blueprint(): ...",
            "it implements no hook; put @dicomnode.hookimpl above each function",
        ),
        ("import sys\nsys.exit(3)", "acme_rules:2 ends the process when it is imported: sys.exit(3)"),
        ("raise SystemExit", "acme_rules:1 raises when it is imported: raise SystemExit"),
        (
            "x = 1\nraise ImportError('no libtorch')",
            "acme_rules:2 raises when it is imported: raise ImportError('no libtorch')",
        ),
        ("import gone_package.part", "acme_rules:1 imports gone_package, which is not installed"),
        ("from gone_package import part", "acme_rules:1 imports gone_package, which is not installed"),
        (
            "from dicomnode import Tomorrow",
            "imports Tomorrow from dicomnode, which this version does not have",
        ),
        ("def broken(:", "acme_rules:1 cannot be imported: SyntaxError"),
    ],
)
@pytest.mark.parametrize("means", [examined, loaded])
def test_trouble_is_told_by_the_source_and_by_the_import(plugins, module, reason, means):
    """What the source shows to be wrong is what the import stumbles over too; both are told in one line."""
    plugins.install("acme-rules", {"hooks": {"rules": "acme_rules"}}, modules={"acme_rules.py": module})
    found = means("acme-rules")
    assert found.status is PluginStatus.FAILED
    assert reason in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("value", "module", "reason"),
    [
        ("acme_gone:Pipeline", "", "there is no module 'acme_gone'"),
        ("acme:Pipeline", "Pipelin = 1", "module acme has no Pipeline"),
        ("acme", "", "acme is a module; the group dicomnode.pipelines takes subclasses of AbstractPipeline"),
        (
            "acme:Pipeline",
            "def Pipeline(): ...",
            "Pipeline is a function; the group dicomnode.pipelines takes",
        ),
        ("acme:Pipeline", "class Pipeline: ...", "Pipeline is no subclass of AbstractPipeline"),
        (
            "acme:Pipeline",
            "import dicomnode as dn\nclass Pipeline(dn.AbstractInput): ...",
            "Pipeline is no subclass",
        ),
        (
            "acme:Pipeline",
            "from dicomnode import FileOutput\nclass Pipeline(FileOutput, Exception): ...",
            "is no subclass",
        ),
        ("acme:Pipeline", "from .gone import Pipeline", "acme:1 imports acme.gone, which is not installed"),
    ],
)
def test_a_class_of_the_wrong_kind_is_told(plugins, value, module, reason):
    """The class is followed through imports and bases; what certainly is not of its kind is a fault."""
    plugins.install("acme", {"pipelines": {"acme": value}}, modules={"acme/__init__.py": module})
    found = examined("acme")
    assert found.status is PluginStatus.FAILED
    assert reason in found.reason


@pytest.mark.parametrize(
    "module",
    [
        "from dicomnode import AbstractPipeline\nclass Pipeline(AbstractPipeline): ...",
        "import dicomnode\nclass Pipeline(dicomnode.AbstractQueuedPipeline): ...",
        "from dicomnode import AbstractPipeline as Base\nclass A(Base): ...\nclass Pipeline(A): ...",
        "from os import *",
        "def __getattr__(name): ...",
        "class Pipeline: ...\nclass Pipeline(Pipeline): ...",
        "import functools\nPipeline = functools.partial(print)",
        "import numpy\nclass Pipeline(numpy.ndarray): ...",
        "import sys\nsys.path.append('somewhere')\nimport helper_from_somewhere\nfrom helper import Pipeline",
        "try:\n    import gone\nexcept ImportError:\n    gone = None\nPipeline = gone",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gone\nPipeline = print",
    ],
)
def test_what_the_source_does_not_tell_is_no_fault(plugins, module):
    """Only what is certain counts: everything else is left to the import."""
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    found = examined("acme")
    assert (found.status, found.reason) == (PluginStatus.ACTIVE, "")


def test_a_module_is_read_and_not_imported(plugins, tmp_path):
    """Reading takes nothing of what importing would take."""
    mark = tmp_path / "imported"
    module = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    module += "from dicomnode import AbstractPipeline as Pipeline"
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": module})
    assert examined("acme").status is PluginStatus.ACTIVE
    assert not mark.exists()
