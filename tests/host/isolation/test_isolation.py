"""Pipelines in environments of their own: the host sorts for them, asks them, and never imports them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ConfigurationError, JobFailedError, PluginError, SettingsError
from dicomnode.host.configuration.configured_pipeline import InstalledPipeline
from dicomnode.host.configuration.result_content import settings_digest
from dicomnode.host.isolation.description import (
    HISTORIC_DATA,
    INPUT_DATA,
    PIPELINE_DATA,
    PipelineDescription,
    rule_from_json,
    rule_to_json,
)
from dicomnode.host.isolation.environment import ready_environment
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.host.isolation.own_wheel import write_own_wheel
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.testing import LocalHost, synthetic_series
from environments import borrowed, make_environment
from own_processes import started, started_here
from plugin_factory import PRELUDE, PluginFactory, write_inputs
from sources import mr_slices

ELSEWHERE = (
    PRELUDE
    + """
import re
from dataclasses import dataclass
import conflicting

class Slices(VolumeInput):
    required_values = {
        "Modality": {"MR", "CT"},
        "SOPClassUID": re.compile(r"1[.]2[.]840[.]10008[.]5[.]"),
        "Rows": lambda rows: rows <= 64,
    }
    index_also = ("InstanceNumber",)

    def validate_image(self, image):
        if image.InstanceNumber == 13:
            return f"number 13 is not wanted beside {len(self)} others"
        if image.InstanceNumber == 99:
            raise ValueError("number 99")
        if image.InstanceNumber == 100:
            os._exit(1)

    def validate(self):
        return None if len(self) == 4 else f"{len(self)} of 4"

@dataclass(frozen=True)
class Settings:
    offset: int = 0

class Pipeline(AbstractPipeline):
    inputs = {"images": Slices}
    Settings = Settings
    index_also = ("Rows", "InstanceNumber")
    timeout = 77.0

    def process(self, inputs):
        volume = inputs["images"]
        moved = volume.with_array(volume.array + self.settings.offset)
        built = NumpyFactory().build_series(inputs.header, moved)
        for image in built:
            image.SeriesDescription = f"made with {conflicting.VERSION}"
        return DicomOutput(list(built))
"""
)


class Environments:
    """Environments with a plugin each, which the tests' own environment does not have."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, name: str, conflicting: str, **sources: str) -> Path:
        """Make an environment with a version of a package, and plugins by name."""
        path = self.root / name
        packages = make_environment(path)
        (packages / "conflicting.py").write_text(f"VERSION = {conflicting!r}\n")
        plugins = PluginFactory(packages)
        for plugin, source in sources.items():
            plugins.add(plugin, source)
        return path


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Make environments below a folder."""
    return Environments(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="module")
def environment(environments: Environments) -> Path:
    """Make an environment with the plugin ``elsewhere``."""
    return environments.make("first", "1.0", elsewhere=ELSEWHERE)


@pytest.fixture(scope="module")
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Isolation]:
    """Keep workers for the rules, and leave none."""
    with Isolation(tmp_path_factory.mktemp("home")) as isolation:
        yield isolation


@pytest.fixture(scope="module")
def installed(isolation: Isolation, environment: Path) -> InstalledPipeline:
    """Describe the plugin of the environment."""
    return isolation.pipeline("elsewhere", environment, settings={})


@pytest.fixture
def images(tmp_path: Path) -> list[LazyDataset]:
    """Write four slices to disk, as the host has them."""
    return on_disk(tmp_path / "spool", mr_slices())


def on_disk(folder: Path, datasets: list[Dataset]) -> list[LazyDataset]:
    """Return images as the host has them."""
    return [LazyDataset(path, index) for path, index in write_inputs(folder, datasets)]


# -- the whole route
# ------------------------------------------------------------------------------------------


def test_two_pipelines_that_cannot_live_together(
    environments: Environments, environment: Path, tmp_path: Path
) -> None:
    """Two pipelines with conflicting packages serve on one host, which imports neither of them."""
    other = environments.make("second", "2.0", other=ELSEWHERE)
    tables = {
        "elsewhere": {"environment": environment, "settings": {"offset": 5}},
        "other": {"environment": other, "timeout": 55.0},
    }
    with LocalHost(tmp_path, tables) as configured:
        assert configured.host.configured_pipelines["elsewhere"].rules.timeout == 77
        assert configured.host.configured_pipelines["other"].rules.timeout == 55
        for name in tables:
            assert configured.send(mr_slices(), name) == [0] * 4
        configured.wait_for_jobs(2)
        results = [each for each in configured.peer.received if "made with" in each.SeriesDescription]
        assert (
            sorted(each.SeriesDescription for each in results)
            == ["made with 1.0"] * 4 + ["made with 2.0"] * 4
        )
        (first, *_) = (each for each in results if each.SeriesDescription.endswith("1.0"))
        assert first.ContributingEquipmentSequence[-1].ManufacturerModelName == "elsewhere"
    assert not {"elsewhere", "other", "conflicting"} & set(sys.modules)


def test_refusals_are_the_truth(environment: Path, tmp_path: Path) -> None:
    """An image that data or code refuses is refused to its sender; code that fails refuses nothing else."""
    refused, raised = 0x0124, 0x0110
    with LocalHost(tmp_path, {"elsewhere": {"environment": environment}}) as configured:
        ours = mr_slices(4)
        odd = [synthetic_series("PT", slices=1)[0]]  # a modality that the data refuse
        for number in (13, 99, 100):
            slice_ = mr_slices(1)[0]
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            slice_.InstanceNumber = number
            odd.append(slice_)
        assert configured.send(ours[:3]) == [0] * 3
        assert configured.send(odd) == [refused, refused, raised, raised]
        assert configured.send(ours[3:]) == [0]
        configured.wait_for_jobs()
        assert len(configured.peer.received) == 4
    assert not started()


def test_a_job_fails_as_it_does_at_home(environments: Environments, tmp_path: Path) -> None:
    """What a plugin of another environment raises fails its job with its reason."""
    source = ELSEWHERE.replace('volume = inputs["images"]', 'raise ValueError("far away")')
    path = environments.make("failing", "1.0", failing=source)
    with LocalHost(tmp_path, {"failing": {"environment": path}}) as configured:
        assert configured.send(mr_slices()) == [0] * 4
        with pytest.raises(AssertionError, match="raised ValueError: far away"):
            configured.wait_for_jobs()


# -- what the host is told
# ------------------------------------------------------------------------------------


def test_data_need_no_worker_and_methods_do(
    installed: InstalledPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that are data refuse without a worker; predicates and methods are called in the environment."""
    good, wide, wrong, thirteen = mr_slices(4)
    wide.Rows = 128
    wrong.Modality = "PT"
    thirteen.InstanceNumber = 13
    good, wide, wrong, thirteen = on_disk(tmp_path, [good, wide, wrong, thirteen])
    held = installed.pipeline.inputs["images"]("images")
    assert held.why_not(good) is None
    assert "Rows is 128" in str(held.why_not(wide))
    assert held.why_not(thirteen) == "number 13 is not wanted beside 0 others"
    held.insert(good)
    assert held.why_not(thirteen) == "number 13 is not wanted beside 1 others"
    monkeypatch.setattr(type(held), "remote", None)
    assert "Modality is PT" in str(held.why_not(wrong))


def test_the_worker_sees_what_the_host_holds(installed: InstalledPipeline, images: list[LazyDataset]) -> None:
    """Completeness is asked of the same images: as they come and go, and after the worker was lost."""
    held = installed.pipeline.inputs["images"]("images")
    assert held.missing() == "0 of 4"
    for count, image in enumerate(images[:3], 1):
        held.insert(image)
        assert held.missing() == f"{count} of 4"
    held.remove(images[0].SOPInstanceUID)
    assert held.missing() == "2 of 4"
    bad = mr_slices(1)[0]
    bad.InstanceNumber = 100
    with pytest.raises(JobFailedError, match="exit code 1"):
        held.why_not(on_disk(images[0].path.parent / "bad", [bad])[0])
    held.insert(images[3])
    held.insert(images[0])
    assert held.missing() is None
    other = installed.pipeline.inputs["images"]("images")
    assert other.missing() == "0 of 4"


def test_what_code_raises_costs_no_worker(installed: InstalledPipeline, tmp_path: Path) -> None:
    """An exception of a rule is an answer: the same worker is asked on."""
    bad = mr_slices(1)[0]
    bad.InstanceNumber = 99
    held = installed.pipeline.inputs["images"]("images")
    assert held.missing() == "0 of 4"
    before = started_here()
    with pytest.raises(PluginError, match="raised ValueError: number 99"):
        held.why_not(on_disk(tmp_path, [bad])[0])
    assert held.missing() == "0 of 4"
    assert started_here() == before


def test_the_host_cannot_process(installed: InstalledPipeline) -> None:
    """The class that stands for a pipeline in the host never processes."""
    with pytest.raises(PluginError, match="its own environment"):
        installed.pipeline.process(None)  # type: ignore[arg-type]  # it is never looked at


MANY_RULES = (
    PRELUDE
    + """
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.plugins.hookspecs import hookimpl

class Plain(AbstractInput):
    optional = True
    expected_images = "NumberOfSlices"
    required_tags = (0x00100020,)

class Careful(AbstractInput):
    def conflict(self, image):
        return super().conflict(image) or ("too many" if len(self) >= 2 else None)

class Earlier(HistoricAbstractInput):
    level = "series"
    fetch_attempts = 2
    def query(self, image):
        return {"Modality": image.Modality}
    def choose(self, found, image):
        return sorted(super().choose(found, image), key=lambda each: each.StudyDate)[-1:]

class Pipeline(AbstractPipeline):
    inputs = {"plain": Plain, "careful": Careful, "earlier": Earlier}
    alternatives = (("plain", "careful"),)
    resources = {"gpu": 1}
    def container_key(self, image):
        return f"{image.PatientID}-{image.Modality}"
    def process(self, inputs):
        return NoOutput()

@hookimpl
def dicomnode_validate_input(container_key, patient_id, input_name):
    return f"{input_name} of {container_key} of {patient_id} waits" if input_name == "careful" else None
"""
)


def test_other_rules(environments: Environments, isolation: Isolation, images: list[LazyDataset]) -> None:
    """Keys, conflicts, the environment's own hooks, and the choice of earlier images are asked, too."""
    path = environments.make("many", "1.0")
    PluginFactory(path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages").add(
        "many", MANY_RULES, pipelines={"many": "Pipeline"}, hooks={"many": ""}
    )
    pipeline = isolation.pipeline("many", path, settings={}).pipeline
    assert pipeline.resources == {"gpu": 1}
    assert pipeline.container_key(images[0]) == "4MR1-MR"
    plain, careful, earlier = (kind(name) for name, kind in pipeline.inputs.items())
    assert (plain.optional, plain.expected_images) == (True, "NumberOfSlices")
    for image in images[:2]:
        careful.insert(image)
    assert careful.conflict(images[2]) == "too many"
    assert careful.missing() == "careful of 4MR1-MR of 4MR1 waits"
    assert isinstance(earlier, HistoricAbstractInput)
    assert (earlier.level, earlier.fetch_attempts, earlier.when_failed) == ("series", 2, "required")
    assert earlier.query(images[0]) == {"Modality": "MR"}
    found = []
    for date in ("20010101", "20030101", "20020101"):
        answer = Dataset()
        answer.StudyInstanceUID, answer.SeriesInstanceUID, answer.StudyDate = f"1.{date}", f"2.{date}", date
        found.append(answer)
    assert list(earlier.choose(found, images[0])) == [found[1]]
    status = HistoryStatus(HistoryState.FETCHED, "PACS", PatientID="4MR1", asked_for=frozenset({"1.5"}))
    earlier.history = status
    assert "not one of the earlier images" in str(earlier.why_not(images[0]))
    earlier.history = HistoryStatus(
        **{**_fields(status), "asked_for": frozenset({images[0].StudyInstanceUID})}
    )
    assert earlier.why_not(images[0]) is None
    assert "many" not in sys.modules


def _fields(status: HistoryStatus) -> dict[str, Any]:
    return {name: getattr(status, name) for name in status.__slots__}


def test_every_attribute_travels_or_is_known_to_stay() -> None:
    """What is added to the base classes must be described, or be known to have no meaning in the host."""
    stays = {"blueprint", "filling_strategy", "inputs", "Settings"}
    assert _attributes(AbstractPipeline) - stays == set(PIPELINE_DATA)
    stays = {"image_grinder", "required_values"}
    assert _attributes(AbstractInput) - stays == set(INPUT_DATA)
    own = _attributes(HistoricAbstractInput) - _attributes(AbstractInput)
    assert own == set(HISTORIC_DATA)


def _attributes(kind: type) -> set[str]:
    return {
        name
        for each in kind.__mro__
        for name in getattr(each, "__annotations__", ())
        if not name.startswith("_") and hasattr(each, name)
    }


@given(
    st.text()
    | st.integers()
    | st.booleans()
    | st.frozensets(st.text())
    | st.lists(st.integers()).map(tuple)
    | st.text().map(lambda text: re.compile(re.escape(text), re.IGNORECASE))
)
def test_rules_that_are_data_survive(rule: Any) -> None:
    """A rule that is data judges alike after its way through JSON."""
    plain = rule_to_json(rule)
    assert plain is not None
    again = rule_from_json(json.loads(json.dumps(plain)))
    if isinstance(rule, re.Pattern):
        assert (again.pattern, again.flags) == (rule.pattern, rule.flags)
    elif isinstance(rule, frozenset | tuple):
        assert set(again) == set(rule)
    else:
        assert again == rule


def test_a_rule_that_is_code_is_no_data() -> None:
    """Predicates, and collections of anything else, are asked for."""
    for rule in (len, [object()], re.compile(b"x"), {1: 2}):
        assert rule_to_json(rule) is None


def test_a_description_survives_json(installed: InstalledPipeline) -> None:
    """A description comes back from JSON as it was."""
    described = installed.pipeline.description
    assert PipelineDescription.from_json(json.loads(json.dumps(described.to_json()))) == described


# -- what is wrong
# --------------------------------------------------------------------------------------------


def test_settings_are_judged_there(isolation: Isolation, environment: Path) -> None:
    """Settings that are wrong are named as those of a pipeline at home are."""
    with pytest.raises(SettingsError, match="colour: unknown setting") as caught:
        isolation.pipeline("elsewhere", environment, settings={"colour": 1})
    assert [key for key, _ in caught.value.problems] == [("colour",)]


def test_settings_in_force_there_decide_about_uids(installed: InstalledPipeline) -> None:
    """The digest from which UIDs derive is of what the settings class there makes, with its defaults."""
    described = installed.pipeline.description
    assert len(installed.settings_digest) == 64
    assert installed.settings_digest == described.settings != settings_digest(installed.pipeline.settings)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package_there", "No module named 'no_such_package_there'"),
        ("import os; os._exit(3)", "exit code 3"),
        ("class Pipeline: pass", "takes subclasses of AbstractPipeline"),
        (PRELUDE + "class Pipeline(AbstractPipeline):\n  def process(self, inputs): pass", "names no inputs"),
    ],
)
def test_a_plugin_that_is_broken(
    environments: Environments,
    isolation: Isolation,
    source: str,
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    """A plugin of another environment that cannot be used is a configuration error with its reason."""
    path = environments.make(f"broken{abs(hash(source))}", "1.0", broken=source)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        isolation.pipeline("broken", path, settings={})


def test_a_plugin_that_is_not_there(isolation: Isolation, environment: Path) -> None:
    """A name that nobody registers there is told with the names that there are."""
    with pytest.raises(ConfigurationError, match=r"no installed plugin registers 'nobody'.*elsewhere"):
        isolation.pipeline("nobody", environment, settings={})


def test_environments_that_cannot_be_used(environments: Environments, tmp_path: Path) -> None:
    """A folder that is no environment, one without the host, or with another: each says what to do."""
    with pytest.raises(ConfigurationError, match=r"no virtual environment.*python -m venv"):
        ready_environment(tmp_path, tmp_path)
    make_environment(environments.root / "bare", borrow=False)
    with pytest.raises(ConfigurationError, match=r"has no dicomnode-host.*pip install dicomnode-host=="):
        ready_environment(environments.root / "bare", tmp_path)
    packages = make_environment(environments.root / "old", borrow=False)
    (packages / "dicomnode_host-0.0.1.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: dicomnode-host\nVersion: 0.0.1\n"
    (packages / "dicomnode_host-0.0.1.dist-info" / "METADATA").write_text(metadata)
    with pytest.raises(ConfigurationError, match=r"has dicomnode-host 0\.0\.1, and needs"):
        ready_environment(environments.root / "old", tmp_path)


def test_a_host_says_which_key_is_wrong(environment: Path, tmp_path: Path) -> None:
    """What is wrong with an environment's pipeline names the key of the configuration."""
    for table, said in (
        ({"environment": tmp_path}, "pipelines.elsewhere: .*no virtual environment"),
        (
            {"environment": environment, "settings": {"colour": 1}},
            r"pipelines\.elsewhere\.settings\.colour: unknown",
        ),
        ({"environment": environment, "plugin": "nobody"}, "pipelines.elsewhere: .*nobody"),
    ):
        with (
            pytest.raises(ConfigurationError, match=said),
            LocalHost(tmp_path / "node", {"elsewhere": table}),
        ):
            pass


def test_commands_ask_without_a_host(environment: Path, tmp_path: Path) -> None:
    """``explain`` asks the code of another environment when no host runs; ``check`` describes it."""
    config = tmp_path / "dicomnode.toml"
    data = f"[host]\ndata = {str(tmp_path / 'data')!r}\nreserve = 0\n"
    config.write_text(f"{data}[pipelines.elsewhere]\nenvironment = {str(environment)!r}\n")
    image = mr_slices(1)[0]
    image.InstanceNumber = 13
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    ((path, _),) = write_inputs(tmp_path / "spool", [image])

    def told(command: str, *arguments: str) -> str:
        line = [sys.executable, "-m", "dicomnode.cli", command, "--config", str(config), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "number 13 is not wanted beside 0 others" in told("explain", path)
    assert re.search(r"elsewhere\s+elsewhere 1\.0, called ELSEWHERE", told("check"))


# -- requirements
# ---------------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Write a wheel of a package, as an index would have it."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{each},sha256={digest},{len(text.encode())}\n")
            archive.writestr(each, text)
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find wheels in a folder, and nowhere else; what they need comes from the tests' environment."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "conflicting", {"conflicting.py": "VERSION = '3.0'\n"})
    wheel(folder, "rest", {"rest.pth": borrowed()})
    entry_points = "[dicomnode.pipelines]\nelsewhere = elsewhere:Pipeline\n"
    wheel(
        folder,
        "elsewhere",
        {"elsewhere.py": ELSEWHERE, "elsewhere-1.0.dist-info/entry_points.txt": entry_points},
    )
    own = write_own_wheel(folder)  # once: in a work tree, somebody may be at work
    monkeypatch.setattr("dicomnode.host.isolation.environment.write_own_wheel", lambda _: own)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "NO_DEPS": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.mark.parametrize("as_file", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_environment_is_made_of_requirements(index: Path, tmp_path: Path, as_file: bool) -> None:
    """Requirements become an environment with the very host that asks; it is made once and used again."""
    requirements: Any = ("elsewhere==1.0", "conflicting", "rest")
    if as_file:
        file = tmp_path / "requirements.txt"
        file.write_text("# the pipeline\n\n" + "\n".join(requirements))
        requirements = file
    configured: Callable[[], LocalHost] = lambda: LocalHost(  # noqa: E731 - made twice
        tmp_path / "node", {"elsewhere": {"environment": requirements}}
    )
    with configured() as running:
        made = running.host.configured_pipelines["elsewhere"].environment
        assert made is not None
        assert made.parent == tmp_path / "node" / "data" / "environments"
        assert made.stat().st_mode & 0o077 == 0 or made.parent.stat().st_mode & 0o077 == 0
        assert running.send(mr_slices()) == [0] * 4
        running.wait_for_jobs()
        assert {each.SeriesDescription for each in running.peer.received} == {"made with 3.0"}
    ours = list(made.glob("lib/*/site-packages/dicomnode/host/workers/worker_main.py"))
    assert len(ours) == 1
    before = made.stat().st_mtime_ns
    (index / "elsewhere-1.0-py3-none-any.whl").unlink()
    with configured() as running:
        assert running.host.configured_pipelines["elsewhere"].environment == made
    assert made.stat().st_mtime_ns == before


@pytest.mark.slow
def test_requirements_that_cannot_be_met(index: Path, tmp_path: Path) -> None:
    """What pip cannot do is told in pip's words; nothing half-made is left; options are no requirements."""
    with pytest.raises(ConfigurationError, match=r"(?s)no-such-package.*No matching distribution"):
        ready_environment(("no-such-package==9",), tmp_path / "home")
    with pytest.raises(ConfigurationError, match="pip says"):
        ready_environment(("--target=/",), tmp_path / "home")
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"lock"}
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ready_environment(tmp_path / "binary.txt", tmp_path / "home")


def test_the_own_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    """The wheel of the host has its modules, data and entry points, and the same bytes each time."""
    (tmp_path / "again").mkdir()
    first, second = write_own_wheel(tmp_path), write_own_wheel(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert {"dicomnode/__init__.pyi", "dicomnode/dicom/data/iod_tables.json", "dicomnode/py.typed"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name]
