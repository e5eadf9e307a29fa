"""Rules in receiver processes: what is found out there is what the host would have said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import ABSENT
from dicomnode.errors import ImageRefusedError, PluginError
from dicomnode.host.configuration.config import Config, PluginsTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, configure_pipelines
from dicomnode.host.dimse.store_handler import Prevalidation, Prevalidator
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.gathering.prevalidation import PrevalidatorFactory
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from plugin_factory import PRELUDE, PluginFactory
from programs import program
from running_host import RunningHost
from sources import mr_slices

RULES = (
    PRELUDE
    + """
import dicomnode
from dicomnode.pipeline.historic import HistoricAbstractInput

class Plain(AbstractInput):
    required_values = {"Modality": "MR"}

class Coded(AbstractInput):
    def validate_image(self, image):
        with open(os.environ.get("JUDGED_BY", os.devnull), "a") as file:
            print(os.getpid(), file=file)
        return None if int(image.SeriesNumber) < 5 else "series number is 5 or more"

class Extended(AbstractInput):
    def why_not(self, image):
        return super().why_not(image) or (None if image.StudyInstanceUID == "1.1" else "other study")

class Counting(AbstractInput):
    several_series = several_studies = True
    def validate_image(self, image):
        return None if len(self) < 2 else "two are enough"

class Hiding(AbstractInput):
    several_series = several_studies = True
    def validate_image(self, image):
        try:
            return None if not list(self) else "one is enough"
        except Exception:
            return None

class Remembering(AbstractInput):
    several_series = several_studies = True
    last = 0
    def validate_image(self, image):
        self.last += 1
        return None if self.last % 3 else "not each third one"

class Holding(AbstractInput):
    several_series = several_studies = True
    lowest = 100
    def _insert(self, image):
        super()._insert(image)
        self.lowest = min(self.lowest, int(image.SeriesNumber))
    def validate_image(self, image):
        return None if self.lowest > 1 else "a first series is here"

class Raising(AbstractInput):
    def validate_image(self, image):
        raise ValueError("odd")

class Earlier(HistoricAbstractInput):
    pass

class Pipeline(AbstractPipeline):
    inputs = {"plain": Plain, "coded": Coded, "extended": Extended, "counting": Counting, "hiding": Hiding,
              "remembering": Remembering, "holding": Holding, "earlier": Earlier}
    index_also = ("SeriesNumber",)
    def process(self, inputs):
        return NoOutput()

class Faulty(AbstractPipeline):
    inputs = {"plain": Plain, "raising": Raising}
    ae_title = "FAULTY"
    def process(self, inputs):
        return NoOutput()

class One(AbstractPipeline):
    inputs = {"coded": Coded}
    index_also = ("SeriesNumber",)
    def process(self, inputs):
        return NoOutput()

class OnlyPlain(AbstractPipeline):
    inputs = {"plain": Plain}
    ae_title = "PLAIN"
    def process(self, inputs):
        return NoOutput()

class Late(Pipeline):
    sorts_before_answer = False
    ae_title = "LATE"
"""
)
HOOKS = """
import dicomnode

@dicomnode.hookimpl
def dicomnode_validate_image(input_name, input, image):
    if input_name == "extended" and image.SeriesNumber == 2:
        return "the hook said no"
    if input_name == "plain" and image.SeriesNumber == 3:
        return "many" if len(input) > 1 else None
    return None
"""
PIPELINES = {"rules": "Pipeline", "faulty": "Faulty", "one": "One", "plain": "OnlyPlain", "late": "Late"}
ALONE = {"plain", "coded", "extended"}
INDEX = {
    0x00080060: "MR",
    0x00100020: "P",
    0x00100021 | ABSENT: 1,
    0x00200011: 1,
    0x0020000D: "1.1",
    0x0020000E: "1.1.1",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginFactory]:
    """Install the plugins for the tests of this module."""
    factory = PluginFactory(tmp_path_factory.mktemp("plugins"))
    factory.add("rules", RULES, pipelines=PIPELINES)
    factory.add("vetoes", HOOKS, hooks={"vetoes": ""})
    with factory.installed():
        yield factory


def made(
    only: tuple[str, ...] = ("rules", "vetoes"),
) -> tuple[dict[str, ConfiguredPipeline], Hooks, Prevalidator]:
    """Return the host's pipelines and hooks, and the judge that a receiver process makes of them."""
    plugins = PluginsTable(only=only)
    registry = Registry(plugins.disabled, plugins.only)
    config = Config(plugins=plugins)
    configured_pipelines = configure_pipelines(config, registry, Isolation.of(config))
    hooks = Hooks(registry)
    return (
        {configured.name: configured for configured in configured_pipelines},
        hooks,
        PrevalidatorFactory.of(configured_pipelines, plugins, hooks)(),
    )


def image(number: int = 1, **values: Any) -> dict[int, Any]:
    """Return the index of an image."""
    names = {"Modality": 0x00080060, "PatientID": 0x00100020, "SeriesNumber": 0x00200011}
    uids = {"StudyInstanceUID": 0x0020000D, "SeriesInstanceUID": 0x0020000E}
    own = {(names | uids)[name]: value for name, value in values.items()}
    return {**INDEX, 0x00080018: f"1.2.{number}", **own}


@pytest.fixture(scope="module")
def dataset_file(installed: PluginFactory) -> str:
    """Write a file for the images of these tests, which are what their index says."""
    path = installed.folder / "image.dcm"
    dcmwrite(path, mr_slices(1)[0])
    return str(path)


def test_rules_that_need_only_the_image_are_answered(installed: PluginFactory, dataset_file: str) -> None:
    """Rules that are data, code that looks at the image alone, and a veto of a hook are decided."""
    _configured_pipelines, _hooks, prevalidate = made()
    prevalidation = prevalidate("RULES", dataset_file, image())
    assert prevalidation == Prevalidation("P", dict.fromkeys(ALONE))
    prevalidation = prevalidate(
        "RULES", dataset_file, image(Modality="CT", SeriesNumber=7, StudyInstanceUID="1.9")
    )
    assert prevalidation is not None
    assert prevalidation.reasons == {
        "plain": "Modality is CT, not MR",
        "coded": "series number is 5 or more",
        "extended": "other study",
    }
    prevalidation = prevalidate("RULES", dataset_file, image(SeriesNumber=2))
    assert prevalidation is not None
    assert prevalidation.reasons["extended"] == "the hook said no"


def test_what_looks_at_other_images_is_left_to_the_host(installed: PluginFactory, dataset_file: str) -> None:
    """An input or a hook that looks at what is held, changes itself, raises or fetches is left out."""
    _configured_pipelines, _hooks, prevalidate = made()
    prevalidation = prevalidate("RULES", dataset_file, image(SeriesNumber=3))
    assert prevalidation is not None
    assert set(prevalidation.reasons) == ALONE - {"plain"}
    prevalidation = prevalidate("FAULTY", dataset_file, image())
    assert prevalidation is not None
    assert prevalidation.reasons == {"plain": None}


def test_rules_that_are_data_stay_in_the_host(installed: PluginFactory, dataset_file: str) -> None:
    """Where no hook has a say, only inputs with code of their author's are judged: data cost less there."""
    _configured_pipelines, _hooks, prevalidate = made(("rules",))
    prevalidation = prevalidate("RULES", dataset_file, image())
    assert prevalidation is not None
    assert set(prevalidation.reasons) == {"coded", "extended"}
    assert prevalidate("PLAIN", dataset_file, image()) is None


def test_nothing_is_said_of_what_cannot_be_judged(installed: PluginFactory, dataset_file: str) -> None:
    """Without an identifier, of an unknown title, or where images are sorted after the answer: no opinion."""
    _configured_pipelines, _hooks, prevalidate = made()
    assert prevalidate("RULES", dataset_file, image(PatientID="")) is None
    assert prevalidate("OTHER", dataset_file, image()) is None
    assert prevalidate("LATE", dataset_file, image()) is None


def test_other_plugins_than_the_hosts_judge_nothing(installed: PluginFactory) -> None:
    """Where a hook of the host is not there, or a pipeline is of another version, the host is asked."""
    configured_pipelines, hooks, _judge = made()
    plugins = PluginsTable(only=("rules",))
    with pytest.raises(PluginError, match="other plugins"):
        PrevalidatorFactory.of(configured_pipelines.values(), plugins, hooks)()
    configured_pipelines, hooks, _judge = made(("rules",))
    maker = PrevalidatorFactory.of(configured_pipelines.values(), plugins, hooks)
    installed.remove_metadata("rules")
    try:
        installed.add("rules", RULES, pipelines=PIPELINES, version="2.0")
        assert maker()("RULES", "none", image()) is None
    finally:
        installed.remove_metadata("rules")
        installed.add("rules", RULES, pipelines=PIPELINES)


images = st.fixed_dictionaries(
    {
        "Modality": st.sampled_from(["MR", "CT"]),
        "PatientID": st.sampled_from(["P", "Q"]),
        "SeriesNumber": st.integers(1, 6),
        "StudyInstanceUID": st.sampled_from(["1.1", "1.9"]),
        "SeriesInstanceUID": st.sampled_from(["1.1.1", "1.1.2"]),
    }
)


@settings(max_examples=50, deadline=None)
@given(st.lists(images, max_size=12))
def test_an_opinion_changes_nothing(
    installed: PluginFactory, dataset_file: str, sent: list[dict[str, Any]]
) -> None:
    """Whatever is sent in whatever order, images go where they go when the host asks everything itself."""
    configured_pipelines, hooks, prevalidate = made()
    alone, helped = (PipelineTree(configured_pipelines["rules"], hooks) for _ in range(2))
    for number, values in enumerate(sent):
        index = image(number, **values)
        lazy = LazyDataset(dataset_file, index)
        went = []
        for tree, prevalidation in ((alone, None), (helped, prevalidate("RULES", dataset_file, index))):
            try:
                placement = tree.place(lazy, prevalidation)
                tree.insert(lazy, placement)
                went.append((placement.container_key, placement.inputs))
            except ImageRefusedError as refused:
                went.append(("refused", type(refused).__name__))
        assert went[0] == went[1]
    assert alone.counts() == helped.counts()


@pytest.mark.peers
def test_the_plugin_is_asked_in_the_receiver_process(
    installed: PluginFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two receiver processes the author's code runs in them, not in the host, and refuses."""
    judged_by = tmp_path / "judged_by"
    monkeypatch.setenv("JUDGED_BY", str(judged_by))
    files = []
    for number, each in enumerate(mr_slices(2)):
        each.SeriesNumber = (1, 7)[number]
        files.append(tmp_path / f"{number}.dcm")
        dcmwrite(files[-1], each)
    config = "[receiver]\nreceivers = 2\n[pipelines.one]\n"
    with RunningHost(tmp_path / "host", config) as host:
        command = [program("storescu"), "-aec", "ONE", "127.0.0.1", str(host.port)]
        took, refused = (
            subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
            for file in files
        )
        assert took.returncode == 0, took.stderr
        assert refused.returncode != 0 or "0124" in refused.stdout + refused.stderr
        host.wait_for_log("no input wants an image")
        pids = set(map(int, judged_by.read_text().split()))
        assert host.process is not None
        assert pids
        assert host.process.pid not in pids
        assert os.getpid() not in pids
