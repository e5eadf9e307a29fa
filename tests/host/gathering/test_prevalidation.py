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
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import ImageRefusedError, PluginError
from dicomnode.host.configuration.config import Config, PluginsTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline, configure_pipelines
from dicomnode.host.dimse.store_handler import Prevalidation, Prevalidator
from dicomnode.host.gathering.prevalidation import PrevalidatorFactory
from dicomnode.host.gathering.waiting_images import WaitingImages
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

class Raising(AbstractInput):
    def validate_image(self, image):
        raise ValueError("odd")

class Earlier(HistoricAbstractInput):
    pass

class Pipeline(AbstractPipeline):
    inputs = {"plain": Plain, "coded": Coded, "extended": Extended, "earlier": Earlier}
    index_also = ("SeriesNumber",)
    def process(self, inputs):
        return NoOutput()

class Faulty(AbstractPipeline):
    inputs = {"plain": Plain, "raising": Raising}
    ae_title = "FAULTY"
    def process(self, inputs):
        return NoOutput()

class Keyed(AbstractPipeline):
    inputs = {"coded": Coded}
    ae_title = "KEYED"
    index_also = ("SeriesNumber", "AccessionNumber")
    def container_key(self, image):
        return str(image.AccessionNumber)
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
def dicomnode_validate_image(input_name, image):
    if input_name == "extended" and image.SeriesNumber == 2:
        return "the hook said no"
    return None
"""
PIPELINES = {"rules": "Pipeline", "faulty": "Faulty", "one": "One", "plain": "OnlyPlain", "late": "Late"}
PIPELINES |= {"keyed": "Keyed"}
NOT_ASKED_FOR = "it is not one of the earlier images that were asked for"
INDEX = {0x00080060: "MR", 0x00100020: "P", 0x00200011: 1, 0x0020000D: "1.1", 0x0020000E: "1.1.1"}


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
    """Return the host's pipelines and hooks, and the rules as a receiver process makes them."""
    configured_pipelines, hooks, factory = host(only)
    assert factory is not None
    return configured_pipelines, hooks, factory()


def host(
    only: tuple[str, ...],
) -> tuple[dict[str, ConfiguredPipeline], Hooks, PrevalidatorFactory | None]:
    """Return the host's pipelines and hooks, and what it tells a receiver process."""
    plugins = PluginsTable(only=only)
    registry = Registry(plugins.disabled, plugins.only)
    config = Config(plugins=plugins)
    configured_pipelines = configure_pipelines(config, registry, Isolation.of(config))
    hooks = Hooks(registry)
    return (
        {configured.name: configured for configured in configured_pipelines},
        hooks,
        PrevalidatorFactory.of(configured_pipelines, plugins, hooks),
    )


def image(number: int = 1, **values: Any) -> dict[int, Any]:
    """Return the index of an image."""
    names = {"Modality": 0x00080060, "PatientID": 0x00100020, "SeriesNumber": 0x00200011}
    uids = {"StudyInstanceUID": 0x0020000D, "SeriesInstanceUID": 0x0020000E}
    own = {(names | uids)[name]: value for name, value in values.items()}
    index = {**INDEX, 0x00080018: f"1.2.{number}", **own}
    stored = {tag | STORED_BYTES: index.get(tag, "") for tag in (0x00100020, 0x00100021, *uids.values())}
    return {**index, **stored}


@pytest.fixture(scope="module")
def dataset_file(installed: PluginFactory) -> str:
    """Write a file for the images of these tests, which are what their index says."""
    path = installed.folder / "image.dcm"
    dcmwrite(path, mr_slices(1)[0])
    return str(path)


def test_an_image_is_judged_by_every_rule(installed: PluginFactory, dataset_file: str) -> None:
    """Rules that are data, code of the author and a veto of a hook: whether each input takes the image."""
    _configured_pipelines, _hooks, prevalidate = made()
    prevalidation = prevalidate("RULES", dataset_file, image())
    assert prevalidation == Prevalidation(
        "P", {"plain": None, "coded": None, "extended": None, "earlier": NOT_ASKED_FOR}
    )
    prevalidation = prevalidate(
        "RULES", dataset_file, image(Modality="CT", SeriesNumber=7, StudyInstanceUID="1.9")
    )
    assert prevalidation is not None
    assert prevalidation.reasons == {
        "plain": "Modality is CT, not MR",
        "coded": "series number is 5 or more",
        "extended": "other study",
        "earlier": NOT_ASKED_FOR,
    }
    prevalidation = prevalidate("RULES", dataset_file, image(SeriesNumber=2))
    assert prevalidation is not None
    assert prevalidation.reasons["extended"] == "the hook said no"


def test_the_key_is_the_pipelines_own(installed: PluginFactory, dataset_file: str) -> None:
    """Where a pipeline makes the key of a container itself, it does so in the receiver process, too."""
    _configured_pipelines, _hooks, prevalidate = made(("rules",))
    prevalidation = prevalidate("KEYED", dataset_file, {**image(), 0x00080050: "A17"})
    assert prevalidation == Prevalidation("A17", {"coded": None})


def test_what_raises_is_left_to_the_host(installed: PluginFactory, dataset_file: str) -> None:
    """The host asks again, and tells of it."""
    _configured_pipelines, _hooks, prevalidate = made()
    assert prevalidate("FAULTY", dataset_file, image()) is None


def test_rules_that_are_data_stay_in_the_host(installed: PluginFactory, dataset_file: str) -> None:
    """Where no hook has a say, only pipelines with code of their author's are asked here: data cost less."""
    _configured_pipelines, _hooks, prevalidate = made(("rules",))
    assert prevalidate("RULES", dataset_file, image()) is not None
    assert prevalidate("PLAIN", dataset_file, image()) is None
    _configured_pipelines, _hooks, prevalidate = made()
    assert prevalidate("PLAIN", dataset_file, image()) is not None


def test_a_receiver_process_loads_no_plugin_in_vain(installed: PluginFactory) -> None:
    """Where no pipeline is worth being asked there, nothing is told to a receiver process."""
    configured_pipelines, hooks, _factory = host(("rules",))
    without_code = [configured_pipelines["plain"], configured_pipelines["late"]]
    assert PrevalidatorFactory.of(without_code, PluginsTable(), hooks) is None


def test_nothing_is_said_of_what_cannot_be_judged(installed: PluginFactory, dataset_file: str) -> None:
    """Without an identifier, of an unknown title, or where images are sorted after the answer."""
    _configured_pipelines, _hooks, prevalidate = made()
    assert prevalidate("RULES", dataset_file, image(PatientID="")) is None
    assert prevalidate("OTHER", dataset_file, image()) is None
    assert prevalidate("LATE", dataset_file, image()) is None


def test_other_plugins_than_the_hosts_judge_nothing(installed: PluginFactory) -> None:
    """Where a hook of the host is not there, or a pipeline is of another version, the host is asked."""
    configured_pipelines, hooks, _prevalidate = made()
    plugins = PluginsTable(only=("rules",))
    factory = PrevalidatorFactory.of(configured_pipelines.values(), plugins, hooks)
    assert factory is not None
    with pytest.raises(PluginError, match="other plugins"):
        factory()
    _configured_pipelines, _hooks, factory = host(("rules",))
    assert factory is not None
    installed.remove_metadata("rules")
    try:
        installed.add("rules", RULES, pipelines=PIPELINES, version="2.0")
        assert factory()("RULES", "none", image()) is None
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
def test_a_prevalidation_changes_nothing(
    installed: PluginFactory, dataset_file: str, sent: list[dict[str, Any]]
) -> None:
    """Whatever is sent in whatever order, images go where they go when the host asks everything itself."""
    configured_pipelines, hooks, prevalidate = made()
    alone, helped = (WaitingImages(configured_pipelines["rules"], hooks) for _ in range(2))
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
