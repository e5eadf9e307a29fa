"""The main job, through real parts: DCMTK sends a series to the running host, DCMTK and Orthanc receive."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomnode_example_smooth import gaussian
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode import NumpyGrinder, sort_by_geometry
from dicomnode.cli.loopback import send_files
from orthanc_peer import orthanc
from peer_programs import storescp
from programs import program
from running_host import RunningHost
from sources import ct_slices, mr_slices

pytestmark = pytest.mark.peers

SIGMA = 1.5
PIPELINE = '[pipelines.smooth]\ndestinations = ["PACS", "file:{results}"]\n'
PEER = '[peers.PACS]\nae_title = "{title}"\naddress = "127.0.0.1:{port}"\n'
DELIVERY = "[delivery]\nfirst_retry = 0.2\nlongest_retry = 0.5\n"


def config(directory: Path, port: int, title: str = "PACS") -> str:
    """Return a configuration that sends results to a peer and a folder."""
    results = directory / "results"
    return PEER.format(title=title, port=port) + PIPELINE.format(results=results) + DELIVERY


def written(folder: Path, images: Sequence[Dataset], compression: str | None = None) -> list[Path]:
    """Write images, compressed if a transfer syntax is given."""
    folder.mkdir()
    paths = []
    for number, image in enumerate(images):
        if compression is not None:
            image.compress(compression, generate_instance_uid=False)
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def send(*command: object) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's senders."""
    name, *rest = command
    return subprocess.run(
        [program(str(name)), *map(str, rest)], capture_output=True, text=True, timeout=60, check=False
    )


def results_in(folder: Path) -> list[Dataset]:
    """Read what lies in a folder, in geometric order."""
    return list(
        sort_by_geometry(pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()).images
    )


def check_derived(sources: Sequence[Dataset], derived: Sequence[Dataset]) -> None:
    """Hold a result against its source: place, patient, study are the same, UIDs new, voxels as computed."""
    before = sort_by_geometry(sources).images
    assert len(derived) == len(before)
    for source, result in zip(before, derived, strict=True):
        for keyword in (
            "PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient",
            "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns",
        ):  # fmt: skip
            assert result.get(keyword) == source.get(keyword), keyword
        assert result.ImageType[0] == "DERIVED"
        assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert not {image[keyword].value for image in before} & {image[keyword].value for image in derived}
    assert len({image.SeriesInstanceUID for image in derived}) == 1
    computed = gaussian(np.asarray(NumpyGrinder()(before)), SIGMA)
    step = float(derived[0].RescaleSlope)
    assert np.abs(np.asarray(NumpyGrinder()(derived)) - computed).max() <= step * 0.5001 + 1e-4


def complaints(path: Path) -> set[str]:
    """Return the errors that dciodvfy finds in a file."""
    done = subprocess.run(
        [program("dciodvfy"), path], capture_output=True, text=True, timeout=60, check=False
    )
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}


@pytest.mark.parametrize("sender", ["storescu", "dcmsend"])
def test_a_series_goes_all_the_way(sender: str, tmp_path: Path) -> None:
    """A CT series sent by DCMTK comes out at storescp and in the folder as a valid derived series."""
    files = written(tmp_path / "ct", ct_slices())
    with (
        storescp(tmp_path / "pacs") as pacs,
        RunningHost(tmp_path / "host", config(tmp_path, pacs.port)) as host,
    ):
        done = send(sender, "-aec", "SMOOTH", "127.0.0.1", host.port, *files)
        assert done.returncode == 0, done.stdout + done.stderr
        host.wait_for_jobs(1)
        derived = results_in(pacs.folder)
        check_derived(ct_slices(), derived)
        assert sorted(image.SOPInstanceUID for image in results_in(tmp_path / "results")) == sorted(
            image.SOPInstanceUID for image in derived
        )
        expected = {line for file in files for line in complaints(file)}
        for path in pacs.folder.iterdir():
            assert complaints(path) <= expected
        assert not list((host.data / "spool" / "kept").rglob("*.dcm")), "inputs are released"
        assert set(host.instances().values()) == {"released"}


@pytest.mark.parametrize(
    ("transfer_syntax", "command"),
    [
        (ImplicitVRLittleEndian, ("storescu", "-xi")),
        (RLELossless, ("storescu", "-xr")),
        (JPEG2000Lossless, ("storescu", "-xv")),
        (JPEGLSLossless, ("dcmsend", "--decompress-never")),
        (RLELossless, ("dcmsend", "--decompress-never")),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_transfer_syntaxes(transfer_syntax: str, command: Sequence[str], tmp_path: Path) -> None:
    """A series in any transfer syntax is kept as sent, and gives the same result."""
    compressed = transfer_syntax in {RLELossless, JPEG2000Lossless, JPEGLSLossless}
    files = written(tmp_path / "mr", mr_slices(), transfer_syntax if compressed else None)
    with (
        storescp(tmp_path / "pacs") as pacs,
        RunningHost(tmp_path / "host", config(tmp_path, pacs.port) + "[retention]\ninputs = '1 h'\n") as host,
    ):
        done = send(*command, "-aec", "SMOOTH", "127.0.0.1", host.port, *files)
        assert done.returncode == 0, done.stdout + done.stderr
        host.wait_for_jobs(1)
        check_derived(mr_slices(), results_in(pacs.folder))
        kept = [pydicom.dcmread(path) for path in (host.data / "spool" / "kept").rglob("*.dcm")]
        sent = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, files)}
        assert len(kept) == len(files)
        for image in kept:
            assert image.file_meta.TransferSyntaxUID == transfer_syntax
            original = sent[image.SOPInstanceUID]
            assert image.PixelData == original.PixelData or not compressed
            assert np.array_equal(image.pixel_array, original.pixel_array)


def test_big_endian(tmp_path: Path) -> None:
    """A series in big endian (retired, and still sent) gives the same result."""
    files = written(tmp_path / "mr", mr_slices())
    for path in files:
        assert send("dcmconv", "+tb", path, path).returncode == 0
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    results = tmp_path / "results"
    with RunningHost(tmp_path / "host", PIPELINE.replace('"PACS", ', "").format(results=results)) as host:
        assert set(send_files(files, ("127.0.0.1", host.port), "SMOOTH")) == {0}
        host.wait_for_jobs(1)
    check_derived(mr_slices(), results_in(results))


def test_orthanc_receives(tmp_path: Path) -> None:
    """Orthanc as the PACS holds the derived series in the study of its source."""
    files = written(tmp_path / "ct", ct_slices())
    with (
        orthanc(tmp_path / "orthanc") as pacs,
        RunningHost(tmp_path / "host", config(tmp_path, pacs.port, "ORTHANC")) as host,
    ):
        assert send("storescu", "-aec", "SMOOTH", "127.0.0.1", host.port, *files).returncode == 0
        host.wait_for_jobs(1)
        (study,) = pacs.ask("/studies?expand")
        assert study["MainDicomTags"]["StudyInstanceUID"] == ct_slices()[0].StudyInstanceUID
        assert len(pacs.instances()) == len(files)


def test_echo_and_titles(tmp_path: Path) -> None:
    """C-ECHO works under the host's and the pipeline's AE title; another title is rejected."""
    with RunningHost(tmp_path / "host", PIPELINE.replace('"PACS", ', "").format(results=tmp_path)) as host:
        for title in ("DICOMNODE", "SMOOTH"):
            assert send("echoscu", "-aec", title, "127.0.0.1", host.port).returncode == 0
        refused = send("echoscu", "-aec", "NOBODY", "127.0.0.1", host.port)
        assert refused.returncode != 0
        assert "Called AE Title Not Recognized" in refused.stdout + refused.stderr
        assert "DICOMNODE" in host.text()


def test_bad_input_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    """No PatientID, the wrong modality: refused with a reason; the good images of the same sending go on."""
    images = ct_slices()
    nobody, ultrasound = mr_slices(2)
    nobody.PatientID = ""
    ultrasound.Modality = "US"
    good = written(tmp_path / "good", images)
    bad = written(tmp_path / "bad", [nobody, ultrasound])
    with RunningHost(
        tmp_path / "host", PIPELINE.replace('"PACS", ', "").format(results=tmp_path / "out")
    ) as host:
        for path, words in zip(bad, ("0XC014", "0X0124"), strict=True):
            done = send("storescu", "-d", "-aec", "SMOOTH", "127.0.0.1", host.port, path)
            assert words in (done.stdout + done.stderr).upper(), done.stdout + done.stderr
        done = send("storescu", "--no-halt", "-aec", "SMOOTH", "127.0.0.1", host.port, *bad, *good)
        host.wait_for_jobs(1)
        check_derived(ct_slices(), results_in(tmp_path / "out"))
        assert "PatientID (0010,0020) is missing or empty" in host.text()
        assert images[0].PatientID not in host.text(), "no patient data at INFO"


def test_a_destination_that_is_down(tmp_path: Path) -> None:
    """What cannot be delivered stays in the outbox across a restart, and is delivered once the peer is up."""
    from receiving import free_port

    files = written(tmp_path / "ct", ct_slices())
    port = free_port()
    host = RunningHost(tmp_path / "host", config(tmp_path, port))
    with host:
        assert send("storescu", "-aec", "SMOOTH", "127.0.0.1", host.port, *files).returncode == 0
        host.wait_for_jobs(1, "built")
        host.wait_for_log("undelivered")
        assert len(list((host.data / "outbox").rglob("*.dcm"))) == len(files)
        assert len(list((host.data / "spool" / "kept").rglob("*.dcm"))) == len(files)
    with storescp(tmp_path / "pacs", port=port) as pacs, host:
        host.wait_for_jobs(1, "delivered")
        check_derived(ct_slices(), results_in(pacs.folder))
        assert not list((host.data / "outbox").rglob("*.dcm"))


def test_a_restart_picks_up_what_waits(tmp_path: Path) -> None:
    """Images that wait when the host is stopped are in their tree again after the restart."""
    files = written(tmp_path / "mr", mr_slices(4))
    from plugin_factory import PRELUDE, PluginFactory

    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add(
        "four",
        PRELUDE
        + """
class Four(VolumeInput):
    expected_images = 4

class Pipeline(AbstractPipeline):
    inputs = {"images": Four}

    def process(self, inputs):
        return DicomOutput(NumpyFactory().build_series(inputs.header, inputs["images"]))
""",
    )
    results = tmp_path / "results"
    with plugins.installed():
        host = RunningHost(tmp_path / "host", f'[pipelines.four]\ndestinations = ["file:{results}"]\n')
        with host:
            send("storescu", "-aec", "FOUR", "127.0.0.1", host.port, *files[:2])
            (waiting,) = host.ask("status", patients=True)["pipelines"]["four"]["patients"]
            assert waiting["missing"] == "images: 2 of 4 images"
        with host:
            send("storescu", "-aec", "FOUR", "127.0.0.1", host.port, *files[2:])
            host.wait_for_jobs(1)
    assert len(results_in(results)) == len(files)
