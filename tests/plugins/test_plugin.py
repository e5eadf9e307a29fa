"""A plugin as the registry has it: its status, its reason, and as plain data."""

from __future__ import annotations

from dicomnode.plugins.plugin import Plugin, PluginStatus, Registration


def test_the_first_reason_stays() -> None:
    """What is found first is told, in one line; what follows from it does not hide it."""
    plugin = Plugin("acme", "1.0")
    assert not plugin.broken
    plugin.fail("needs torch,\n   which is not installed")
    plugin.fail("cannot be imported", PluginStatus.CONFLICT)
    assert (plugin.status, plugin.reason) == (PluginStatus.FAILED, "needs torch, which is not installed")
    assert plugin.broken


def test_a_plugin_that_was_left_out_on_purpose_is_not_broken() -> None:
    """The configuration says so."""
    plugin = Plugin("acme", "1.0")
    plugin.fail("disabled in the configuration", PluginStatus.DISABLED)
    assert not plugin.broken


def test_as_plain_data() -> None:
    """``--list-plugins --json`` shows registrations by kind, and hooks by name, each once."""
    plugin = Plugin("acme", "")
    for kind, name in (("pipelines", "one"), ("pipelines", "two"), ("hooks", "rules")):
        plugin.registrations.append(Registration(kind, name, f"acme:{name}", "acme", "", None))
    plugin.note_hooks(["dicomnode_process"])
    plugin.note_hooks(["dicomnode_job_changed", "dicomnode_process"])
    assert plugin.to_json() == {
        "distribution": "acme",
        "version": "",
        "status": "active",
        "reason": "",
        "registers": {"pipelines": {"one": "acme:one", "two": "acme:two"}, "hooks": {"rules": "acme:rules"}},
        "hooks": ["dicomnode_job_changed", "dicomnode_process"],
    }
    assert str(plugin) == "acme"
    assert str(plugin.registrations[0]) == "one = acme:one (dicomnode.pipelines) of acme "
