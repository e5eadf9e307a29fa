"""The pipelines that a configuration asks for: which there are, what holds for them, what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config, HostTable, PipelineTable
from dicomnode.host.configuration.configured_pipeline import (
    ConfiguredPipeline,
    InstalledPipeline,
    JobPolicy,
    PipelineCheck,
    checked_pipelines,
    configure_pipelines,
    installed_pipeline,
    no_pipeline_message,
)
from dicomnode.plugins.declared_tables import DeclaredPipeline
from dicomnode.plugins.registry import Registration, Registry
from plugin_factory import PRELUDE, PluginFactory


class Some(AbstractPipeline):
    """A pipeline that says nothing."""

    inputs = {"images": AbstractInput}

    def process(self, inputs: object) -> NoOutput:
        """Do nothing."""
        return NoOutput()


HOST = HostTable(settle=21.0, open_association_wait=22.0)
"""What a host has for all of its pipelines, where neither a table nor a class says otherwise."""


def configured(kind: type[AbstractPipeline] = Some, **table: Any) -> ConfiguredPipeline:
    """Return a pipeline as a table configures it."""
    return ConfiguredPipeline(
        name="some",
        pipeline=kind(),
        ae_title="SOME",
        destinations=(),
        table=PipelineTable(**table),
        registration=SimpleNamespace(name="some", distribution="some", version="1"),  # type: ignore[arg-type]  # as much of it as is looked at
        host=HOST,
    )


OTHERWISE: dict[str, Any] = {
    "settle": 6.0,
    "open_association_wait": 7.0,
    "expires": 8.0,
    "late_images": "join",
    "sorts_before_answer": False,
    "timeout": 9.0,
    "memory": 10,
    "disk": 11,
    "concurrency": 12,
    "in_order": True,
    "priority": 13,
    "resources": {"gpu": 1},
    "iod_check": "block",
}


@pytest.mark.parametrize("name", [each.name for each in fields(JobPolicy)])
def test_every_rule_of_a_class_can_be_set_for_one_host(name: str) -> None:
    """The table's word holds; where it says nothing, the class's; where that says ``None``, the host's."""
    of_class = getattr(Some, name)
    without = getattr(HOST, name, None) if of_class is None else of_class
    assert getattr(configured().policy, name) == without != OTHERWISE[name]
    assert getattr(configured(**{name: OTHERWISE[name]}).policy, name) == OTHERWISE[name]
    told = type("Told", (Some,), {name: OTHERWISE[name]})
    assert getattr(configured(told).policy, name) == OTHERWISE[name]


@pytest.mark.parametrize(
    ("of_class", "of_table", "grouping"),
    [
        (None, None, "series"),
        ("patient", None, "patient"),
        ("patient", "study", "study"),
        (None, ("PatientID", "AccessionNumber"), "PatientID, AccessionNumber"),
    ],
)
def test_what_one_job_is_can_be_set_for_one_host(of_class: Any, of_table: Any, grouping: str) -> None:
    """The table says it, else the class, else it follows from the inputs."""
    kind = type("Gathering", (Some,), {"gather_by": of_class})
    assert configured(kind, gather_by=of_table).grouping.name == grouping


def test_the_docstring_says_what_can_be_set() -> None:
    """The policy, what a declaration changes, and what is the author's alone make up all attributes."""
    text = AbstractPipeline.__doc__ or ""
    told = re.search(r"``ae_title``, and what says(.*?)author's alone", text, re.DOTALL)
    assert told is not None
    settable, declared, alone = " ".join(told[1].split()).split(". ")
    known = {name for name in AbstractPipeline.__annotations__ if name != "ae_title"}
    words = [set(re.findall(r"``(\w+)``", text)) for text in (settable, declared, alone)]
    assert words[0] == {each.name for each in fields(JobPolicy)} | {"gather_by"}
    assert words[1] <= set(DeclaredPipeline.model_fields)
    assert set().union(*words) == known


# -- which pipelines run --------------------------------------------------------------------------------

PLUGIN = (
    PRELUDE
    + """
from dataclasses import dataclass
from dicomnode.pipeline.secret import Secret

@dataclass(frozen=True)
class Settings:
    sigma: float = 1.0
    token: Secret | None = None

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings

    def process(self, inputs):
        return NoOutput()

class Greedy(Pipeline):
    ae_title = "GREEDY"
    resources = {"gpu": 2}
"""
)


class Environments:
    """Makes the pipelines of one environment."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object, dict[str, object]]] = []

    def pipeline(self, name: str, environment: Path | Sequence[str], **of_table: object) -> InstalledPipeline:
        """Return a pipeline, or raise what is wrong with the environment."""
        self.asked.append((name, environment, of_table))
        if environment == Path("/none"):
            raise ConfigurationError("/none is no virtual environment")
        registration = Registration("pipelines", name, "far:Far", "far", "2.0", entry_point=None)
        return InstalledPipeline(Some(), registration, Path("/venv"), "0" * 64)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Install a plugin with two pipelines, and one that cannot be imported."""
    plugins = PluginFactory(tmp_path_factory.mktemp("plugins"))
    plugins.add("wished", PLUGIN, pipelines={"wished": "Pipeline", "greedy": "Greedy"})
    plugins.add("broken", "raise ImportError('no CUDA')", pipelines={"broken": "Pipeline"})
    with plugins.installed():
        yield Registry(only=("wished", "broken"))


def checked(
    registry: Registry, environments: Environments | None = None, **tables: Any
) -> list[PipelineCheck]:
    """Return what is known of the pipelines of some tables."""
    config = Config.model_validate(tables)
    return checked_pipelines(config, registry, environments or Environments())


def test_every_installed_pipeline_runs_where_none_is_named(registry: Registry) -> None:
    """Without tables, pipelines that cannot run are left out with the reason, and the others run."""
    config = Config.model_validate({"host": {"data": "/d"}})
    (one,) = configure_pipelines(config, registry, Environments())
    assert (one.name, one.ae_title, one.destinations) == ("wished", "WISHED", ("file:/d/results",))
    assert (one.registration.distribution, one.kind.__name__) == ("wished", "Pipeline")
    reasons = {plugin.distribution: plugin.reason for plugin in registry.plugins}
    assert "no CUDA" in reasons["broken"]


def test_a_pipeline_that_is_asked_for_must_run(registry: Registry) -> None:
    """With tables, all that is wrong is raised at once, a line for each, with its key."""
    config = Config.model_validate(
        {"pipelines": {"wished": {"settings": {"colour": 1}}, "nobody": {}, "greedy": {}}}
    )
    with pytest.raises(ConfigurationError) as caught:
        configure_pipelines(config, registry, Environments())
    colour, nobody, greedy = str(caught.value).splitlines()
    assert colour.startswith("pipelines.wished.settings.colour: unknown setting")
    assert colour.endswith("(pipeline Pipeline of wished 1.0)")
    assert nobody.startswith("pipelines.nobody: no installed plugin registers 'nobody'")
    assert greedy == (
        "pipelines.greedy: it needs gpu = 2, which host.resources does not have: set host.resources"
    )


def test_a_table_of_another_name_than_its_plugin(registry: Registry) -> None:
    """One plugin may run under several names, each with an AE title and destinations of its own."""
    first, second = checked(
        registry,
        pipelines={
            "fine": {"plugin": "wished", "settings": {"sigma": 3}, "destinations": ["file:/fine"]},
            "a-name-that-is-long-for-a-title": {"plugin": "wished"},
        },
    )
    assert first.configured is not None
    assert first.configured.pipeline.settings.sigma == 3.0
    assert (first.ae_title, first.configured.destinations) == ("FINE", ("file:/fine",))
    assert second.ae_title == "A-NAME-THAT-IS-L"


def test_two_pipelines_with_one_title(registry: Registry) -> None:
    """Which of them a sender means could not be told: the second one is wrong, and says what to set."""
    _, second = checked(
        registry, pipelines={"one": {"plugin": "wished", "ae_title": "X"}, "x": {"plugin": "wished"}}
    )
    assert second.problems == [
        "pipelines.x.ae_title: pipelines 'one' and 'x' are both called 'X': set pipelines.x.ae_title to"
        " another AE title"
    ]


def test_resources_of_the_host_are_enough(registry: Registry) -> None:
    """A pipeline that needs no more than the host has can run; its table may say that it needs less."""
    (greedy,) = checked(registry, host={"resources": {"gpu": 2}}, pipelines={"greedy": {}})
    assert greedy.problems == []
    assert greedy.ae_title == "GREEDY"
    (modest,) = checked(registry, pipelines={"greedy": {"resources": {}}})
    assert modest.problems == []


def test_a_variable_that_is_lacking(registry: Registry) -> None:
    """A command may have another environment than the service: that alone may not be a fault."""
    secret = {"plugin": "wished", "settings": {"token": {"env": "NO_SUCH_VARIABLE"}}}
    (lacking,) = checked(registry, pipelines={"wished": secret})
    assert lacking.variables == ("NO_SUCH_VARIABLE",)
    assert lacking.lacks_only_variables
    (wrong,) = checked(
        registry, pipelines={"wished": {**secret, "settings": {"sigma": "x", **secret["settings"]}}}
    )
    assert not wrong.lacks_only_variables


def test_pipelines_of_other_environments(registry: Registry) -> None:
    """They are made by the resolver, of what their table says; their settings' digest comes from there."""
    environments = Environments()
    (far,) = checked(
        registry,
        environments,
        pipelines={"far": {"environment": "/venv", "plugin": "distant", "settings": {"a": 1}}},
    )
    assert environments.asked == [
        ("far", Path("/venv"), {"plugin": "distant", "settings": {"a": 1}, "declared": None})
    ]
    assert far.configured is not None
    assert (far.configured.environment, far.configured.settings_digest) == (Path("/venv"), "0" * 64)
    assert far.configured.registration.distribution == "far"
    (none,) = checked(registry, environments, pipelines={"far": {"environment": "/none"}})
    assert none.problems == ["pipelines.far: /none is no virtual environment"]


def test_pipelines_that_are_skipped(registry: Registry) -> None:
    """A command that knows already what is wrong with one leaves it out."""
    config = Config.model_validate({"pipelines": {"wished": {}, "broken": {}}})
    (one,) = checked_pipelines(config, registry, Environments(), skipped={"broken"})
    assert one.name == "wished"


def test_no_pipeline_can_run(registry: Registry) -> None:
    """The reason of each plugin is told; a node without any is told how to install one."""
    config = Config.model_validate({"plugins": {"only": []}})
    with pytest.raises(
        ConfigurationError, match=r"(?s)no installed pipeline can run:.*wished 1\.0: disabled"
    ):
        configure_pipelines(config, Registry(only=()), Environments())
    none: Any = SimpleNamespace(plugins=[])
    assert no_pipeline_message(none).startswith("no pipeline is installed.")


def test_what_decides_about_results_is_in_the_digest(registry: Registry) -> None:
    """Other settings make another digest, the same ones by another name do not."""
    tables = {"a": {}, "b": {"settings": {"sigma": 1.0}}, "c": {"settings": {"sigma": 2.0}}}
    made = checked(
        registry, pipelines={name: {"plugin": "wished", **table} for name, table in tables.items()}
    )
    digests = [each.configured.content for each in made if each.configured is not None]
    assert digests[0] == digests[1] != digests[2]


def test_a_pipeline_is_made_again_in_another_process(registry: Registry) -> None:
    """A receiver process makes the object of a table as the host did."""
    table = PipelineTable(plugin="wished", settings={"sigma": 4.0})
    installed = installed_pipeline("any", table, registry)
    assert installed.pipeline.settings.sigma == 4.0
    assert (installed.registration.name, installed.environment) == ("wished", None)
