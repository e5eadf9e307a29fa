"""When a job starts, with real senders: whole series, one job each, whatever becomes of associations.

One host serves the tests, each with patients of its own; the one that is killed has a host of its own. A job
writes down the images that it was given, so a result of a part of a series is seen as what it is.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage, generate_uid

from dicomnode.host.ledger.ledger_reading import LedgerReader
from plugin_factory import PRELUDE, PluginFactory
from programs import program
from raw_peer import ABORT, ACCEPTED, MR, RELEASED, RawPeer
from receiving import encoded, small_dataset
from running_host import RunningHost

pytestmark = pytest.mark.peers

SOP_CLASSES = {"MR": MRImageStorage, "CT": CTImageStorage, "PT": PositronEmissionTomographyImageStorage}

# A job waits while there is a file hold-<PatientID>, and fails while there is a file fail-<PatientID>.
PLUGIN = (
    PRELUDE
    + """
import json

class CT(AbstractInput):
    required_values = {"Modality": "CT"}

class PET(AbstractInput):
    required_values = {"Modality": "PT"}

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

class PETCT(Pipeline):
    inputs = {"ct": CT, "pet": PET}

class Patient(Pipeline):
    inputs = {"images": Everything}
"""
)
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


class Site:
    """A host with the pipelines of these tests, and its senders."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.results = directory, directory / "results"
        plugins = PluginFactory(directory / "plugins")
        names = {"series": "Pipeline", "petct": "PETCT", "patient": "Patient"}
        plugins.add("gathering", PLUGIN, pipelines=names)
        environment = {"HOLDS": str(directory), "PYTHONPATH": str(plugins.folder)}
        self.host = RunningHost(
            directory / "host", TABLES.format(results=self.results), environment=environment
        )

    # -- senders ------------------------------------------------------------------------------------------

    def series(self, count: int, modality: str = "MR", **values: Any) -> Series:
        """Write a new series, of a new patient and study unless they are given."""
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
            image = small_dataset(InstanceNumber=index + 1, **common)
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
            del image[0xFFFCFFFC]  # padding, which DCMTK does not send
            files.append(folder / f"{index:03}.dcm")
            pydicom.dcmwrite(files[-1], image, enforce_file_format=True)
            images.append(image)
        return Series(images, files)

    def storescu(self, title: str, *files: Path) -> None:
        """Send files, or what is in folders, over one association; all of it is stored."""
        self._sent("storescu", "-aec", title, "+sd", "127.0.0.1", self.host.port, *files)

    def dcmsend(self, title: str, *files: Path) -> None:
        """Send files, or what is in folders, with the other of DCMTK's senders."""
        self._sent("dcmsend", "-aec", title, "+sd", "127.0.0.1", self.host.port, *files)

    def _sent(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def association(self, title: str = "SERIES") -> Iterator[RawPeer]:
        """Hold an association open; it ends as the test says."""
        with RawPeer(("127.0.0.1", self.host.port)) as peer:
            assert peer.associate(MR, called=title.encode()) == ACCEPTED
            yield peer

    # -- what came of it ----------------------------------------------------------------------------------

    def jobs(self, *series: Series) -> list[tuple[str, frozenset[str]]]:
        """Return state and images of each job that has an image of some series."""
        uids = frozenset[str]().union(*(each.uids for each in series))
        reader = LedgerReader(self.host.data / "ledger.sqlite")
        try:
            found = [
                (job.state.value, frozenset(row.SOPInstanceUID for row in reader.instances(job=job.id)))
                for job in reader.jobs()
            ]
        finally:
            reader.close_reader()
        return [(state, held) for state, held in found if held & uids]

    def wait_delivered(self, *series: Series) -> None:
        """Wait until each series, whole, was given to a job of its own that is delivered, and to no other."""
        wanted = sorted(("delivered", sorted(each.uids)) for each in series)
        found = lambda: sorted((state, sorted(uids)) for state, uids in self.jobs(*series))  # noqa: E731 - short
        wait_for(lambda: found() == wanted, lambda: f"{found()}\n{self.host.text()}")
        results = [given for given in self.given() if given & frozenset().union(*(s.uids for s in series))]
        assert sorted(map(sorted, results)) == [uids for _, uids in wanted]

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


def wait_for(condition: Callable[[], object], told: Callable[[], str] = str, seconds: float = 60) -> None:
    """Wait until something holds that other processes bring about, and nobody can await."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def store(peer: RawPeer, images: Iterable[Dataset]) -> None:
    """Send images on an association that stays open; each is stored."""
    for image in images:
        assert peer.store(image.SOPInstanceUID, encoded(image), sop_class=image.SOPClassUID) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run one host for these tests."""
    made = Site(tmp_path_factory.mktemp("gathering"))
    with made.host:
        yield made
        assert "Traceback" not in made.host.text()


# -- associations -------------------------------------------------------------------------------------------


def test_a_series_over_two_overlapping_associations_is_one_job(site: Site) -> None:
    """Also when the first one is released before the other has brought an image."""
    series = site.series(20)
    with site.association() as first, site.association() as second:
        store(first, series.images[:11])
        assert first.release() == RELEASED
        store(second, series.images[11:])
        site.pass_settle()
        assert site.jobs(series) == []
        assert second.release() == RELEASED
    site.wait_delivered(series)


def test_one_association_an_image_is_one_job(site: Site) -> None:
    """A storescu for each file, one after the other: the end of the last one is waited for."""
    series = site.series(6)
    for file in series.files:
        site.storescu("PATIENTLY", file)
    site.wait_delivered(series)


def test_a_pause_on_an_open_association_starts_nothing(site: Site) -> None:
    """However much longer than the settling time it is."""
    series = site.series(8)
    with site.association() as peer:
        for part in (series.images[:3], series.images[3:5], series.images[5:]):
            store(peer, part)
            site.pass_settle()
            assert site.jobs(series) == []
            (entry,) = site.waiting(series)
            assert entry["open_associations"] == 1
            waits_for = r"the end of 1 association that brought images of it, for at most \d+ s more"
            assert re.fullmatch(waits_for, entry["waits_for"])
        assert peer.release() == RELEASED
    site.wait_delivered(series)


def test_an_abort_completes_nothing_until_the_sender_sends_again(site: Site) -> None:
    """Known images count: what was aborted half way and sent again, whole, is one job of all of them."""
    series = site.series(6)
    with site.association() as peer:
        store(peer, series.images[:4])
        peer.send(ABORT)
        assert peer.receive()[0] == 0
    site.pass_settle()
    (entry,) = site.waiting(series)
    assert (site.jobs(series), entry["held"]) == ([], "interrupted")
    site.dcmsend("SERIES", series.folder)
    site.wait_delivered(series)


def test_a_host_that_is_killed_in_the_middle_waits_for_the_sender(tmp_path: Path) -> None:
    """After the restart time alone completes nothing; the series, sent again, is one job of all of it."""
    site = Site(tmp_path)
    series = site.series(8)
    with site.host:
        with site.association() as peer:
            store(peer, series.images[:5])
            site.host.kill()
        site.host.start()
        site.pass_settle()
        (entry,) = site.waiting(series)
        assert (site.jobs(series), entry["held"]) == ([], "interrupted")
        assert "send them again" in entry["waits_for"]
        site.storescu("SERIES", series.folder)
        site.wait_delivered(series)


# -- again --------------------------------------------------------------------------------------------------


def test_a_series_that_is_sent_again_across_its_delivery_makes_no_job_of_the_rest(site: Site) -> None:
    """What comes while the job runs is known; what comes after the delivery is held, as a part of it."""
    series = site.series(8)
    site.hold_jobs(series.patient)
    site.storescu("SERIES", series.folder)
    site.wait_running(series.patient)
    with site.association() as peer:
        store(peer, series.images[:4])
        site.let_jobs_end(series.patient)
        site.wait_delivered(series)
        store(peer, series.images[4:])
        assert peer.release() == RELEASED
    site.pass_settle()
    site.wait_delivered(series)
    (entry,) = site.waiting(series)
    assert entry["held"] == "part"
    assert "4 of its 8 images" in entry["waits_for"]
    site.host.wait_for_log(r"a container is held: it is a part of job \d+: 4 of its 8 images")
    site.storescu("SERIES", series.folder)  # all of it: the job runs again, under its own UIDs
    wait_for(lambda: site.waiting(series) == [])
    site.wait_delivered(series)


def test_a_series_that_is_sent_again_while_its_job_runs_is_known(site: Site) -> None:
    """Nothing waits for a second job."""
    series = site.series(4)
    site.hold_jobs(series.patient)
    site.storescu("SERIES", series.folder)
    site.wait_running(series.patient)
    site.storescu("SERIES", series.folder)
    site.pass_settle()
    assert site.waiting(series) == []
    site.let_jobs_end(series.patient)
    site.wait_delivered(series)
    site.pass_settle()
    assert [state for state, _ in site.jobs(series)] == ["delivered"]


def test_a_series_that_is_sent_again_after_its_job_has_failed_runs_again(site: Site) -> None:
    """The same job, with the same images: what made it fail may be mended."""
    series = site.series(5)
    fail = site.directory / f"fail-{series.patient}"
    fail.touch()
    site.storescu("SERIES", series.folder)
    wait_for(lambda: site.jobs(series) == [("failed", series.uids)])
    fail.unlink()
    site.storescu("SERIES", series.folder)
    site.wait_delivered(series)
    site.host.wait_for_log(r"the images of job \d+ came again")


# -- which images belong together ---------------------------------------------------------------------------


def test_two_studies_of_a_patient_never_share_a_job(site: Site) -> None:
    """The CT of one and the PET of the other wait apart, each for what it lacks."""
    ct = site.series(3, "CT")
    pet = site.series(3, "PT", PatientID=ct.patient)
    site.storescu("PETCT", ct.folder)
    site.storescu("PETCT", pet.folder)
    site.pass_settle()
    assert site.jobs(ct, pet) == []
    found = {tuple(entry["inputs"].items()): entry["missing"] for entry in site.waiting(ct)}
    assert found == {
        (("ct", 3), ("pet", 0)): "pet: no image yet",
        (("ct", 0), ("pet", 3)): "ct: no image yet",
    }
    own = site.series(3, "PT", PatientID=ct.patient, StudyInstanceUID=ct.images[0].StudyInstanceUID)
    site.storescu("PETCT", own.folder)
    wait_for(lambda: site.jobs(ct, pet, own) == [("delivered", ct.uids | own.uids)])


def test_the_same_modality_of_two_studies_is_two_jobs(site: Site) -> None:
    """Neither is refused because the other one waits."""
    first = site.series(3, "CT")
    second = site.series(4, "CT", PatientID=first.patient)
    site.storescu("SERIES", first.folder, second.folder)
    site.wait_delivered(first, second)


def test_a_study_of_five_series_at_a_pipeline_that_takes_one_is_five_jobs(site: Site) -> None:
    """Nothing is refused, so the sender sends all of it; each series is a job of its own."""
    first = site.series(3)
    of_study = {"PatientID": first.patient, "StudyInstanceUID": first.images[0].StudyInstanceUID}
    series = [first, *(site.series(count, **of_study) for count in (4, 2, 5, 3))]
    site.storescu("SERIES", *(each.folder for each in series))
    site.wait_delivered(*series)


def test_a_second_series_may_come_while_the_first_waits_and_after_it_has_started(site: Site) -> None:
    """Its head and its tail are one job."""
    first = site.series(4)
    of_study = {"PatientID": first.patient, "StudyInstanceUID": first.images[0].StudyInstanceUID}
    second = site.series(6, **of_study)
    with site.association() as one, site.association() as other:
        store(one, first.images)
        store(other, second.images[:3])
        assert one.release() == RELEASED
        site.wait_delivered(first)
        store(other, second.images[3:])
        assert other.release() == RELEASED
    site.wait_delivered(first, second)


def test_two_patients_whose_identifiers_cannot_be_decoded_are_two_jobs(site: Site) -> None:
    """They differ in bytes that are no UTF-8, which they say that they are: a lossy decoding is the same."""
    series = [site.series(3, PatientID="Mxller-1", SpecificCharacterSet="ISO_IR 192") for _ in range(2)]
    for each, letter in zip(series, (b"\xfc", b"\xf6"), strict=True):
        for file in each.files:
            stored = file.read_bytes()
            assert stored.count(b"Mxller-1") == 1
            file.write_bytes(stored.replace(b"Mxller-1", b"M" + letter + b"ller-1"))
    site.storescu("PATIENT", *(each.folder for each in series))
    site.wait_delivered(*series)


def test_two_patients_of_one_number_and_other_issuers_are_two_jobs(site: Site) -> None:
    """A Patient ID is unique for its issuer only."""
    first = site.series(3, IssuerOfPatientID="NORTH")
    second = site.series(3, PatientID=first.patient, IssuerOfPatientID="SOUTH")
    site.storescu("PATIENT", first.folder, second.folder)
    site.wait_delivered(first, second)
