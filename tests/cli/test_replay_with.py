"""``replay JOB --with VERSION_OR_PATH --diff``: another version of a plugin, tried on a job that is over."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from command_line import command, send_to, told
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices

SOURCE = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"images": VolumeInput}

    def process(self, inputs):
        volume = inputs["images"]
        array = np.asarray(volume.array, dtype=np.int16) + 0
        CHANGE
        return DicomOutput(NumpyFactory().build_series(inputs.header, volume.with_array(array)))
"""
)
SAME = SOURCE.replace("CHANGE", "pass")
BRIGHTER = SOURCE.replace("CHANGE", "array[1, 2, 3] += 7")
DESCRIBED = SAME.replace(
    "    inputs =",
    "    from dicomnode.dicom.blueprint.blueprint import Blueprint\n"
    "    from dicomnode.dicom.elements.standard_elements import StaticElement\n"
    "    added = Blueprint([StaticElement('SeriesDescription', 'new words')])\n"
    "    blueprint = AbstractPipeline.blueprint + added\n"
    "    inputs =",
)
FAILING = SOURCE.replace("CHANGE", "raise RuntimeError('the new model is missing')")


def wheel(folder: Path, source: str, version: str, name: str = "scaled") -> Path:
    """Write a wheel of the plugin, as a build would, and return its path."""
    factory = PluginFactory(folder / f"{name}-{version}")
    factory.add(name, source, version=version)
    (info,) = factory.folder.glob("*.dist-info")
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    files = [each for each in sorted(factory.folder.rglob("*")) if each.is_file()]
    with zipfile.ZipFile(path, "w") as archive:
        for each in files:
            archive.write(each, each.relative_to(factory.folder))
        names = "".join(f"{each.relative_to(factory.folder)},,\n" for each in files)
        archive.writestr(f"{info.name}/RECORD", f"{names}{info.name}/RECORD,,\n")
    return path


@pytest.fixture
def configured(tmp_path):
    """Return a maker of a host, stopped or running, on which a job of `scaled` 1.0 has been delivered."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("scaled", SAME)
    hosts = []

    def make(retention: str) -> RunningHost:
        config = (
            f'[pipelines.scaled]\ndestinations = ["file:{tmp_path / "results"}"]\nattempts = 1\n{retention}'
        )
        host = RunningHost(tmp_path / "host", config).start()
        hosts.append(host)
        send_to(host.port, "SCALED", ct_slices())
        host.wait_for_jobs(1)
        return host

    make.factory = factory
    with factory.installed():
        yield make
    for host in hosts:
        if host.process.poll() is None:
            host.stop()


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Return path -> size and time of change of every file but the database's."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "sqlite" not in path.name
    }


@pytest.mark.parametrize("kept", ["", 'results = "1 d"\n'])
def test_another_version_is_compared_tag_by_tag_and_voxel_by_voxel(tmp_path, configured, kept):
    """While the host runs, with its result or one made again; nothing is sent, entered or left behind."""
    host = configured(f'[retention]\ninputs = "1 d"\n{kept}')
    host.wait_for_log("inputs released")
    host.wait_for_results(bool(kept))
    on = ("--config", host.config)
    before = [files_below(tmp_path / "results"), files_below(host.data), told("show", 1, *on)]

    same = told("replay", 1, "--with", wheel(tmp_path, SAME, "1.1"), "--diff", *on)
    assert (same["equal"], same["old"], same["new"], same["recomputed"]) == (True, "1.0", "1.1", not kept)
    assert same["comparison"]["compared"] == len(ct_slices())
    rows, columns = ct_slices()[0].Rows, ct_slices()[0].Columns
    assert same["comparison"]["voxels"]["compared"] == len(ct_slices()) * rows * columns

    brighter = wheel(tmp_path, BRIGHTER, "2.0")
    found = told("replay", 1, "--with", brighter, "--diff", *on, expect=1)["comparison"]
    assert found["tags"] == []
    assert found["voxels"]["different"] == 1
    largest = found["voxels"]["largest"]
    assert (largest["row"], largest["column"], largest["largest"]) == (2, 3, 7.0)
    assert largest["new"] - largest["old"] == 7.0

    assert [files_below(tmp_path / "results"), files_below(host.data), told("show", 1, *on)] == before
    if kept:  # the words are the same
        return
    done = command("replay", 1, "--with", brighter, "--diff", *on, expect=1)
    for word in ("scaled 2.0", "nothing was sent", "0, 2, 3", largest["SOPInstanceUID"]):
        assert word in done.stdout
    assert "different: 1 of" in done.stdout


def test_a_changed_tag_and_a_failing_version_while_the_host_is_down(tmp_path, configured):
    """The tag with both values and in how many instances; the failure in one message."""
    host = configured('[retention]\ninputs = "1 d"\nresults = "1 d"\n')
    host.stop()
    on = ("--config", host.config)
    described = told("replay", 1, "--with", wheel(tmp_path, DESCRIBED, "1.2"), *on, expect=1)
    (tag,) = described["comparison"]["tags"]
    assert (tag["tag"], tag["new"], tag["instances"]) == ("SeriesDescription", "new words", len(ct_slices()))
    assert described["comparison"]["voxels"]["different"] == 0
    done = command("replay", 1, "--with", wheel(tmp_path, FAILING, "3.0"), *on, expect=1)
    assert done.stdout == ""
    assert "job 1 fails with scaled 3.0" in done.stderr
    assert "the new model is missing" in done.stderr
    assert list((host.data / "work").iterdir()) == []


def test_a_source_tree_is_built_and_a_failed_job_tried_with_it(tmp_path, configured):
    """What mends a job that failed is seen to do so; the job stays what it is."""
    configured.factory.add("scaled", FAILING)
    config = "[pipelines.scaled]\nattempts = 1\n"
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    (tree / "src" / "scaled.py").write_text(SAME)
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "scaled"\nversion = "1.0"\n'
        '[project.entry-points."dicomnode.pipelines"]\nscaled = "scaled:Pipeline"\n'
        '[tool.hatch.build.targets.wheel]\nsources = ["src"]\ninclude = ["src/scaled.py"]\n'
    )
    with RunningHost(tmp_path / "failing", config) as host:
        send_to(host.port, "SCALED", ct_slices())
        host.wait_for_jobs(1, "failed")
        tried = told("replay", 1, "--with", tree, "--config", host.config, expect=1)
        assert tried["comparison"] is None
        assert "the new model is missing" in tried["old_failure"]
        assert tried["new"] == "1.0"
        assert host.jobs()[0]["state"] == "failed"


def test_what_cannot_be_tried_is_one_clear_message(tmp_path, configured):
    """Inputs that have gone, an unknown job, no such version or path, another plugin, options that clash."""
    host = configured("")
    host.wait_for_log("inputs released")
    on = ("--config", host.config)
    python = {"PIP_NO_INDEX": "1"}

    def refusal(*arguments: object, expect: int = 1) -> str:
        done = command("replay", *arguments, *on, expect=expect, **python)
        assert done.stdout == ""
        return done.stderr

    assert "5 of its 5 inputs are not kept any more" in refusal(1, "--with", "2.0")
    assert "there is no job 7" in refusal(7, "--with", "2.0")
    assert "--with VERSION_OR_PATH" in refusal(1, "--diff", expect=2)
    assert "cannot be used together" in refusal(1, "--rerun", "--with", "2.0", expect=2)
    host.stop()
    host.config.write_text(host.config.read_text() + '[retention]\ninputs = "1 d"\n')
    host.start()
    send_to(host.port, "SCALED", ct_slices())  # the same images: the same job runs again
    host.wait_for_log("inputs released")
    assert "scaled==2.0 cannot be installed" in refusal(1, "--with", "2.0")
    assert "neither a version" in refusal(1, "--with", "./nowhere")
    other = wheel(tmp_path, SAME, "1.0", "another")
    assert "is another, and the job's pipeline is of scaled" in refusal(1, "--with", other)
