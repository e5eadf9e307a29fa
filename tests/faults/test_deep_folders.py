"""Folders that a job left, nested deeper than recursion goes: the host removes them, and goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from deep_folders import NEST, nest
from dicomnode.testing.local_host import LocalHost
from file_systems import immutable
from plugin_factory import SCRIPTED, PluginFactory
from sources import ct_slices, mr_slices

DEPTH = 1200
DEEP_RESULT = f"""
{NEST}
nest(inputs.job.workdir, {DEPTH})
class Deep(FileOutput):
    def write(self, folder):
        nest(folder, {DEPTH})
        return super().write(folder)
result = Deep({{"said": "yes"}})
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    """Install a pipeline that does what its settings say."""
    plugins = PluginFactory(tmp_path / "plugins")
    with plugins.installed():
        yield plugins.add("scripted", SCRIPTED)


def left(folder: Path) -> list[str]:
    """Return what is left in the outbox and the working folder, but for folders of workers that wait."""
    inside = [*(folder / "data" / "outbox").iterdir(), *(folder / "data" / "work").iterdir()]
    return [path.name for path in inside if not path.name.startswith("worker-")]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds of which nothing tells."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never came to hold"
        threading.Event().wait(0.05)


def test_jobs_that_leave_deep_folders(tmp_path: Path, plugin: str) -> None:
    """Jobs that leave them in working and result folder are delivered, and so are those of others beside."""
    said = tmp_path / "said"
    deep = {"plugin": plugin, "ae_title": "DEEP", "settings": {"code": DEEP_RESULT}}
    deep["destinations"] = [f"file:{said}"]
    with LocalHost(tmp_path, {"smooth": {"ae_title": "SMOOTH"}, "deep": deep}) as local:
        for count in (2, 4):
            for name, images in (("deep", mr_slices()), ("smooth", ct_slices())):
                for image in images:
                    image.PatientID = str(count)
                    image.SOPInstanceUID = generate_uid(entropy_srcs=[str(count), image.SOPInstanceUID])
                local.send(images, name)
            local.wait_for_jobs(count)
        eventually(lambda: left(tmp_path) == [])
    assert len([path for path in said.rglob("*") if path.is_file()]) == 2


def test_a_start_over_deep_folders(tmp_path: Path) -> None:
    """A host starts over deep folders in its data directory, removes them, and runs jobs."""
    for where in ("work/job-1", "outbox/.job-1-1.building"):
        folder = tmp_path / "data" / where
        folder.mkdir(parents=True)
        nest(folder, DEPTH)
    with LocalHost(tmp_path, {"smooth": {}}) as local:
        local.send(ct_slices())
        local.wait_for_jobs()
        eventually(lambda: left(tmp_path) == [])


def test_a_start_over_what_cannot_be_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A host starts, says what it cannot remove and where it is now, and runs jobs."""
    left_over = tmp_path / "data" / "work" / "job-1"
    left_over.mkdir(parents=True)
    (left_over / "file").write_text("x")
    with immutable(left_over / "file", tmp_path / "data" / "work"):
        with LocalHost(tmp_path, {"smooth": {}}) as local:
            local.send(ct_slices())
            local.wait_for_jobs()
            eventually(lambda: "cannot be removed" in caplog.text)
        assert not left_over.exists()
        (name,) = left(tmp_path)
        assert f"{left_over} cannot be removed: Operation not permitted. It is now" in caplog.text
        assert f"{left_over.with_name(name)}. Remove it by hand" in caplog.text
    with LocalHost(tmp_path, {"smooth": {}}):
        eventually(lambda: left(tmp_path) == [])
