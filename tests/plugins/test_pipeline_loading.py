"""Pipeline objects made of plain data, and kept for those that ask for the same."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dicomnode.errors import ConfigurationError, PluginError, SettingsError
from dicomnode.plugins.pipeline_loading import LoadedPipeline, PipelineCache, PipelineRequest, load_pipeline
from plugin_factory import PRELUDE, PluginFactory

REQUEST = PipelineRequest(
    pipeline="smooth",
    plugin="smoothing",
    settings={"sigma": 2.0, "since": dt.date(2020, 1, 1)},
    distribution="smoothing",
    version="1.0",
)

SETTINGS = (
    PRELUDE
    + """
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings:
    sigma: float = 1.0

class Pipeline(AbstractPipeline):
    inputs = {"images": AbstractInput}
    Settings = Settings

    def __init__(self, settings=None):
        super().__init__(settings)
        if self.settings.sigma < 0:
            raise ValueError("sigma is negative")

    def process(self, inputs):
        return NoOutput()
"""
)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginFactory]:
    """Install a plugin with settings, and one whose pipeline has no input."""
    factory = PluginFactory(tmp_path_factory.mktemp("plugins"))
    factory.add("loadable", SETTINGS)
    factory.add("inputless", SETTINGS.replace('{"images": AbstractInput}', "{}"))
    with factory.installed():
        yield factory


def request_of(name: str = "loadable", **others: Any) -> PipelineRequest:
    """Return a request of an installed plugin."""
    return PipelineRequest(pipeline=name, only=(name,), **others)


# -- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": "other"},
        {"plugin": "other"},
        {"settings": {"sigma": 3.0, "since": dt.date(2020, 1, 1)}},
        {"settings": {"sigma": 2.0, "since": dt.date(2021, 1, 1)}},
        {"declared": {"inputs": {}}},
        {"disabled": ("other",)},
        {"only": ("smoothing",)},
    ],
    ids=str,
)
def test_what_makes_another_object(change: dict[str, Any]) -> None:
    """Each of these decides what the object is."""
    assert replace(REQUEST, **change).key != REQUEST.key


def test_a_request_that_went_through_json_asks_for_the_same() -> None:
    """A request that was sent to another process as JSON has the key of one that was sent before."""
    plain = {
        "pipeline": "smooth", "plugin": None, "settings": {"sigma": 2.0}, "declared": None, "disabled": (),
        "only": ("smoothing",), "distribution": "smoothing", "version": "1.0", "timeout": 3.0,
    }  # fmt: skip
    sent = PipelineRequest.from_json(json.loads(json.dumps(plain)))
    assert sent.key == PipelineRequest.from_json(plain).key
    assert (sent.distribution, sent.version) == ("smoothing", "1.0")


# -- loading ------------------------------------------------------------------------------------------------


def test_a_pipeline_is_loaded_with_its_settings(plugins: PluginFactory) -> None:
    """The object has validated settings, and says where it comes from."""
    loaded = load_pipeline(request_of(settings={"sigma": 3}))
    assert loaded.pipeline.settings.sigma == 3.0
    assert (loaded.registration.distribution, loaded.registration.version) == ("loadable", "1.0")
    assert "loadable" in {plugin.distribution for plugin in loaded.registry.plugins}


@pytest.mark.parametrize(
    ("name", "settings", "kind", "message"),
    [
        ("nobody", {}, PluginError, "no installed plugin registers 'nobody'"),
        ("inputless", {}, ConfigurationError, "names no inputs"),
        ("loadable", {"colour": 1}, SettingsError, "colour: unknown setting"),
        (
            "loadable",
            {"sigma": -1},
            ConfigurationError,
            "of loadable 1.0 could not be made: ValueError",
        ),
    ],
)
def test_what_cannot_be_loaded(
    plugins: PluginFactory, name: str, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """A plugin that is lacking, a wrong definition, wrong settings, a constructor that raises."""
    with pytest.raises(kind, match=message):
        load_pipeline(request_of(name, settings=settings))


def test_settings_that_are_wrong_name_the_plugin(plugins: PluginFactory) -> None:
    """The error carries a note with the class and its distribution, which the message of a key lacks."""
    with pytest.raises(SettingsError) as caught:
        load_pipeline(request_of(settings={"colour": 1}))
    assert caught.value.__notes__ == [" (pipeline Pipeline of loadable 1.0)"]


def test_another_version_is_told_before_its_settings(plugins: PluginFactory) -> None:
    """Where the version differs, that is the error, and not settings that the other version may have had."""
    wrong = request_of(settings={"colour": 1}, distribution="loadable", version="0.9")
    message = r"made for loadable 0\.9, and 'loadable' now belongs to loadable 1\.0\. Restart the host"
    with pytest.raises(PluginError, match=message):
        load_pipeline(wrong)


# -- keeping ------------------------------------------------------------------------------------------------


def test_equal_requests_share_an_object(plugins: PluginFactory) -> None:
    """What was made for a request is returned for an equal one, and another is made for another."""
    cache = PipelineCache(lambda loaded: loaded)
    first = cache.get(request_of(settings={"sigma": 2.0}))
    assert cache.get(request_of(settings={"sigma": 2.0}, distribution="loadable", version="1.0")) is first
    assert cache.get(request_of(settings={"sigma": 3.0})) is not first


def test_another_version_than_was_loaded(plugins: PluginFactory) -> None:
    """A request of another version gets neither the object that is kept nor a new one of the old modules."""
    cache = PipelineCache(lambda loaded: loaded)
    cache.get(request_of())
    with pytest.raises(PluginError, match=r"made for loadable 2\.0"):
        cache.get(request_of(distribution="loadable", version="2.0"))


def test_nothing_is_kept_of_what_fails(plugins: PluginFactory) -> None:
    """What raised when it was prepared is loaded and prepared anew for the next request."""
    seen: list[LoadedPipeline] = []

    def prepare(loaded: LoadedPipeline) -> int:
        seen.append(loaded)
        if len(seen) == 1:
            raise OSError("no weights")
        return len(seen)

    cache = PipelineCache(prepare)
    with pytest.raises(OSError, match="no weights"):
        cache.get(request_of())
    assert cache.get(request_of()) == cache.get(request_of()) == 2
    assert seen[0].pipeline is not seen[1].pipeline


def test_threads_that_ask_at_once_get_one_object(plugins: PluginFactory) -> None:
    """A second thread waits for the first one's object instead of making its own."""
    begun, go_on = threading.Event(), threading.Event()
    made: list[LoadedPipeline] = []

    def prepare(loaded: LoadedPipeline) -> LoadedPipeline:
        begun.set()
        assert go_on.wait(60)
        made.append(loaded)
        return loaded

    cache, got = PipelineCache(prepare), []
    threads = [threading.Thread(target=lambda: got.append(cache.get(request_of()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1
    assert got == made * 2
