"""The whole route under faults: a host with a light pipeline, senders that remember, and what must hold.

The pipeline ``three`` takes three images of a patient and makes one small image of them, whose UID the test
can foretell. Its input knows that there are three, which proves that it is whole; that of :data:`UNPROVEN`
takes any number, so that only its senders say when that is all. Senders send patients over raw associations
and keep what was answered with Success, with the SHA-256 of the data set as it was sent. :meth:`Route.check`
compares that with disk, ledger and destinations.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydicom import dcmread
from pydicom.uid import UID

from dicomnode.dicom.values.uids import UIDSource
from dicomnode.host.configuration.result_content import content_digest, settings_digest
from dicomnode.host.foundation.failpoints import VARIABLE
from dicomnode.host.jobs.job_identity import job_identity
from dicomnode.host.ledger.ledger_reading import LedgerReader
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.states import InstanceState
from dicomnode.plugins.registry import Registration
from plugin_factory import PluginFactory
from raw_peer import ACCEPTED, RELEASED, RawPeer, check_echo
from receiving import dataset_bytes, encoded, small_dataset
from running_host import HostEndedError, RunningHost

TITLE = "THREE"
IMAGES = 3
"""How many images make a patient of the pipeline complete."""

_HAS_A_FILE = {
    InstanceState.RECEIVED,
    InstanceState.WAITING,
    InstanceState.IN_JOB,
    InstanceState.QUARANTINED,
}

PIPELINE = '''
from pathlib import Path
from pydicom.dataset import Dataset
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.pipeline.outputs import DicomOutput

class Images(AbstractInput):
    expected_images = 3
    several_series = True

class Pipeline(AbstractPipeline):
    """One image out of three."""
    ae_title = "THREE"
    inputs = {"images": Images}
    gather_by = "patient"
    iod_check = "off"

    def process(self, inputs):
        uids = UIDSource.derived(inputs.job.identity)
        result = Dataset()
        source = inputs["images"][0]
        for keyword in (
            "SOPClassUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
            "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "Modality",
        ):
            setattr(result, keyword, source.get(keyword) or "")
        result.SOPInstanceUID, result.SeriesInstanceUID = uids.uid("result"), uids.uid("series")
        result.SeriesNumber, result.InstanceNumber = 100, len(inputs["images"])
        result.Rows = result.Columns = result.BitsAllocated = result.BitsStored = 8
        result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
        result.HighBit, result.PixelRepresentation, result.PixelData = 7, 0, bytes(64)
        result.file_meta = source.file_meta
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
        return DicomOutput(result)
'''

UNPROVEN = PIPELINE.replace("    expected_images = 3\n", "")
"""The same pipeline, to which nothing says how many images there are."""


@dataclass(frozen=True)
class Instance:
    """An instance of a patient, as it is sent."""

    uid: str
    patient: str
    data: bytes

    @property
    def sha256(self) -> str:
        """The digest of its data set."""
        return hashlib.sha256(self.data).hexdigest()


@cache
def _template() -> bytes:
    """Return a small image's bytes, with a UID and a patient's ID that can be overwritten in place."""
    pixels = bytes(2 * 32 * 32)
    dataset = small_dataset(
        SOPInstanceUID="1.2.3.4.100000.9", PatientID="P000000", Rows=32, Columns=32, PixelData=pixels
    )
    return encoded(dataset)


def images_of(number: int, count: int = IMAGES) -> list[Instance]:
    """Return the images of a patient, ten at most."""
    patient = f"P{number:06d}"
    images = []
    for index in range(count):
        uid = f"1.2.3.4.{number + 100_000:06d}.{index}"
        data = _template().replace(b"1.2.3.4.100000.9", uid.encode()).replace(b"P000000", patient.encode())
        images.append(Instance(uid, patient, data))
    return images


def result_uid(images: Iterable[Instance], pipeline: str = "three", version: str = "1.0") -> UID:
    """Return the SOP Instance UID of what a version of the pipeline makes of these images."""
    images = list(images)
    registration = Registration("pipelines", pipeline, "three:Pipeline", "three", version, entry_point=None)
    content = content_digest(registration, None, settings_digest({}))
    identity = job_identity(pipeline, images[0].patient, [image.uid for image in images], content)
    return UIDSource.derived(identity).uid("result")


@dataclass
class Acknowledged:
    """What was answered with Success, by SOP Instance UID; and what was sent at all."""

    instances: dict[str, Instance] = field(default_factory=dict)
    sent: dict[str, Instance] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    """The patients of whom an association was released that had brought every image."""
    statuses: Counter[int | None] = field(default_factory=Counter)

    def patients(self) -> dict[str, list[Instance]]:
        """Return patient -> its acknowledged images."""
        found: dict[str, list[Instance]] = {}
        for instance in list(self.instances.values()):
            found.setdefault(instance.patient, []).append(instance)
        return found

    def complete(self) -> dict[str, list[Instance]]:
        """Return the patients of whom every image was acknowledged."""
        return {patient: images for patient, images in self.patients().items() if len(images) == IMAGES}

    def store(self, peer: RawPeer, image: Instance, number: int = 1) -> int | None:
        """Send one image, and remember the answer."""
        self.sent[image.uid] = image
        status = peer.store(image.uid, image.data, number=number)
        self.statuses[status] += 1
        if status == 0:
            self.instances[image.uid] = image
        return status


class Route:
    """A host with the pipeline ``three``, and all that was sent to it.

    Parameters
    ----------
    directory : pathlib.Path
    config : str
        Further lines of the table ``[pipelines.three]``, and further tables.
    peer : int, optional
        The port of a PACS to which results go besides the folder.
    data : pathlib.Path, optional
        The data directory, when it is not below ``directory``. The folder of the results is beside it.
    host : mapping
        Keys of ``[host]``.
    environment : mapping
        Further environment variables of the host.
    plugin : str
        The text of the pipeline's module.
    pipelines : mapping of str to str
        Its entry points: name -> class.
    patience : float
        Seconds within which the host must have started.
    """

    def __init__(
        self,
        directory: Path,
        config: str = "",
        *,
        peer: int | None = None,
        data: Path | None = None,
        host: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        plugin: str = PIPELINE,
        pipelines: Mapping[str, str] = MappingProxyType({"three": "Pipeline"}),
        patience: float = 60.0,
    ) -> None:
        self.plugins = PluginFactory(directory / "plugins")
        self.plugins.add("three", plugin, pipelines=pipelines)
        self.version = "1.0"
        self.proven = "expected_images" in plugin
        self.results = (directory if data is None else data.parent) / "results"
        destinations = [f"file:{self.results}"] + (["PACS"] if peer else [])
        lines = f"[pipelines.three]\ndestinations = {json.dumps(destinations)}\n{config}\n"
        lines += "[delivery]\nfirst_retry = 0.2\nlongest_retry = 1.0\n"
        if peer:
            lines += f'[peers.PACS]\nae_title = "PACS"\naddress = "127.0.0.1:{peer}"\n'
        given = {**({} if data is None else {"data": str(data)}), **(host or {})}
        path = os.pathsep.join(filter(None, (str(self.plugins.folder), os.environ.get("PYTHONPATH"))))
        self.environment = {"PYTHONPATH": path, **(environment or {})}
        self.host = RunningHost(directory, lines, host=given, environment=self.environment, patience=patience)
        if data is not None:
            self.host.data = data
        self.acknowledged = Acknowledged()
        self.figures: dict[str, Any] = {}
        self.seconds_to_serve: list[float] = []
        self._numbers = itertools.count(1)
        self._whole: set[Path] = set()

    # -- the host -----------------------------------------------------------------------------------------

    def start(self, kill_point: str = "") -> bool:
        """Start the host, have it killed at a point if one is named, and wait until it answers a C-ECHO.

        Returns
        -------
        bool
            Whether it does: with much left to do, it may pass the point before it listens.
        """
        self.host.environment.pop(VARIABLE, None)
        if kill_point:
            self.host.environment[VARIABLE] = kill_point
        began = time.monotonic()
        try:
            self.host.start()
        except HostEndedError:
            if not kill_point:
                raise
            self.died()
            return False
        try:
            check_echo(self.address)
        except (AssertionError, OSError):
            if not kill_point:
                raise
            self.died()
            return False
        self.seconds_to_serve.append(round(time.monotonic() - began, 2))
        return True

    @property
    def address(self) -> tuple[str, int]:
        """Where the host listens."""
        return "127.0.0.1", self.host.port

    def died(self, seconds: float = 60) -> None:
        """Wait until the host has been killed."""
        self.host.wait_ended(-signal.SIGKILL, seconds)

    # -- senders ------------------------------------------------------------------------------------------

    def connect(self, called: str = TITLE, timeout: float = 20.0) -> RawPeer:
        """Associate."""
        peer = RawPeer(self.address, timeout=timeout)
        try:
            assert peer.associate(called=called.encode()) == ACCEPTED
        except BaseException:
            peer.socket.close()
            raise
        return peer

    def new_patient(self, count: int = IMAGES) -> list[Instance]:
        """Return the images of a patient that was not sent before."""
        return images_of(next(self._numbers), count)

    def send(
        self, images: Iterable[Instance], called: str = TITLE, *, release: bool = True
    ) -> list[int | None]:
        """Send images on an association of their own."""
        images = list(images)
        with self.connect(called) as peer:
            statuses = [
                self.acknowledged.store(peer, image, number) for number, image in enumerate(images, 1)
            ]
            if release and None not in statuses and peer.release() == RELEASED:
                self.acknowledged.released |= {
                    patient
                    for patient, count in Counter(image.patient for image in images).items()
                    if count == IMAGES
                }
            return statuses

    def send_patient(self) -> list[Instance]:
        """Send a new patient and return its images."""
        images = self.new_patient()
        self.send(images)
        return images

    @contextmanager
    def senders(self, count: int = 4, patients: int = 1_000_000) -> Iterator[None]:
        """Send so many new patients on some associations at once, until the block ends or the host does."""
        over = threading.Event()
        left = iter(range(patients))

        def work() -> None:
            with suppress(OSError, AssertionError):
                while not over.is_set() and next(left, None) is not None:
                    self.send_patient()

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(60)

    def send_the_rest(self) -> None:
        """Send every patient again whose images were not all acknowledged and released, as a sender does."""
        over = self._due()
        for patient in sorted({image.patient for image in self.acknowledged.sent.values()} - over.keys()):
            assert set(self.send(images_of(int(patient[1:])))) == {0}

    def _due(self) -> dict[str, list[Instance]]:
        """Return the patients that must be processed without another word of a sender.

        Where nothing else proves that they are whole, an association that brought all of it was released.
        """
        complete = self.acknowledged.complete()
        if self.proven:
            return complete
        return {
            patient: images for patient, images in complete.items() if patient in self.acknowledged.released
        }

    # -- what must hold -----------------------------------------------------------------------------------

    def delivered(self) -> list[str]:
        """Return the UIDs of the results in the folder, one for each file."""
        if not self.results.exists():
            return []
        return [path.name.removesuffix(".dcm") for path in self.results.rglob("*.dcm")]

    def kept(self) -> dict[str, Path]:
        """Return data set digest -> file, of every file that has its final name in the spool."""
        found = {}
        for path in (self.host.data / "spool" / "kept").rglob("*.dcm"):
            with suppress(FileNotFoundError):
                found[hashlib.sha256(dataset_bytes(path)).hexdigest()] = path
        return found

    def check_disk(self) -> None:
        """Check I1 while the host is down: each acknowledged instance is whole on disk, or was delivered."""
        kept, delivered = self.kept(), set(self.delivered())
        known = {image.sha256 for image in self.acknowledged.sent.values()}
        torn = [path for digest, path in kept.items() if digest not in known]
        lost = []
        for images in self.acknowledged.patients().values():
            if len(images) == IMAGES and result_uid(images, version=self.version) in delivered:
                continue
            lost += [image.uid for image in images if image.sha256 not in kept]
        self.figures["torn files visible"] = self.figures.get("torn files visible", 0) + len(torn)
        self.figures["lost"] = self.figures.get("lost", 0) + len(lost)
        assert not torn, torn[:3]
        assert not lost, f"{len(lost)} are lost, {lost[0]} first"

    def check_whole(self) -> None:
        """Check that each result that was delivered up to now is of all images of its patient."""
        for path in set(self.results.rglob("*.dcm")) - self._whole:
            result = dcmread(path, stop_before_pixels=True)
            assert result.InstanceNumber == IMAGES, f"a result of {result.InstanceNumber} of {IMAGES} images"
            self._whole.add(path)

    def wait_delivered(self, seconds: float = 60) -> None:
        """Wait until the job of every patient that is due is delivered and nothing is under way."""
        wanted = {str(result_uid(images, version=self.version)) for images in self._due().values()}
        deadline = time.monotonic() + seconds
        while True:
            jobs = self.host.jobs()
            busy = [job for job in jobs if job["state"] not in {"delivered", "discarded"}]
            if not busy and wanted <= set(self.delivered()):
                return
            assert time.monotonic() < deadline, (
                f"{len(wanted - set(self.delivered()))} of {len(wanted)} are not delivered, {busy}:\n"
                + self.host.text()[-6000:]
            )
            time.sleep(0.05)  # a folder and a ledger that other processes write to

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something holds that cannot be awaited."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def check(self, stored: list[str] | None = None) -> None:
        """Check, with everything delivered, that it was what was sent, once, and that all is accounted for.

        Parameters
        ----------
        stored : list of str, optional
            The UIDs that the PACS has, one for each file.
        """
        wanted = Counter(
            str(result_uid(images, version=self.version)) for images in self.acknowledged.complete().values()
        )
        for found in (self.delivered(), *([] if stored is None else [stored])):
            self.figures["duplicate UIDs delivered"] = sum((Counter(found) - wanted).values())
            assert Counter(found) == wanted
        self.check_instances()
        self.check_log()

    def check_instances(self) -> None:
        """Check I6: every acknowledged instance is in exactly one state, and its file is where it says."""
        rows = self.rows()
        for uid in self.acknowledged.instances:
            states = [row.state for row in rows.get(uid, ())]
            assert states, f"{uid} is not in the ledger"
            assert sum(state in _HAS_A_FILE for state in states) <= 1, (uid, states)
            for row in rows[uid]:
                path = self.host.data / "spool" / row.path
                if row.state in _HAS_A_FILE:
                    assert path.exists(), row
                else:  # the ledger says so first, then the file is removed
                    self.wait_for(lambda path=path: not path.exists())

    def check_log(self) -> None:
        """Check I5: neither a control character nor a patient's ID in the log, and no traceback."""
        text = self.host.log.read_text(errors="replace")
        assert not [character for character in text if ord(character) < 32 and character != "\n"]
        assert "P000" not in text
        assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:3000]

    def rows(self) -> dict[str, list[InstanceRecord]]:
        """Return SOP Instance UID -> its rows of the ledger."""
        reader = LedgerReader(self.host.data / "ledger.sqlite")
        try:
            found: dict[str, list[InstanceRecord]] = {}
            for row in reader.instances(*InstanceState):
                found.setdefault(row.SOPInstanceUID, []).append(row)
            return found
        finally:
            reader.close_reader()


@contextmanager
def route(directory: Path, config: str = "", **options: Any) -> Iterator[Route]:
    """Make a route, stop its host at the end, and print its figures."""
    made = Route(directory, config, **options)
    try:
        yield made
    finally:
        process = made.host.process
        if process is not None and process.poll() is None:
            made.host.kill()
        made.figures = {
            "acknowledged": len(made.acknowledged.instances),
            **made.figures,
            "seconds to serve": made.seconds_to_serve,
        }
        print(json.dumps(made.figures))  # noqa: T201 - the figures of a fault test
