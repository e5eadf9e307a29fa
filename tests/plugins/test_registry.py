"""The registry: what is installed, read from metadata; loaded only when used; trouble told and contained."""

import sys

import pytest

from dicomnode.errors import PluginError
from dicomnode.plugins.registry import HOST_DISTRIBUTION, PluginStatus, Registry, host_version

PIPELINE = """
    from dicomnode.pipeline.inputs import AbstractInput
    from dicomnode.pipeline.pipelines import AbstractPipeline
    from dicomnode.pipeline.outputs import NoOutput

    class Pipeline(AbstractPipeline):
        inputs = {"images": AbstractInput}

        def process(self, inputs):
            return NoOutput()
"""


def plugin(registry, distribution):
    return next(each for each in registry.plugins if each.distribution == distribution)


def test_a_plugin_is_found_without_being_imported(plugins):
    """Metadata tell the distribution, its version and what it registers; no module of it is imported."""
    plugins.install(
        "acme-smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    registry = Registry()
    found = plugin(registry, "acme-smooth")
    assert (found.version, found.status, found.reason) == ("1.0", PluginStatus.ACTIVE, "")
    assert found.to_json()["registers"] == {"pipelines": {"blur": "acme_smooth:Pipeline"}}
    assert "acme_smooth" not in sys.modules
    assert registry.load("pipelines", "blur").__name__ == "Pipeline"
    assert "acme_smooth" in sys.modules


def test_a_name_that_nobody_registers_is_told_with_those_there_are(plugins):
    """The error names the group and what it offers."""
    plugins.install(
        "acme-smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    with pytest.raises(
        PluginError,
        match=r"no installed plugin registers 'blurr' in dicomnode\.pipelines; there are: .*blur",
    ):
        Registry().load("pipelines", "blurr")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "import a_package_that_is_not_there",
            "ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
        ),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise KeyError('boom')", "KeyError: 'boom'"),
        ("Pipeline = 3", "takes subclasses of AbstractPipeline, not 3"),
        ("class Pipeline: pass", "takes subclasses of AbstractPipeline, not <class"),
        ("from dicomnode.pipeline.pipelines import AbstractPipeline as Pipeline", "does not define process"),
        ("Pipelin = 3", "AttributeError: module 'acme_broken' has no attribute 'Pipeline'"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_what_goes_wrong_when_a_plugin_is_loaded_is_told_and_contained(plugins, module, reason):
    """The plugin has failed, its reason names entry point and error in one line; others are loaded still."""
    plugins.install(
        "acme-broken", {"pipelines": {"broken": "acme_broken:Pipeline"}}, modules={"acme_broken.py": module}
    )
    plugins.install(
        "acme-smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    registry = Registry()
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"plugin acme-broken 1\.0: acme_broken:Pipeline cannot be used"
        ):
            registry.load("pipelines", "broken")
    found = plugin(registry, "acme-broken")
    assert found.status is PluginStatus.FAILED
    assert reason in found.reason
    assert "\n" not in found.reason
    assert registry.load("pipelines", "blur")
    assert registry.problems() == [f"acme-broken 1.0: failed: {found.reason}"]


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        (["dicomnode-host>=999"], f"needs dicomnode-host>=999; this is {host_version()}"),
        (["Dicomnode_Host>=999"], f"needs Dicomnode_Host>=999; this is {host_version()}"),
        (
            ["a-dependency-that-is-not-there>=2"],
            "needs a-dependency-that-is-not-there>=2, which is not installed",
        ),
        (["pluggy>=999"], "needs pluggy>=999; "),
        (["acme-extras[fast]"], "needs a-codec, which is not installed (for acme-extras[fast])"),
    ],
)
def test_a_plugin_whose_needs_are_not_met_is_left_out(plugins, requires, reason):
    """A newer contract (its requirement on the host), a missing or too old dependency: told by metadata."""
    plugins.install("acme-extras", requires=["a-codec; extra == 'fast'", "another; extra == 'slow'"])
    plugins.install("acme-new", {"pipelines": {"new": "acme_new:Pipeline"}}, requires=requires)
    registry = Registry()
    assert plugin(registry, "acme-new").status is PluginStatus.FAILED
    assert reason in plugin(registry, "acme-new").reason
    with pytest.raises(PluginError, match=r"'new' is registered by acme-new 1.0, which is failed: needs"):
        registry.load("pipelines", "new")


def test_requirements_that_do_not_apply_here_are_not_missed(plugins):
    """Extras that nobody asked for, and markers of other machines, are no reason to leave a plugin out."""
    requires = ["gone; extra == 'test'", "gone; python_version < '3'", "pluggy>=1.7", "not a requirement !"]
    plugins.install(
        "acme-fine",
        {"pipelines": {"fine": "acme_fine:Pipeline"}},
        requires=requires,
        requires_python=">=3.11",
    )
    assert plugin(Registry(), "acme-fine").status is PluginStatus.ACTIVE


def test_a_plugin_for_another_python_is_left_out(plugins):
    """Requires-Python is checked too."""
    plugins.install("acme-old", {"pipelines": {"old": "acme_old:Pipeline"}}, requires_python="<3")
    assert "needs Python <3" in plugin(Registry(), "acme-old").reason


def test_a_name_claimed_twice_belongs_to_neither(plugins):
    """Whichever is found first: both are in conflict, both owners are named, a third plugin is untouched."""
    for name in ("acme-a", "acme-b"):
        plugins.install(name, {"pipelines": {"blur": "acme_smooth:Pipeline"}})
    plugins.install(
        "acme-c", {"pipelines": {"rough": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    registry = Registry()
    for name in ("acme-a", "acme-b"):
        assert plugin(registry, name).status is PluginStatus.CONFLICT
        assert (
            "'blur' in dicomnode.pipelines is claimed by acme-a 1.0 and acme-b 1.0"
            in plugin(registry, name).reason
        )
    with pytest.raises(PluginError, match="conflict"):
        registry.load("pipelines", "blur")
    assert registry.load("pipelines", "rough")


def test_a_conflict_is_settled_by_disabling_one(plugins):
    """The block-list names distributions, spelled in any way that pip would take."""
    for name in ("acme-a", "acme-b"):
        plugins.install(
            name, {"pipelines": {"blur": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
        )
    registry = Registry(disabled=["Acme_A"])
    assert plugin(registry, "acme-a").status is PluginStatus.DISABLED
    assert registry.registration("pipelines", "blur").distribution == "acme-b"
    assert registry.problems() == []


def test_only_what_is_allowed_is_used(plugins):
    """The allow-list leaves out everybody else, but never the host itself."""
    plugins.install(
        "acme-a", {"pipelines": {"a": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    plugins.install("acme-b", {"pipelines": {"b": "acme_smooth:Pipeline"}})
    registry = Registry(only=["acme-a"])
    assert "a" in registry.names("pipelines")
    assert "b" not in registry.names("pipelines")
    assert plugin(registry, "acme-b").status is PluginStatus.DISABLED
    assert plugin(registry, HOST_DISTRIBUTION).status is PluginStatus.ACTIVE
    assert registry.unknown(["acme-a", "acme-typo"]) == ["acme-typo"]


def test_the_hosts_own_names_cannot_be_taken(plugins):
    """A plugin that claims one is in conflict; the host keeps it."""
    plugins.install("acme-dicom", {"outputs": {"dicom": "acme_dicom:Output"}})
    registry = Registry()
    assert plugin(registry, "acme-dicom").status is PluginStatus.CONFLICT
    assert "'dicom' in dicomnode.outputs is the host's own" in plugin(registry, "acme-dicom").reason
    assert registry.load("outputs", "dicom").__name__ == "DicomOutput"


def test_every_registration_of_the_host_can_be_loaded():
    """What the host registers is of the kind that its group promises."""
    registry = Registry()
    registered = plugin(registry, HOST_DISTRIBUTION).registrations
    assert {"dicom", "file", "none"} <= {each.name for each in registered if each.kind == "outputs"}
    for each in registered:
        assert registry.load_registration(each)


def test_names_of_hook_modules_do_not_conflict(plugins):
    """They have no meaning: two plugins may both call theirs 'hooks'."""
    for name in ("acme-a", "acme-b"):
        plugins.install(
            name,
            {"hooks": {"hooks": f"{name.replace('-', '_')}"}},
            modules={f"{name.replace('-', '_')}.py": ""},
        )
    registry = Registry()
    assert [each.distribution for each in registry.registrations("hooks") if each.name == "hooks"] == [
        "acme-a",
        "acme-b",
    ]


def test_an_output_is_registered_under_its_own_name(plugins):
    """The outbox finds the class again by its name, so entry point and class must agree."""
    module = """
        from dicomnode.pipeline.outputs import FileOutput

        class Report(FileOutput):
            name = "other"
    """
    plugins.install(
        "acme-report", {"outputs": {"report": "acme_report:Report"}}, modules={"acme_report.py": module}
    )
    with pytest.raises(PluginError, match=r"Report\.name is 'other', and its entry point is 'report'"):
        Registry().load("outputs", "report")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[dicomnode.pipelines]\nblur = not a reference\n", "is not of the form module:Class"),
        ("[dicomnode.pipelines]\nblur\n", "cannot be read"),
    ],
)
def test_metadata_that_cannot_be_read_are_told(plugins, text, reason):
    """A malformed entry point is its plugin's trouble and nobody else's."""
    plugins.install("acme-torn", text)
    plugins.install(
        "acme-smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}}, modules={"acme_smooth.py": PIPELINE}
    )
    registry = Registry()
    assert plugin(registry, "acme-torn").status is PluginStatus.FAILED
    assert reason in plugin(registry, "acme-torn").reason
    assert registry.load("pipelines", "blur")


def test_of_two_installations_the_one_that_python_imports_counts(plugins, tmp_path, monkeypatch):
    """A distribution that is on the import path twice is one plugin."""
    plugins.install("acme-smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}})
    older = type(plugins)(tmp_path / "older")
    older.folder.mkdir()
    older.install("Acme_Smooth", {"pipelines": {"blur": "acme_smooth:Pipeline"}}, version="0.5")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.folder)])
    assert [
        each.version
        for each in Registry().plugins
        if "smooth" in each.distribution.lower() and "acme" in each.distribution.lower()
    ] == ["1.0"]
