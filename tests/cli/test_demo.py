"""``dicomnode-host demo``: what it sends, how its host is configured, and what counts as success.

The host itself is a stand-in here, which answers each image and sends what it was made with to the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset

from command_line import write_images
from dicomnode.cli import loopback
from dicomnode.cli.demo import demo
from dicomnode.errors import ConfigurationError, DicomnodeError
from dicomnode.host.configuration.config import Config
from dicomnode.host.foundation.events import Event, Events, Station
from plugin_packages import PluginFolder
from sources import ct_slices

PIPELINE = """
    from dicomnode import AbstractInput, AbstractPipeline, NoOutput

    class Pipeline(AbstractPipeline):
        inputs = {"images": AbstractInput}

        def process(self, inputs):
            return NoOutput()
"""


class Demonstration:
    """The demonstration with a stand-in for its host.

    Parameters
    ----------
    results : pathlib.Path
        Where the files are that the stand-in sends to the peer.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.derived: list[Dataset] = []
        self.status = 0x0000
        self.ending = Event(Station.DELIVERED, "every destination confirmed")
        self.configs: list[Config] = []
        self.sent: list[Path] = []

    def host(self, config: Config, *, events: Events) -> Any:
        """Stand in for the class of hosts."""
        self.configs.append(config)
        self.events = events
        return _Standing()

    def send_files(
        self,
        paths: Iterable[Path],
        address: tuple[str, int],
        called_ae_title: str,
        *,
        calling_ae_title: str,
        sent: Callable[[Path, int], None],
    ) -> None:
        """Answer each image, send the results to the peer, and tell the end."""
        assert (address, called_ae_title, calling_ae_title) == (("127.0.0.1", 1), "ACME", "SCANNER")
        for path in paths:
            self.sent.append(path)
            sent(path, self.status)
        if self.derived:
            peer = self.configs[-1].peers["PACS"]
            files = write_images(self.results, self.derived)
            SEND_FILES(files, (peer.address.host, peer.address.port), peer.ae_title)
        self.events.tell(self.ending)

    def run(self, *arguments: object) -> Result:
        """Run the command with the pipeline ``acme``."""
        return CliRunner().invoke(demo, ["--pipeline", "acme", *map(str, arguments)], standalone_mode=False)


SEND_FILES = loopback.send_files


class _Standing:
    """What stands in for a host."""

    configured_pipelines = {"acme": SimpleNamespace(ae_title="ACME")}
    address = ("127.0.0.1", 1)

    def __enter__(self) -> _Standing:
        return self

    def __exit__(self, *raised: object) -> None: ...


@pytest.fixture
def demonstration(plugins: PluginFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demonstration:
    """Return a demonstration of a pipeline ``acme`` that is installed."""
    plugins.install("acme", {"pipelines": {"acme": "acme:Pipeline"}}, modules={"acme.py": PIPELINE})
    made = Demonstration(tmp_path / "results")
    monkeypatch.setattr("dicomnode.host.host.Host", made.host)
    monkeypatch.setattr("dicomnode.cli.loopback.send_files", made.send_files)
    monkeypatch.setenv("COLUMNS", "250")
    return made


def derived_slices() -> list[Dataset]:
    """Return the CT slices as a derived series of their study."""
    images = ct_slices()
    for number, image in enumerate(images):
        image.SeriesInstanceUID, image.SOPInstanceUID = "1.2.3", f"1.2.3.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return images


def test_a_derived_series_at_the_peer_is_success(demonstration: Demonstration, tmp_path: Path) -> None:
    """Exit code 0; the series and a picture lie in the folder, and the tags are shown."""
    demonstration.derived = derived_slices()
    out = tmp_path / "a" / "folder"
    done = demonstration.run("--out", out)
    assert (done.exception, done.return_value) == (None, 0), done.output
    assert {path.name for path in (out / "derived").iterdir()} == {f"1.2.3.{n}.dcm" for n in range(5)}
    assert (out / "source-and-result.png").read_bytes().startswith(b"\x89PNG")
    assert f"The derived series: {out / 'derived'} (5 instances)" in done.output
    assert f"One source and one result slice, side by side: {out / 'source-and-result.png'}" in done.output
    assert "One slice of the source and of the result" in done.output


def test_a_folder_with_brackets_is_named_as_it_is(demonstration: Demonstration, tmp_path: Path) -> None:
    """Its name is no markup: nothing of it is left out, and it is no error."""
    demonstration.derived = derived_slices()
    out = tmp_path / "[bold]results[" / "b]"
    done = demonstration.run("--out", out)
    assert (done.exception, done.return_value) == (None, 0)
    assert f"The derived series: {out / 'derived'} (5 instances)" in done.output
    assert f"side by side: {out / 'source-and-result.png'}" in done.output


def test_the_series_of_pydicom_is_sent(demonstration: Demonstration, tmp_path: Path) -> None:
    """Five CT slices of one series, in the order of their files."""
    demonstration.run("--out", tmp_path / "out")
    sent = [pydicom.dcmread(path) for path in demonstration.sent]
    assert [image.SOPInstanceUID for image in sent] == [image.SOPInstanceUID for image in ct_slices()]


def test_the_host_is_configured_for_this_machine_only(demonstration: Demonstration, tmp_path: Path) -> None:
    """On loopback, with data in a temporary folder that is gone afterwards, one attempt, to the peer."""
    demonstration.run("--out", tmp_path / "out")
    (config,) = demonstration.configs
    assert str(config.host.bind) == "127.0.0.1:0"
    assert config.peers["PACS"].address.host == "127.0.0.1"
    assert config.pipelines is not None
    (pipeline,) = config.pipelines.values()
    assert (list(config.pipelines), pipeline.attempts) == (["acme"], 1)
    assert not Path(config.host.data).exists()


def test_without_a_folder_a_new_one_is_made(
    demonstration: Demonstration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder for temporary files; it stays, for the user to look at."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    demonstration.derived = derived_slices()
    assert demonstration.run().return_value == 0
    (folder,) = tmp_path.glob("dicomnode-demo-*")
    assert len(list((folder / "derived").iterdir())) == 5


def test_nothing_at_the_peer_is_no_success(demonstration: Demonstration, tmp_path: Path) -> None:
    """Exit code 1, although the host said that it has delivered."""
    done = demonstration.run("--out", tmp_path / "out")
    assert done.return_value == 1
    assert "Nothing arrived at the peer." in done.output


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("SeriesInstanceUID", str(ct_slices()[0].SeriesInstanceUID)), ("StudyInstanceUID", "1.2.9")],
)
def test_what_is_no_derived_series_is_no_success(
    demonstration: Demonstration, tmp_path: Path, keyword: str, value: str
) -> None:
    """The series that was sent, or one of another study: exit code 1, and it says so."""
    demonstration.derived = derived_slices()
    for image in demonstration.derived:
        setattr(image, keyword, value)
    done = demonstration.run("--out", tmp_path / "out")
    assert done.return_value == 1
    assert "What arrived is not a derived series of the study that was sent." in done.output


def test_an_image_that_the_host_refuses_is_an_error(demonstration: Demonstration, tmp_path: Path) -> None:
    """With every status; nothing more is waited for."""
    demonstration.status = 0xA700
    done = demonstration.run("--out", tmp_path / "out")
    assert isinstance(done.exception, DicomnodeError)
    assert str(done.exception) == "; ".join(["the host answered 0xa700"] * 5)


def test_a_job_that_fails_is_an_error(demonstration: Demonstration, tmp_path: Path) -> None:
    """With what the host told of it."""
    demonstration.ending = Event(Station.JOB, "failed (raised)", detail="no model", level=40)
    done = demonstration.run("--out", tmp_path / "out")
    assert isinstance(done.exception, DicomnodeError)
    assert str(done.exception) == "failed (raised) no model"


def test_a_pipeline_that_is_not_installed_is_told(demonstration: Demonstration, tmp_path: Path) -> None:
    """With those that are, and where the example comes from; no host is started."""
    done = CliRunner().invoke(demo, ["--pipeline", "gone", "--out", str(tmp_path)], standalone_mode=False)
    assert isinstance(done.exception, ConfigurationError)
    message = str(done.exception)
    assert message.startswith("the pipeline 'gone' is not installed. Installed are: acme")
    assert message.endswith(
        " (choose with --pipeline). The example that the demonstration runs by default"
        " comes with a copy of the repository: pip install ./examples/smooth"
    )
    assert demonstration.configs == []


def test_where_no_pipeline_is_installed_none_is_offered(
    demonstration: Demonstration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where the example comes from."""
    monkeypatch.setattr("dicomnode.plugins.registry.Registry.names", lambda registry, kind: [])
    done = demonstration.run("--out", tmp_path)
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception).startswith("the pipeline 'acme' is not installed. The example that")


def test_a_pydicom_without_its_series_is_told(
    demonstration: Demonstration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it was looked for."""
    series = tmp_path / "test_files" / "dicomdirtests" / "98892001" / "CT5N"
    series.mkdir(parents=True)
    monkeypatch.setattr("pydicom.data.__file__", str(tmp_path / "__init__.py"))
    done = demonstration.run("--out", tmp_path / "out")
    assert isinstance(done.exception, DicomnodeError)
    assert str(done.exception) == f"pydicom's example series is not in {series}"


def test_a_file_is_no_folder_for_the_result(demonstration: Demonstration, tmp_path: Path) -> None:
    """It is refused as wrong usage, before anything is started."""
    file = tmp_path / "file"
    file.touch()
    done = CliRunner().invoke(demo, ["--pipeline", "acme", "--out", str(file)])
    assert done.exit_code == 2
    assert "Invalid value for '--out'" in done.output
    assert demonstration.configs == []
