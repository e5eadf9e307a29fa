"""A site whose scanners are DCMTK: a host, senders that pause or die in the middle, and what came of it.

A job writes down the images that it was given, so a result of a part of a series is seen as what it is.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage, generate_uid

from dicomnode.host.ledger.ledger_reading import LedgerReader
from plugin_factory import PRELUDE, PluginFactory
from programs import program
from receiving import small_dataset
from running_host import RunningHost
from slow_proxy import Proxy, slow_proxy

SOP_CLASSES = {"MR": MRImageStorage, "CT": CTImageStorage, "PT": PositronEmissionTomographyImageStorage}

# A job waits while there is a file hold-<PatientID>, and fails while there is a file fail-<PatientID>.
PLUGIN = (
    PRELUDE
    + """
import json

class MR(AbstractInput):
    required_values = {"Modality": "MR"}

class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class PET(AbstractInput):
    required_values = {"Modality": "PT"}

class Whole(AbstractInput):
    complete_volume = True

class Counted(AbstractInput):
    expected_images = "peer"

class Everything(AbstractInput):
    several_series = several_studies = True

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        folder, patient = Path(os.environ["HOLDS"]), inputs.patient.PatientID
        if (folder / f"hold-{patient}").exists():
            (folder / f"runs-{patient}").touch()
        while (folder / f"hold-{patient}").exists():
            time.sleep(0.01)
        if (folder / f"fail-{patient}").exists():
            raise RuntimeError("the model is missing")
        given = {name: sorted(image.SOPInstanceUID for image in inputs.images(name)) for name in inputs}
        return FileOutput({f"{inputs.job.identity}.json": json.dumps(given)})

class Volume(Pipeline):
    inputs = {"images": Whole}

class AsThePeerSays(Pipeline):
    inputs = {"images": Counted}

class OnlyMR(Pipeline):
    inputs = {"images": MR}

class PETCT(Pipeline):
    inputs = {"ct": CT, "pet": PET}

class Patient(Pipeline):
    inputs = {"images": Everything}
"""
)
PIPELINES = {
    "series": "Pipeline", "volume": "Volume", "counted": "AsThePeerSays", "onlymr": "OnlyMR",
    "petct": "PETCT", "patient": "Patient",
}  # fmt: skip
TABLES = """
[pipelines.series]
ae_title = "SERIES"
settle = "1 s"
attempts = 1
destinations = ["file:{results}"]
[pipelines.patiently]
plugin = "series"
ae_title = "PATIENTLY"
settle = "10 s"
destinations = ["file:{results}"]
[pipelines.witness]
plugin = "series"
ae_title = "WITNESS"
settle = "1 s"
destinations = ["file:{results}"]
[pipelines.volume]
ae_title = "VOLUME"
settle = "1 s"
destinations = ["file:{results}"]
[pipelines.onlymr]
ae_title = "ONLYMR"
settle = "1 s"
on_unwanted = "discard"
destinations = ["file:{results}"]
[pipelines.petct]
ae_title = "PETCT"
settle = "1 s"
destinations = ["file:{results}"]
[pipelines.patient]
ae_title = "PATIENT"
settle = "1 s"
destinations = ["file:{results}"]
"""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Series:
    """Images as files, for DCMTK, and their UIDs."""

    images: Sequence[Dataset]
    files: Sequence[Path]

    @property
    def uid(self) -> str:
        """Its Series Instance UID."""
        return str(self.images[0].SeriesInstanceUID)

    @property
    def uids(self) -> frozenset[str]:
        """Of all its images."""
        return frozenset(str(image.SOPInstanceUID) for image in self.images)

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.files[0].parent

    @property
    def patient(self) -> str:
        """Whose they are."""
        return str(self.images[0].PatientID)

    @property
    def of_study(self) -> dict[str, str]:
        """What another series of its study has in common with it."""
        return {"PatientID": self.patient, "StudyInstanceUID": str(self.images[0].StudyInstanceUID)}


@dataclass
class PausedSender:
    """A storescu that stands still on its open association: it waits for the answer to an image.

    Attributes
    ----------
    process : subprocess.Popen
    proxy : Proxy
        Between it and the host.
    """

    process: subprocess.Popen[str]
    proxy: Proxy

    def go_on(self, until: int | None = None) -> None:
        """Let it send until the host has stored so many images; by default all, and release."""
        self.proxy.hold(until)
        if until is None:
            output, _ = self.process.communicate(timeout=60)
            assert self.process.returncode == 0, output
        else:
            self.proxy.wait_held()

    def fail(self) -> None:
        """Let it find out that the host is gone."""
        self.proxy.hold(None)
        self.process.communicate(timeout=60)
        assert self.process.returncode != 0

    def kill(self) -> None:
        """Kill it: nobody releases the association, or aborts it."""
        self.process.kill()
        self.process.communicate(timeout=60)


class Site:
    """A host with the pipelines of these tests, and its senders.

    Parameters
    ----------
    directory : pathlib.Path
    tables : str
        Further tables of its configuration; ``{results}`` is the folder of all results.
    """

    def __init__(self, directory: Path, tables: str = "") -> None:
        self.directory, self.results = directory, directory / "results"
        plugins = PluginFactory(directory / "plugins")
        plugins.add("gathering", PLUGIN, pipelines=PIPELINES)
        environment = {"HOLDS": str(directory), "PYTHONPATH": str(plugins.folder)}
        self.host = RunningHost(
            directory / "host", (TABLES + tables).format(results=self.results), environment=environment
        )

    # -- senders ------------------------------------------------------------------------------------------

    def series(self, count: int, modality: str = "MR", **values: Any) -> Series:
        """Write a new series of a volume, of a new patient and study unless they are given."""
        number = next(_numbers)
        folder = self.directory / "sent" / f"{number:03}"
        folder.mkdir(parents=True)
        common = {
            "PatientID": f"G{number:06}",
            "StudyInstanceUID": generate_uid(),
            "SeriesInstanceUID": generate_uid(),
            "Modality": modality,
            "SOPClassUID": SOP_CLASSES[modality],
            **values,
        }
        images, files = [], []
        for index in range(count):
            place = {"InstanceNumber": index + 1, "ImagePositionPatient": [-80.0, -90.0, 5.0 * index]}
            image = small_dataset(**place, **common)
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
            del image[0xFFFCFFFC]  # padding, which DCMTK does not send
            files.append(folder / f"{index:03}.dcm")
            pydicom.dcmwrite(files[-1], image, enforce_file_format=True)
            images.append(image)
        return Series(images, files)

    def storescu(self, title: str, *files: Path, abort: bool = False) -> None:
        """Send files, or what is in folders, over one association; all of it is stored."""
        options = ["--abort"] if abort else []
        self._sent("storescu", *options, "-aec", title, "+sd", "127.0.0.1", self.host.port, *files)

    def dcmsend(self, title: str, *files: Path) -> None:
        """Send files, or what is in folders, with the other of DCMTK's senders."""
        self._sent("dcmsend", "-aec", title, "+sd", "127.0.0.1", self.host.port, *files)

    def _sent(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def paused(self, title: str, files: Sequence[Path], after: int) -> Iterator[PausedSender]:
        """Send files, and stand still when the host has stored some; with 0, when it has been associated."""
        with slow_proxy(self.host.port, hold_at=after) as proxy:
            command = [program("storescu"), "-aec", title, "127.0.0.1", str(proxy.port), *map(str, files)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                proxy.wait_held()
                yield PausedSender(process, proxy)
            finally:
                process.kill()
                process.communicate()

    # -- what came of it ----------------------------------------------------------------------------------

    @contextmanager
    def _ledger(self) -> Iterator[LedgerReader]:
        reader = LedgerReader(self.host.data / "ledger.sqlite")
        try:
            yield reader
        finally:
            reader.close_reader()

    def jobs(self, *series: Series) -> list[tuple[str, frozenset[str]]]:
        """Return state and images of each job that has an image of some series."""
        uids = frozenset[str]().union(*(each.uids for each in series))
        with self._ledger() as ledger:
            found = [
                (job.state.value, frozenset(row.SOPInstanceUID for row in ledger.instances(job=job.id)))
                for job in ledger.jobs()
            ]
        return [(state, held) for state, held in found if held & uids]

    def wait_delivered(self, *groups: Series | Sequence[Series]) -> None:
        """Wait until each group, whole, was given to a job of its own that is delivered, and to no other.

        Parameters
        ----------
        *groups : Series or sequence of Series
            What belongs together.
        """
        wanted = [frozenset().union(*(each.uids for each in _series_of(group))) for group in groups]
        series = [each for group in groups for each in _series_of(group)]
        expected = Counter(("delivered", uids) for uids in wanted)
        wait_for(lambda: Counter(self.jobs(*series)) == expected, lambda: self._explained(*series))
        ours = frozenset().union(*wanted)
        assert Counter(given for given in self.given() if given & ours) == Counter(wanted)

    def _explained(self, *series: Series) -> str:
        found = [f"{state}: {len(uids)} images" for state, uids in self.jobs(*series)]
        return f"jobs: {found}\nwaiting: {self.waiting(*series)}\n{self.host.text()}"

    def given(self) -> list[frozenset[str]]:
        """Return the images of each result that was delivered."""
        found = [json.loads(path.read_text()) for path in self.results.rglob("*.json")]
        return [frozenset(uid for uids in each.values() for uid in uids) for each in found]

    def waiting(self, *series: Series) -> list[dict[str, Any]]:
        """Return what ``status --patients`` says of the containers of some patients."""
        patients = {each.patient for each in series}
        return [
            entry
            for pipeline in self.host.ask("status", patients=True)["pipelines"].values()
            for entry in pipeline["patients"]
            if entry["container_key"].partition("/")[0] in patients
        ]

    def wait_in_no_job(self, series: Series, *expected: tuple[str, int, str]) -> None:
        """Wait until ``status`` says this of the images of a series that no job gets.

        Parameters
        ----------
        series : Series
        *expected : (str, int, str)
            Outcome, number of images, and a pattern for the reason.
        """

        def said() -> bool:
            found = self.in_no_job(series)
            return len(found) == len(expected) and all(
                each[:2] == wanted[:2] and re.fullmatch(wanted[2], each[2])
                for each, wanted in zip(found, expected, strict=True)
            )

        wait_for(said, lambda: f"{self.in_no_job(series)}\n{self.host.text()}")

    def in_no_job(self, series: Series) -> list[tuple[str, int, str]]:
        """Return outcome, number of images and reason of what ``status`` says of a series without a job."""
        recorded = json.loads(self.command("status", "--patients", "--json"))["ledger"]
        return [
            (each["outcome"], each["images"], each["reason"])
            for pipeline in recorded["pipelines"].values()
            for each in pipeline.get("unprocessed_series", ())
            if each["SeriesInstanceUID"] == series.uid
        ]

    def command(self, *arguments: str) -> str:
        """Run ``dicomnode-host`` beside the host; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "dicomnode.cli", *arguments, "--config", str(self.host.config)],
            env=self.host.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pass_settle(self) -> None:
        """Return when a series that was sent now has settled: so has all that came before it."""
        witness = self.series(1)
        self.storescu("WITNESS", *witness.files)
        self.wait_delivered(witness)

    # -- what jobs do -------------------------------------------------------------------------------------

    def hold_jobs(self, patient: str) -> None:
        """Keep the jobs of a patient from ending."""
        (self.directory / f"hold-{patient}").touch()

    def wait_running(self, patient: str) -> None:
        """Wait until such a job runs."""
        wait_for((self.directory / f"runs-{patient}").exists)

    def let_jobs_end(self, patient: str) -> None:
        """Let them end."""
        (self.directory / f"hold-{patient}").unlink()


def _series_of(group: Series | Sequence[Series]) -> Sequence[Series]:
    return [group] if isinstance(group, Series) else group


def wait_for(condition: Callable[[], object], told: Callable[[], str] = str, seconds: float = 60) -> None:
    """Wait until something holds that other processes bring about, and nobody can await."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
