"""The hooks through their typed facade: any veto wins, additions merge in any order, news is isolated."""

import doctest
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import click
import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement
from dicomnode.errors import OutputError, PluginError
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.outputs import FileOutput, NoOutput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.plugins import hookspecs
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.hookspecs import INTERVENTIONS, NOTIFICATIONS, WRAPPABLE, hookimpl
from dicomnode.plugins.registry import PluginStatus, Registry

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("dicomnode_"))


class Images(AbstractInput):
    """CT images."""

    required_values: ClassVar = {"Modality": "CT"}


class Pipeline(AbstractPipeline):
    """Takes CT images and makes a report."""

    inputs: ClassVar = {"images": Images}

    def process(self, inputs):
        return FileOutput({"report.txt": "done"})


def implementing(**functions):
    """Return a module that implements hooks by functions, as a plugin's would."""
    module = ModuleType("acme")
    for name, function in functions.items():
        setattr(module, name, hookimpl(function))
    return module


@pytest.fixture
def hooks():
    """Return hooks with nothing but what is installed here: the core's own."""
    return Hooks(Registry(only=[]))


def image(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_every_hook_is_an_intervention_or_a_notification():
    """The two kinds are told apart, and no hook is neither or both."""
    assert sorted(INTERVENTIONS | NOTIFICATIONS) == HOOKS
    assert not INTERVENTIONS & NOTIFICATIONS
    assert WRAPPABLE < INTERVENTIONS


def test_every_hook_has_a_test_by_name():
    """For each hook there is a test here that carries its name."""
    tests = [name for name in globals() if name.startswith("test_")]
    for hook in HOOKS:
        assert any(test.startswith(f"test_{hook}") for test in tests), f"no test of {hook}"


@pytest.mark.parametrize("name", HOOKS)
def test_the_example_of_each_hook_runs(name, hooks):
    """Each hookspec's docstring has an example, which runs, and whose implementation can be registered."""
    found = doctest.DocTestFinder().find(getattr(hookspecs, name), name, globs={})
    (example,) = [each for each in found if each.examples]
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    assert result.attempted > 1
    assert result.failed == 0
    implementation = example.globs[name]
    hooks.register(SimpleNamespace(**{name: implementation}), "the example")


# -- interventions --------------------------------------------------------------------------------------


def test_dicomnode_validate_image_asks_the_inputs_rules(hooks):
    """Without plugins the input decides."""
    assert hooks.validate_image(Pipeline(), "images", image(Modality="CT")) is None
    assert hooks.validate_image(Pipeline(), "images", image(Modality="MR")) == "Modality is MR, not CT"


@pytest.mark.parametrize("order", list(itertools.permutations(["refuses", "agrees", "fails"])))
def test_dicomnode_validate_image_any_veto_wins_in_any_order(hooks, order):
    """One plugin that refuses is enough, wherever it stands, also when another one fails."""
    given = {
        "refuses": implementing(dicomnode_validate_image=lambda image: "not today"),
        "agrees": implementing(dicomnode_validate_image=lambda image: None),
        "fails": implementing(dicomnode_validate_image=lambda image: 1 / 0),
    }
    for name in order:
        hooks.register(given[name], name)
    assert hooks.validate_image(Pipeline(), "images", image(Modality="CT")) == "not today"


def test_dicomnode_validate_image_that_raises_is_no_agreement(hooks):
    """An error is raised with a note that names the plugin and the hook."""
    hooks.register(implementing(dicomnode_validate_image=lambda image: 1 / 0), "acme:rules")
    with pytest.raises(ZeroDivisionError) as caught:
        hooks.validate_image(Pipeline(), "images", image(Modality="CT"))
    assert caught.value.__notes__ == ["raised in dicomnode_validate_image of the plugin acme:rules"]


@pytest.mark.parametrize("answer", [False, True, 0, ["no"]])
def test_dicomnode_validate_image_must_answer_with_none_or_text(hooks, answer):
    """Anything else is no answer: taking False for yes or for no would both be wrong for someone."""
    hooks.register(implementing(dicomnode_validate_image=lambda image: answer), "acme:rules")
    with pytest.raises(PluginError, match=r"acme:rules returned .*: return None, or the reason as text"):
        hooks.validate_image(Pipeline(), "images", image(Modality="CT"))


def test_dicomnode_validate_image_that_exits_does_not_end_the_host(hooks):
    """sys.exit in a hook becomes an error that names the plugin."""

    def leave(image):
        raise SystemExit(2)

    hooks.register(implementing(dicomnode_validate_image=leave), "acme:rules")
    with pytest.raises(PluginError, match=r"acme:rules called sys\.exit\(2\)"):
        hooks.validate_image(Pipeline(), "images", image(Modality="CT"))


def test_dicomnode_validate_input_holds_back(hooks):
    """The input says what is missing, and so may any plugin."""
    held = Images("images")
    assert hooks.validate_input(Pipeline(), "1.4", "P1", "images", held) == "no image yet"
    held.insert(
        image(
            SOPInstanceUID="1.2",
            Modality="CT",
            SeriesInstanceUID="1.3",
            StudyInstanceUID="1.4",
            PatientID="P1",
        )
    )
    assert hooks.validate_input(Pipeline(), "1.4", "P1", "images", held) is None
    veto = implementing(
        dicomnode_validate_input=lambda container_key, patient_id: f"{patient_id} waits for {container_key}"
    )
    hooks.register(veto, "acme")
    assert hooks.validate_input(Pipeline(), "1.4", "P1", "images", held) == "P1 waits for 1.4"


def test_dicomnode_blueprint_adds_and_overrides(hooks):
    """What plugins return is added to the pipeline's blueprint, the right side wins."""
    own = Blueprint([CopyElement("PatientID"), StaticElement("InstitutionName", "ours")])
    assert hooks.blueprint(Pipeline(), own) is own
    added = Blueprint([StaticElement("InstitutionName", "theirs")])
    hooks.register(implementing(dicomnode_blueprint=lambda blueprint: added), "acme")
    hooks.register(implementing(dicomnode_blueprint=lambda pipeline: None), "other")
    assert hooks.blueprint(Pipeline(), own) == own + added


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1, 2])))
def test_dicomnode_blueprint_does_not_depend_on_the_order_of_plugins(order):
    """Three plugins, two of which agree on one attribute: the same blueprint however they are installed."""
    additions = [
        Blueprint([StaticElement("InstitutionName", "x"), StaticElement("StationName", "a")]),
        Blueprint([StaticElement("InstitutionName", "x")], SOPClassUID=None),
        Blueprint([StaticElement("SeriesDescription", "c")]),
    ]
    hooks = Hooks(Registry(only=[]))
    for index in order:
        hooks.register(
            implementing(dicomnode_blueprint=lambda index=index: additions[index]), f"plugin {index}"
        )
    merged = hooks.blueprint(Pipeline(), Blueprint([CopyElement("PatientID")]))
    assert {element.keyword for element in merged} == {
        "PatientID",
        "InstitutionName",
        "StationName",
        "SeriesDescription",
    }


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_dicomnode_blueprint_conflict_is_reported(hooks, order):
    """Two plugins that want different values of one attribute: the error names both and the attribute."""
    for name in order:
        added = Blueprint([StaticElement("InstitutionName", name)])
        hooks.register(implementing(dicomnode_blueprint=lambda added=added: added), f"acme-{name}")
    with pytest.raises(PluginError, match="the plugins acme-a and acme-b add InstitutionName"):
        hooks.blueprint(Pipeline(), Blueprint())


def test_dicomnode_blueprint_must_answer_with_a_blueprint(hooks):
    """Anything else is an error that names the plugin."""
    hooks.register(implementing(dicomnode_blueprint=lambda: {"InstitutionName": "x"}), "acme")
    with pytest.raises(PluginError, match="acme returned dict, not a Blueprint"):
        hooks.blueprint(Pipeline(), Blueprint())


def test_dicomnode_process_falls_to_the_pipeline(hooks):
    """Without plugins, and where plugins leave it to the next, the pipeline processes."""
    hooks.register(implementing(dicomnode_process=lambda inputs: None), "acme")
    (output,) = hooks.process(Pipeline(), {})
    assert output.files == {"report.txt": "done"}


def test_dicomnode_process_can_be_replaced_and_wrapped(hooks):
    """The first result wins, and a wrapper sees it."""
    seen = []

    @hookimpl(wrapper=True)
    def dicomnode_process():
        result = yield
        seen.append(result)
        return [result]

    ours = NoOutput()
    hooks.register(implementing(dicomnode_process=lambda: ours), "replaces")
    hooks.register(SimpleNamespace(dicomnode_process=dicomnode_process), "wraps")
    assert hooks.process(Pipeline(), {}) == [ours]
    assert seen == [ours]


def test_dicomnode_process_of_several_plugins_is_asked_by_name(plugins):
    """Which of two replacements wins depends on their names, not on which was installed first."""
    for name in ("b", "a", "c"):
        module = f"""
            from dicomnode import FileOutput, hookimpl

            @hookimpl
            def dicomnode_process():
                return FileOutput({{"{name}": "{name}"}})
        """
        plugins.install(
            f"acme-{name}", {"hooks": {"hooks": f"acme_{name}"}}, modules={f"acme_{name}.py": module}
        )
    (output,) = Hooks(Registry(only=["acme-a", "acme-b", "acme-c"])).process(Pipeline(), {})
    assert output.files == {"a": "a"}


@pytest.mark.parametrize("result", [None, "text", [NoOutput(), 3], 7])
def test_dicomnode_process_must_give_outputs(hooks, result):
    """What is no output is told, with what it was."""

    class Wrong(Pipeline):
        def process(self, inputs):
            return result

    with pytest.raises(OutputError, match=r"Wrong\.process returned .*, not a PipelineOutput"):
        hooks.process(Wrong(), {})


def test_dicomnode_output_adds_further_outputs(hooks):
    """Each output is shown to every plugin; what they return is delivered besides."""
    copy = FileOutput({"copy.txt": "x"})
    hooks.register(
        implementing(dicomnode_output=lambda output: [copy] if "report.txt" in output.files else None), "acme"
    )
    hooks.register(implementing(dicomnode_output=lambda pipeline: None), "other")
    outputs = hooks.process(Pipeline(), {})
    assert [list(output.files) for output in outputs] == [["report.txt"], ["copy.txt"]]


def test_dicomnode_executor_first_result_wins(hooks):
    """A plugin's executor comes before the host's own, and must be one."""
    own = ThreadPoolExecutor(1)
    hooks.register(SimpleNamespace(dicomnode_executor=hookimpl(trylast=True)(lambda: own)), "dicomnode-host")
    assert hooks.executor(None) is own
    own.shutdown()
    with ThreadPoolExecutor(1) as pool:
        hooks.register(implementing(dicomnode_executor=lambda config: pool), "acme")
        assert hooks.executor(None) is pool
        hooks.register(implementing(dicomnode_executor=lambda: "a pool"), "wrong")
        with pytest.raises(PluginError, match=r"returned str, not a concurrent\.futures\.Executor"):
            hooks.executor(None)


# -- notifications --------------------------------------------------------------------------------------


def stop():
    raise SystemExit(1)


def tell(name, method, hooks):
    """Tell four plugins, two of which fail, and return what the others were told."""
    seen = []
    note = (lambda job: seen.append(job)) if "job" in name else (lambda host: seen.append(host))  # noqa: PLW0108 - a hook implementation needs its argument by name
    for plugin, function in (("one", note), ("fails", lambda: 1 / 0), ("exits", stop), ("other", note)):
        hooks.register(implementing(**{name: function}), plugin)
    method("the news")
    return seen


def test_dicomnode_host_started_reaches_everybody(hooks, caplog):
    """A plugin that fails, or exits, is logged by name, and keeps the news from nobody."""
    assert tell("dicomnode_host_started", hooks.host_started, hooks) == ["the news"] * 2
    assert "dicomnode_host_started of the plugin fails failed: ZeroDivisionError" in caplog.text
    assert "dicomnode_host_started of the plugin exits failed: PluginError" in caplog.text


def test_dicomnode_host_stopping_reaches_everybody(hooks, caplog):
    """A plugin that fails, or exits, is logged by name, and keeps the news from nobody."""
    assert tell("dicomnode_host_stopping", hooks.host_stopping, hooks) == ["the news"] * 2
    assert "dicomnode_host_stopping of the plugin fails failed: ZeroDivisionError" in caplog.text
    assert "dicomnode_host_stopping of the plugin exits failed: PluginError" in caplog.text


def test_dicomnode_job_changed_reaches_everybody(hooks, caplog):
    """A plugin that fails, or exits, is logged by name, and keeps the news from nobody."""
    assert tell("dicomnode_job_changed", hooks.job_changed, hooks) == ["the news"] * 2
    assert "dicomnode_job_changed of the plugin fails failed: ZeroDivisionError" in caplog.text
    assert "dicomnode_job_changed of the plugin exits failed: PluginError" in caplog.text


def test_dicomnode_commands_join_the_hosts(hooks, caplog):
    """New names are added; names that the host or another plugin has are reported, and change nothing."""

    def adding(*names):
        def dicomnode_commands(cli):
            for name in names:
                cli.add_command(click.Command(name, help=f"of {names}"))

        return SimpleNamespace(dicomnode_commands=hookimpl(dicomnode_commands))

    cli = click.Group()
    ours = click.Command("run")
    cli.add_command(ours)
    hooks.register(adding("run", "hello"), "acme")
    hooks.register(adding("twice", "bye"), "one")
    hooks.register(adding("twice"), "other")
    hooks.register(implementing(dicomnode_commands=lambda cli: 1 / 0), "broken")
    with caplog.at_level(logging.ERROR, "dicomnode.plugins"):
        hooks.commands(cli)
    assert sorted(cli.commands) == ["bye", "hello", "run"]
    assert cli.commands["run"] is ours
    assert "'run' of the plugin acme is left out: the host has one" in caplog.text
    assert "'twice' is left out: the plugins one, other each have one" in caplog.text
    assert "dicomnode_commands of the plugin broken failed: ZeroDivisionError" in caplog.text


def test_what_a_failing_notification_raised_is_not_in_the_log(hooks, caplog):
    """It may hold patient data: the log has its type, and the rest at DEBUG only."""

    def fail(job):
        raise KeyError("Doe^Jane")

    hooks.register(implementing(dicomnode_job_changed=fail), "acme")
    with caplog.at_level(logging.INFO, "dicomnode.plugins"):
        hooks.job_changed(None)
    assert "of the plugin acme failed: KeyError" in caplog.text
    assert "Doe" not in caplog.text
    with caplog.at_level(logging.DEBUG, "dicomnode.plugins"):
        hooks.job_changed(None)
    assert "Doe^Jane" in caplog.text


# -- registration ---------------------------------------------------------------------------------------


def unknown_hook():
    return implementing(dicomnode_validate_imag=lambda image: None)


def wrong_arguments():
    return implementing(dicomnode_validate_image=lambda picture: None)


def wraps_a_veto():
    @hookimpl(wrapper=True)
    def dicomnode_validate_image():
        yield
        return []

    return SimpleNamespace(dicomnode_validate_image=dicomnode_validate_image)


def wraps_news():
    @hookimpl(hookwrapper=True)
    def dicomnode_job_changed():
        yield

    return SimpleNamespace(dicomnode_job_changed=dicomnode_job_changed)


@pytest.mark.parametrize(
    ("implementation", "reason"),
    [
        (unknown_hook, "this host has no hook dicomnode_validate_imag"),
        (wrong_arguments, r"Argument\(s\) {'picture'} are declared in the hookimpl but can not be found"),
        (wraps_a_veto, "there is nothing to wrap in dicomnode_validate_image"),
        (wraps_news, "there is nothing to wrap in dicomnode_job_changed"),
        (SimpleNamespace, "it implements no hook; put @dicomnode.hookimpl above each function"),
    ],
)
def test_hooks_that_do_not_fit_are_refused_whole(hooks, implementation, reason):
    """The error says which hook and why; nothing of that plugin stays registered, and others work on."""
    wrong = implementation()
    wrong.dicomnode_validate_input = hookimpl(lambda input: "half registered")
    if implementation is SimpleNamespace:
        del wrong.dicomnode_validate_input
    with pytest.raises(PluginError, match=f"hooks of acme cannot be used: .*{reason}"):
        hooks.register(wrong, "acme")
    held = Images("images")
    held.insert(
        image(
            SOPInstanceUID="1.2",
            Modality="CT",
            SeriesInstanceUID="1.3",
            StudyInstanceUID="1.4",
            PatientID="P1",
        )
    )
    assert hooks.validate_input(Pipeline(), "1.4", "P1", "images", held) is None
    assert hooks.validate_image(Pipeline(), "images", image(Modality="CT")) is None


def test_an_optional_hook_that_this_host_does_not_know_is_no_fault(hooks):
    """optionalhook=True says that the plugin works without it: so it runs on older hosts."""
    later = SimpleNamespace(
        dicomnode_of_tomorrow=hookimpl(optionalhook=True)(lambda: None),
        dicomnode_validate_image=hookimpl(lambda: "no"),
    )
    hooks.register(later, "acme")
    assert hooks.validate_image(Pipeline(), "images", image(Modality="CT")) == "no"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("raise SystemExit", "SystemExit"),
        (
            "from dicomnode import hookimpl\n@hookimpl\ndef dicomnode_nothing(): pass",
            "no hook dicomnode_nothing",
        ),
        ("from dicomnode import hookimpl\n@hookimpl\ndef dicomnode_blueprint(x): pass", "{'x'} are declared"),
        ("", "it implements no hook"),
    ],
)
def test_an_installed_hook_module_that_cannot_be_used_is_left_out(plugins, caplog, module, reason):
    """It is noted with its plugin and logged; other plugins' hooks work."""
    good = "from dicomnode import hookimpl\n@hookimpl\ndef dicomnode_validate_image():\n    return 'no'"
    plugins.install("acme-bad", {"hooks": {"hooks": "acme_bad"}}, modules={"acme_bad.py": module})
    plugins.install("acme-good", {"hooks": {"hooks": "acme_good"}}, modules={"acme_good.py": good})
    registry = Registry(only=["acme-bad", "acme-good"])
    hooks = Hooks(registry)
    assert hooks.validate_image(Pipeline(), "images", image(Modality="CT")) == "no"
    found = {each.distribution: each for each in registry.plugins}
    assert found["acme-bad"].status is PluginStatus.FAILED
    assert reason in found["acme-bad"].reason
    assert reason in caplog.text
    assert found["acme-good"].hooks == ["dicomnode_validate_image"]
