"""A job as plain data, and what doing it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job import JobDescription, run_job
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_folder import building_folder, read_manifest
from plugin_factory import INVERT, PRELUDE, SCRIPTED, PluginFactory, job_of
from sources import ct_slices, mr_slices

Scripted = Callable[..., JobDescription]


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[PluginFactory]:
    """Install a plugin that inverts, and one that does what it is told."""
    factory = PluginFactory(tmp_path / "plugins")
    factory.add("invert", INVERT)
    factory.add("scripted", SCRIPTED)
    with factory.installed():
        yield factory


@pytest.fixture
def scripted(plugins: PluginFactory, tmp_path: Path) -> Scripted:
    """Make jobs of the plugin that does what it is told."""
    return lambda code, **others: job_of("scripted", tmp_path, settings={"code": code}, **others)


def failure(job: JobDescription) -> JobFailedError:
    """Run a job that must fail, and see that nothing of it is left."""
    with pytest.raises(JobFailedError) as caught:
        run_job(job.to_json())
    assert not Path(job.folder).exists()
    assert not building_folder(Path(job.folder)).exists()
    assert not Path(job.workdir).exists()
    assert list(Path(job.workdir).parent.iterdir()) == []
    return caught.value


def run(job: JobDescription) -> list[pydicom.Dataset]:
    """Run a job and read its results."""
    folder = Path(run_job(job.to_json())["folder"])
    return [pydicom.dcmread(item.path) for item in read_manifest(folder).items]


# -- the description
# --------------------------------------------------------------------------------------------

words = st.text(max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
index = st.dictionaries(
    st.integers(0, 0xFFFFFFFF), st.none() | words | st.integers() | st.lists(words, max_size=3), max_size=3
)


@given(
    settings=st.dictionaries(words, plain, max_size=3),
    inputs=st.dictionaries(words, st.lists(st.tuples(words, index), max_size=3).map(tuple), max_size=3),
    only=st.none() | st.lists(words, max_size=3).map(tuple),
)
def test_a_description_survives_json_and_pickle(
    settings: dict, inputs: dict, only: tuple[str, ...] | None
) -> None:
    """What comes back from JSON, or from a pickle, is the same description."""
    job = JobDescription(
        id="7", identity="i", pipeline="p", plugin="p", distribution="d", version="1", settings=settings,
        container_key="c", inputs=inputs, folder="/f", workdir="/w", created=1.5, only=only,
    )  # fmt: skip
    assert JobDescription.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert pickle.loads(pickle.dumps(job)) == job


def test_dates_in_settings_become_text(tmp_path: Path, plugins: PluginFactory) -> None:
    """TOML has dates and JSON has not: they travel as ISO 8601 text, which settings classes read."""
    job = job_of("invert", tmp_path, settings={"since": date(2026, 1, 2)})
    assert job.to_json()["settings"] == {"since": "2026-01-02"}


# -- a job that is done
# -----------------------------------------------------------------------------------------


def test_results_are_of_the_patient_and_new(plugins: PluginFactory, tmp_path: Path) -> None:
    """The results are a new series in the study of the source, and say what made them and when."""
    sources = ct_slices()
    job = job_of("invert", tmp_path, images=sources)
    results = run(job)
    assert len(results) == len(sources)
    assert {each.PatientID for each in results} == {sources[0].PatientID}
    assert {each.StudyInstanceUID for each in results} == {sources[0].StudyInstanceUID}
    assert len({each.SOPInstanceUID for each in results} | {each.SOPInstanceUID for each in sources}) == 10
    assert {each.SeriesInstanceUID for each in results} != {sources[0].SeriesInstanceUID}
    made_by = results[0].ContributingEquipmentSequence[-1]
    assert (made_by.ManufacturerModelName, made_by.SoftwareVersions) == ("invert", "1.0")
    assert made_by.ContributionDateTime[:8] == time.strftime("%Y%m%d", time.localtime(job.created))


def test_the_same_job_makes_the_same_bytes(plugins: PluginFactory, tmp_path: Path) -> None:
    """A job that is run again, elsewhere and later, writes the same files byte for byte."""
    job = job_of("invert", tmp_path)
    again = JobDescription.from_json({**job.to_json(), "folder": job.folder + "b", "attempt": 2})
    digests = [read_manifest(Path(run_job(each.to_json())["folder"])).plain["files"] for each in (job, again)]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 4


def test_the_manifest_says_where_the_result_comes_from(scripted: Scripted) -> None:
    """It names inputs and outputs with their digests, plugin, settings, versions and times."""
    job = scripted("result = DicomOutput(inverted(inputs))", attempt=3)
    run_job(job.to_json())
    plain = json.loads((Path(job.folder) / "manifest.json").read_text())
    assert (plain["job"], plain["attempt"], plain["identity"]) == (job.id, 3, job.identity)
    assert plain["settings"] == dict(job.settings)
    environment = plain["environment"]
    assert environment["plugins"]["scripted"] == "1.0"
    assert environment["packages"]["pydicom"] == pydicom.__version__
    for (path, _), told in zip(job.inputs["images"], plain["inputs"]["images"], strict=True):
        assert told["path"] == path
        assert told["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert told["SOPInstanceUID"] == pydicom.dcmread(path).SOPInstanceUID
    for name, told in plain["files"].items():
        assert told["sha256"] == hashlib.sha256((Path(job.folder) / name).read_bytes()).hexdigest()
    assert plain["started"] <= plain["ended"]


def test_secrets_stay_out_of_the_manifest(plugins: PluginFactory, tmp_path: Path) -> None:
    """A setting that its class calls secret is not written down; defaults are."""
    source = """
    from pydantic import BaseModel, SecretStr
    class Settings(BaseModel):
        token: SecretStr
        sigma: float = 1.5
    class Pipeline(AbstractPipeline):
        inputs = {"images": Images}
        Settings = Settings
        def process(self, inputs):
            assert self.settings.token.get_secret_value() == "hush"
            return NoOutput()
    """
    plugins.add("secretive", PRELUDE + "\n".join(line[4:] for line in source.splitlines()))
    job = job_of("secretive", tmp_path, settings={"token": "hush"})
    run_job(job.to_json())
    manifest = read_manifest(Path(job.folder))
    assert manifest.plain["settings"] == {"token": "**********", "sigma": 1.5}
    assert manifest.items == ()
    assert "hush" not in json.dumps(manifest.plain)


def test_results_are_private_and_inputs_read_only(scripted: Scripted) -> None:
    """Files are 0600 in folders 0700, whatever the plugin's umask; inputs can be written by nobody."""
    job = scripted("os.umask(0); result = [DicomOutput(inverted(inputs)), FileOutput({'a.txt': 'b'})]")
    before = os.umask(0o022)
    try:
        run_job(job.to_json())  # in this process, whose umask the plugin changes
    finally:
        os.umask(before)
    for path in (Path(job.folder), *Path(job.folder).rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(Path(job.inputs["images"][0][0]).stat().st_mode) == 0o400
    assert not Path(job.workdir).exists()
    assert list(Path(job.folder).parent.iterdir()) == [Path(job.folder)]


def test_setup_once_for_all_jobs_of_the_same_settings(plugins: PluginFactory, tmp_path: Path) -> None:
    """A model is loaded once, and again only for jobs of other settings."""
    plugins.add(
        "warm",
        PRELUDE
        + """
from dataclasses import dataclass
@dataclass
class Settings:
    model: str = "a"
loaded = []
class Pipeline(AbstractPipeline):
    inputs = {"images": Images}
    Settings = Settings
    def setup(self):
        loaded.append(self.settings.model)
    def process(self, inputs):
        return FileOutput({"loaded": " ".join(loaded)})
""",
    )
    said = []
    for model in ("a", "a", "b", "a"):
        job = job_of("warm", tmp_path, settings={"model": model})
        run_job(job.to_json())
        said.append(read_manifest(Path(job.folder)).items[0].path.read_text())
    assert said == ["a", "a", "a b", "a b"]


def test_images_in_two_inputs_are_two_datasets(plugins: PluginFactory, tmp_path: Path) -> None:
    """What a plugin changes in the dataset of one input does not show in another's, nor in the checks."""
    plugins.add(
        "two",
        PRELUDE
        + """
class Pipeline(AbstractPipeline):
    inputs = {"images": Images, "others": Images}
    def process(self, inputs):
        for image in inputs["images"]:
            image.PatientID = "changed"
        return FileOutput({"patients": " ".join({image.PatientID for image in inputs["others"]})})
""",
    )
    job = job_of("two", tmp_path)
    (images,) = job.to_json()["inputs"].values()
    run_job({**job.to_json(), "inputs": {"images": images, "others": images}})
    patients = read_manifest(Path(job.folder)).items[0].path.read_text()
    assert patients == pydicom.dcmread(next(iter(job.inputs.values()))[0][0]).PatientID


# -- a job that fails
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("raise ValueError('sigma')", Failure.RAISED, "process of Pipeline raised ValueError: sigma"),
        ("raise ValueError", Failure.RAISED, "process of Pipeline raised ValueError"),
        ("sys.exit(0)", Failure.EXITED, "process of Pipeline called sys.exit(0)"),
        ("raise KeyboardInterrupt", Failure.EXITED, "KeyboardInterrupt"),
        ("raise MemoryError('no 8 GB')", Failure.MEMORY, "could not get the memory it asked for: no 8 GB"),
        ("raise OSError(28, 'No space left on device')", Failure.DISK, "No space left"),
        ("class E(Exception):\n  def __str__(self): raise E\nraise E", Failure.RAISED, "cannot be shown"),
        ("result = None", Failure.OUTPUT, "returned NoneType, not a PipelineOutput"),
        ("result = 7", Failure.OUTPUT, "returned int, not a PipelineOutput"),
        ("result = 'text'", Failure.OUTPUT, "returned str, not a PipelineOutput"),
        ("result = [NoOutput(), 1]", Failure.OUTPUT, "returned list, not a PipelineOutput"),
        ("result = DicomOutput([])", Failure.OUTPUT, "was given no dataset"),
        ("result = DicomOutput([1])", Failure.OUTPUT, "number 1 is a int"),
        ("result = FileOutput({'a': 1})", Failure.OUTPUT, "takes bytes, text or a pathlib.Path"),
    ],
)  # fmt: skip
def test_what_a_plugin_raises_or_returns(scripted: Scripted, code: str, kind: Failure, said: str) -> None:
    """Whatever a plugin raises or returns fails its job, with a reason in words and the traceback as log."""
    error = failure(scripted(code))
    assert error.kind == kind
    assert said in str(error)
    assert "Traceback" in error.log_tail or "cannot be shown" in error.log_tail


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("raise RuntimeError('torch is not here')", Failure.PLUGIN, "RuntimeError: torch is not here"),
        ("import sys; sys.exit(3)", Failure.PLUGIN, "SystemExit: 3"),
        ("import no_such_package_here", Failure.PLUGIN, "No module named 'no_such_package_here'"),
        ("def f(:", Failure.PLUGIN, "SyntaxError"),
        ("Pipeline = int", Failure.PLUGIN, "takes subclasses of AbstractPipeline"),
    ],
)
def test_a_plugin_that_cannot_be_imported(
    plugins: PluginFactory, tmp_path: Path, source: str, kind: Failure, said: str
) -> None:
    """The job fails and names the plugin, its version and the reason."""
    plugins.add("broken", PRELUDE + source)
    error = failure(job_of("broken", tmp_path))
    assert error.kind == kind
    assert said in str(error)
    assert "broken 1.0" in str(error)


def test_a_setup_that_raises(plugins: PluginFactory, tmp_path: Path) -> None:
    """A model that cannot be loaded fails the job, and is tried again for the next."""
    plugins.add("weak", INVERT + "\n    def setup(self):\n        raise OSError('no weights')\n")
    for _ in range(2):
        error = failure(job_of("weak", tmp_path))
        assert str(error) == "setup of Pipeline raised OSError: no weights"


def test_a_plugin_of_another_version(plugins: PluginFactory, tmp_path: Path) -> None:
    """A job is not done by another version than it was made for, nor by another distribution."""
    for others in ({"version": "2.0"}, {"distribution": "other"}):
        error = failure(job_of("invert", tmp_path, **others))
        assert error.kind == Failure.PLUGIN
        assert "Restart the host" in str(error)


def test_a_plugin_that_is_gone(plugins: PluginFactory, tmp_path: Path) -> None:
    """A job whose plugin is not installed any more says so, and what there is."""
    job = job_of("gone", tmp_path)
    assert "no installed plugin registers 'gone'" in str(failure(job))


def test_images_that_do_not_grind(scripted: Scripted) -> None:
    """A missing slice fails the job with the grinder's own words."""
    slices = mr_slices(5)
    error = failure(scripted("inputs['images']", images=[*slices[:2], *slices[3:]]))
    assert "slice" in str(error)
    assert error.kind == Failure.RAISED


def test_settings_that_are_wrong(plugins: PluginFactory, tmp_path: Path) -> None:
    """Settings that the plugin does not have fail the job by name."""
    error = failure(job_of("scripted", tmp_path, settings={"colour": 1}))
    assert error.kind == Failure.PLUGIN
    assert "colour: unknown setting" in str(error)


def test_an_input_that_the_pipeline_does_not_have(plugins: PluginFactory, tmp_path: Path) -> None:
    """Images for an input that is not there fail the job, instead of being left out."""
    error = failure(job_of("invert", tmp_path, input_name="ct"))
    assert "images for ct" in str(error)


# -- inputs
# -----------------------------------------------------------------------------------------------------


def test_an_input_file_that_is_gone(scripted: Scripted) -> None:
    """A missing input file fails the job before the plugin runs."""
    job = scripted("raise AssertionError")
    Path(job.inputs["images"][1][0]).unlink()
    error = failure(job)
    assert error.kind == Failure.INPUT
    assert "cannot be read" in str(error)


@pytest.mark.parametrize(
    "code",
    [
        "path.chmod(0o600); path.write_bytes(b'x' + path.read_bytes()[1:])",
        "at = path.stat().st_mtime_ns; path.chmod(0o600); open(path, 'r+b').write(b'x'); os.utime(path, ns=(at, at))",  # noqa: E501 - a line of a plugin
        "path.chmod(0o600); path.open('ab').write(b'x')",
        "os.truncate((path.chmod(0o600), path)[1], 10)",
    ],
)
def test_a_plugin_that_changes_its_input(scripted: Scripted, code: str) -> None:
    """An input that was changed, whatever its times say, fails the job."""
    error = failure(scripted(f"path = inputs.images('images')[0].path; {code}"))
    assert error.kind == Failure.INPUT
    assert "changed 1 of its 4 input files" in str(error)


@pytest.mark.parametrize(
    "code", ["path.unlink()", "path.rename(inputs.job.workdir / 'x')", "path.chmod(0o600)"]
)
def test_a_plugin_that_moves_its_input_away(scripted: Scripted, code: str) -> None:
    """What a plugin deletes, renames or touches is a name of its own: the instance stays as it was."""
    job = scripted(f"path = inputs.images('images')[0].path; {code}")
    before = Path(job.inputs["images"][0][0]).read_bytes()
    run_job(job.to_json())
    assert Path(job.inputs["images"][0][0]).read_bytes() == before


# -- outputs
# ----------------------------------------------------------------------------------------------------

_SERIES = "series = inverted(inputs); "


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "series[2].PatientID = 'somebody else'; result = DicomOutput(series)",
            "PatientID that no input has",
        ),
        ("del series[0].PatientID; result = DicomOutput(series)", "PatientID that no input has"),
        (
            "series[0].StudyInstanceUID = '1.2.3'; result = DicomOutput(series)",
            "StudyInstanceUID that no input has",
        ),
        (
            "uid = inputs.sources[0].SOPInstanceUID; series[0].SOPInstanceUID = uid;"
            "series[0].file_meta.MediaStorageSOPInstanceUID = uid; result = DicomOutput(series)",
            "SOPInstanceUID of an input",
        ),
        ("result = [DicomOutput(series), DicomOutput(series)]", "SOPInstanceUID of another output"),
        (
            "other = __import__('copy').deepcopy(list(series)); other[0].PatientComments = 'another';"
            "result = [DicomOutput(series), DicomOutput(other, destinations=['ELSEWHERE'])]",
            "SOPInstanceUID of another output",
        ),
        ("series[0].PixelData = b'12'; result = DicomOutput(series)", "PixelData has 2 of 8192 bytes"),
        ("del series[0].SOPInstanceUID; result = DicomOutput(series)", "SOPInstanceUID"),
        ("del series[0].SOPClassUID; result = DicomOutput(series)", "SOPClassUID"),
        ("del series[0].file_meta; result = DicomOutput(series)", "cannot be written as DICOM"),
        ("series[0].SeriesInstanceUID = ''; result = DicomOutput(series)", "SeriesInstanceUID"),
        ("series[0].SOPInstanceUID = 'abc'; result = DicomOutput(series)", "UID"),
        ("series[0].Rows = 'many'; result = DicomOutput(series)", "cannot be written as DICOM"),
    ],
)
def test_results_that_must_not_leave(scripted: Scripted, code: str, said: str) -> None:
    """A result of another patient or study, with a UID that is taken, or unreadable, fails its job."""
    error = failure(scripted(_SERIES + code))
    assert error.kind == Failure.OUTPUT
    assert said in str(error)
    assert "somebody else" not in str(error)
    assert "4MR1" not in str(error)


def test_a_copy_for_another_destination(scripted: Scripted) -> None:
    """The same instances may go elsewhere as well, as a hook that copies asks for; not twice to one place."""
    results = run(
        scripted(_SERIES + "result = [DicomOutput(series), DicomOutput(series, destinations=['X'])]")
    )
    assert len(results) == 8
    assert len({each.SOPInstanceUID for each in results}) == 4


def test_many_faults_are_counted(scripted: Scripted) -> None:
    """The reason names the first faults and counts the rest; the log has all of them."""
    change = "each.PatientID = 'x'; each.StudyInstanceUID = '1.2'"
    code = f"{_SERIES}\nfor each in series: {change}\nresult = DicomOutput(series)"
    error = failure(scripted(code))
    assert "; and 3 more" in str(error)
    assert len(error.log_tail.splitlines()) == 8


def test_a_pipeline_that_says_so_may_change_the_patient(plugins: PluginFactory, tmp_path: Path) -> None:
    """``changes_identity`` lets results be of another patient; their UIDs must be new all the same."""
    plugins.add("pseudonyms", SCRIPTED + "\n    changes_identity = True\n")
    code = _SERIES + "\nfor each in series: each.PatientID = 'pseudonym'\nresult = DicomOutput(series)"
    results = run(job_of("pseudonyms", tmp_path, settings={"code": code}))
    assert {each.PatientID for each in results} == {"pseudonym"}
    code = "result = DicomOutput(pydicom.dcmread(inputs.sources[0].path))"
    error = failure(job_of("pseudonyms", tmp_path, settings={"code": f"import pydicom; {code}"}))
    assert "SOPInstanceUID of an input" in str(error)


def test_iod_check(scripted: Scripted) -> None:
    """What an IOD asks for and a result lacks is passed over, noted or refused, as the job says."""
    code = _SERIES + "\nfor each in series[:3]: del each.Modality\nresult = DicomOutput(series)"
    for check in ("off", "warn"):
        job = scripted(code, iod_check=check)
        run_job(job.to_json())
        said = " ".join(read_manifest(Path(job.folder)).warnings)
        assert ("Modality (Type 1) is missing (in 3 of 4 instances)" in said) == (check == "warn")
    assert "Modality (Type 1) is missing (in 3 of 4" in str(failure(scripted(code, iod_check="block")))


def test_results_in_a_series_of_the_inputs_are_noted(scripted: Scripted) -> None:
    """A result in its source's own series is sent, with a warning."""
    code = "uid = inputs.sources[0].SeriesInstanceUID\nfor each in series: each.SeriesInstanceUID = uid\n"
    job = scripted(f"{_SERIES}\n{code}result = DicomOutput(series)")
    run_job(job.to_json())
    assert any("series of the inputs" in each for each in read_manifest(Path(job.folder)).warnings)


_ITEM = """
class Odd(PipelineOutput):
    name = "odd"
    def write(self, folder):
        from dicomnode.pipeline.destination import OutboxItem
        return [OutboxItem("odd", self.make(folder))]
    def make(self, folder):
        {}
result = Odd()
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("return folder / 'missing'", "cannot be found"),
        ("(folder / 'a').symlink_to('/etc/passwd'); return folder / 'a'", "no plain file"),
        ("return Path('/etc/passwd')", "no plain file in the folder"),
        ("return folder", "no plain file"),
        ("os.mkfifo(folder / 'a'); return folder / 'a'", "no plain file"),
    ],
)
def test_outputs_that_name_other_files(scripted: Scripted, code: str, said: str) -> None:
    """An output can deliver plain files of its own folder, and nothing else of the machine."""
    error = failure(scripted(_ITEM.format(code)))
    assert error.kind == Failure.OUTPUT
    assert said in str(error)


def test_an_output_that_returns_no_items(scripted: Scripted) -> None:
    """An output whose ``write`` returns something else fails the job by name."""
    code = "class Odd(PipelineOutput):\n  name='odd'\n  def write(self, folder): return [1]\nresult = Odd()"
    assert "Odd.write: it returned a int" in str(failure(scripted(code)))


# -- the folder
# -------------------------------------------------------------------------------------------------


def test_a_folder_that_exists(scripted: Scripted) -> None:
    """A result is never overwritten."""
    job = scripted("")
    Path(job.folder).mkdir()
    with pytest.raises(JobFailedError, match="has a result already"):
        run_job(job.to_json())
    assert Path(job.folder).is_dir()


def test_leftovers_of_an_earlier_attempt(scripted: Scripted) -> None:
    """What an attempt that was killed has left is gone, and is not in the result."""
    job = scripted("assert not list(inputs.job.workdir.iterdir()); result = DicomOutput(inverted(inputs))")
    building = building_folder(Path(job.folder))
    for folder in (building / "00", Path(job.workdir)):
        folder.mkdir(parents=True)
        (folder / "leftover").write_text("")
    run_job(job.to_json())
    assert sorted(path.name for path in (Path(job.folder) / "00").iterdir()) == [
        f"00000{i}.dcm" for i in range(4)
    ]
    assert not building.exists()
