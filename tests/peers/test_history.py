"""Earlier images, fetched from Orthanc by a whole host whose pipeline asks for them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, generate_uid

from command_line import wait_until
from dicomnode.host.configuration.config import Config
from dicomnode.host.foundation.events import Event, Events
from dicomnode.host.host import Host
from dicomnode.host.ledger.states import JobState
from dicomnode.pipeline.history_state import HistoryState
from orthanc_peer import orthanc
from plugin_factory import PRELUDE, PluginFactory
from raw_peer import ACCEPTED, RELEASED, RawPeer
from receiving import encoded, free_port, small_dataset

pytestmark = pytest.mark.peers

COMPARE = (
    PRELUDE
    + """
import json
from dicomnode.pipeline.historic import HistoricAbstractInput

class Now(AbstractInput):
    required_values = {"Modality": "MR"}
    expected_images = 3

class Earlier(HistoricAbstractInput):
    required_values = {"Modality": "MR"}
    fetch_retry = 0.2
    fetch_attempts = 2
    fetch_timeout = 20.0

class Required(Earlier):
    when_nothing = "required"

class Optional(Earlier):
    when_failed = "optional"

class Series(Earlier):
    level = "series"

    def query(self, image):
        return {"StudyDate": "20190101-", "Modality": "MR", "SeriesDescription": "T1*"}

    def choose(self, found, image):
        return [each for each in super().choose(found, image) if each.SeriesDescription == "T1 wanted"]

class Raising(Earlier):
    def query(self, image):
        return None

class RaisingChoice(Earlier):
    def choose(self, found, image):
        raise ZeroDivisionError("P1")

class Told(AbstractPipeline):
    def process(self, inputs):
        told = {name: [str(i.SOPInstanceUID) for i in inputs.images(name)] for name in inputs}
        return FileOutput({f"{inputs.job.id}.json": json.dumps(told)})

class Compare(Told):
    inputs = {"now": Now, "earlier": Earlier}

class CompareRequired(Told):
    inputs = {"now": Now, "earlier": Required}

class CompareOptional(Told):
    inputs = {"now": Now, "earlier": Optional}

class CompareSeries(Told):
    inputs = {"now": Now, "earlier": Series}

class CompareRaising(Told):
    inputs = {"now": Now, "earlier": Raising}

class CompareRaisingChoice(Told):
    inputs = {"now": Now, "earlier": RaisingChoice}

class CompareLater(Told):
    inputs = {"now": Now, "earlier": Earlier}
    sorts_before_answer = False
"""
)
CLASSES = (
    "Compare",
    "CompareRequired",
    "CompareOptional",
    "CompareSeries",
    "CompareLater",
    "CompareRaising",
    "CompareRaisingChoice",
)


def study(
    count: int, patient: str = "P1", date: str = "20200101", description: str = "T1 wanted", **values: Any
) -> list[Dataset]:
    """Return the images of a new study of one series."""
    same = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **values}
    return [
        small_dataset(PatientID=patient, StudyDate=date, SeriesDescription=description, **same)
        for _ in range(count)
    ]


def uids(images: list[Dataset]) -> list[str]:
    return sorted(str(image.SOPInstanceUID) for image in images)


@dataclass
class ConfiguredPipeline:
    """A running host, with what it told and what its pipeline saw."""

    host: Host
    results: Path
    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, event: Event) -> None:
        """Remember an event."""
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_event(self, text: str, count: int = 1, seconds: float = 40) -> None:
        """Wait until so many messages or details hold a text."""

        def enough() -> bool:
            return sum(text in f"{each.message} {each.detail}" for each in self.events) >= count

        with self.changed:
            assert self.changed.wait_for(enough, seconds), [
                (each.station.value, each.message, each.detail) for each in self.events
            ]

    def send(self, images: list[Dataset], *, abort: bool = False) -> None:
        """Send images from a scanner."""
        with RawPeer(self.host.address) as scanner:
            assert scanner.associate(called=b"COMPARE") == ACCEPTED
            for image in images:
                assert scanner.store(str(image.SOPInstanceUID), encoded(image)) == 0
            if not abort:
                assert scanner.release() == RELEASED

    def wait_seen(self, count: int = 1, seconds: float = 40) -> list[dict[str, list[str]]]:
        """Wait for so many results, and return what each job's inputs held."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = sorted(self.results.rglob("*.json")) if self.results.is_dir() else []
            if len(found) >= count:
                seen = [json.loads(path.read_text()) for path in found]
                return [{name: sorted(each) for name, each in one.items()} for one in seen]
            time.sleep(0.05)
        pytest.fail(str([(each.station.value, each.message, each.detail) for each in self.events]))

    def state(self) -> HistoryState | None:
        """Return how far the fetching for P1 is, as the tree knows it."""
        (tree,) = self.host.trees.values()
        status = tree.history("P1", "earlier")
        return None if status is None else status.state

    def recorded(self) -> list[str]:
        """Return the states of all fetchings, as the ledger has them."""
        self.host.ledger.flush()
        with self.host.ledger.snapshot() as connection:
            return [row[0] for row in connection.execute("SELECT state FROM history ORDER BY id")]


@contextmanager
def configured(
    directory: Path, pacs_port: int, port: int, plugin: str = "Compare", retrieve: str = "move"
) -> Iterator[ConfiguredPipeline]:
    """Run a host whose pipeline COMPARE fetches from a PACS."""
    plugins = PluginFactory(directory / "plugins")
    plugins.add("compare", COMPARE, pipelines={each.lower(): each for each in CLASSES})
    results = directory / "results"
    config = Config.model_validate(
        {
            "host": {
                "bind": f"127.0.0.1:{port}",
                "data": str(directory / "data"),
                "reserve": 0,
                "settle": 0,
            },
            "peers": {
                "PACS": {
                    "ae_title": "ORTHANC",
                    "address": f"127.0.0.1:{pacs_port}",
                    "timeout": 2,
                    "retrieve": retrieve,
                }
            },
            "delivery": {"first_retry": 0.2, "longest_retry": 1},
            "pipelines": {
                "compare": {
                    "plugin": plugin.lower(),
                    "ae_title": "COMPARE",
                    "destinations": [f"file:{results}"],
                }
            },
        }
    )
    with plugins.installed():
        events = Events()
        host = Host(config, events=events)
        made = ConfiguredPipeline(host, results)
        events.listen(made.note)
        with host:
            yield made


def pacs(directory: Path, host_port: int, **options: Any) -> Any:
    """Run an Orthanc that knows the host."""
    place = {"Host": "127.0.0.1", "Port": host_port}
    modalities: Mapping[str, Mapping[str, Any]] = {
        "node": {"AET": "DICOMNODE", **place},
        "compare": {"AET": "COMPARE", **place},
    }
    return orthanc(directory / "orthanc", modalities=modalities, **options)


@pytest.mark.parametrize("plugin", ["Compare", "CompareLater"])
def test_earlier_studies_are_fetched(tmp_path: Path, plugin: str) -> None:
    """The job gets the patient's earlier studies, each image in its own input, and nobody else's."""
    port = free_port()
    now, earlier, older = study(3, date="20240101"), study(2, date="20200101"), study(1, date="20100101")
    later, other = study(1, date="20250101"), study(2, patient="P2")
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port, plugin) as host:
        archive.store(*earlier, *older, *later, *other, *now)
        host.send(now)
        (seen,) = host.wait_seen()
        assert seen == {"now": uids(now), "earlier": uids(earlier + older)}
        assert host.recorded() == ["over"]
        host.wait_event("earlier: fetched: 3 images")


@pytest.mark.parametrize("plugin", ["Compare", "CompareLater"])
def test_by_c_get(tmp_path: Path, plugin: str) -> None:
    """By C-GET the PACS need not know where to send; compressed images come as they are kept."""
    port = free_port()
    now, earlier = study(3, date="20240101"), study(2, date="20200101")
    compressed = study(1, date="20190101")
    compressed[0].compress(JPEGLSLossless, generate_instance_uid=False)
    mixed = study(1, date="20180101", Modality="OT")
    with orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True) as archive:
        archive.store(*earlier, *compressed, *mixed, *now)
        with configured(tmp_path, archive.port, port, plugin, retrieve="get") as host:
            host.send(now)
            (seen,) = host.wait_seen()
            host.wait_event("fetched: 3 images; the input's rules refused 1")
            assert seen == {"now": uids(now), "earlier": uids(earlier + compressed)}


def test_a_pacs_that_dies_during_a_c_get(tmp_path: Path) -> None:
    """A PACS that is killed while it sends: the patient waits, and has all after it came back."""
    port, pacs_port = free_port(), free_port()
    now, earlier = study(3, date="20240101"), study(200, date="20200101")
    allowed = {"DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True}
    with orthanc(tmp_path / "orthanc", port=pacs_port, **allowed) as archive:
        archive.store(*earlier)
        with configured(tmp_path, pacs_port, port, retrieve="get") as host:
            host.send(now)
            host.wait_event("an image is in the spool", count=20)
            archive.process.kill()
            archive.process.wait(10)
            host.wait_event("earlier: failed")
            assert not host.host.ledger.jobs()
            with orthanc(tmp_path / "orthanc", port=pacs_port, **allowed):
                (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(earlier)}


def test_nothing_earlier(tmp_path: Path) -> None:
    """Where the PACS has nothing the job starts without, or the patient waits and says why."""
    port = free_port()
    now = study(3)
    with pacs(tmp_path, port) as archive:
        archive.store(*study(2, patient="P2"))
        with configured(tmp_path / "optional", archive.port, port) as host:
            host.send(now)
            assert host.wait_seen() == [{"now": uids(now), "earlier": []}]
        with configured(tmp_path / "required", archive.port, port, "CompareRequired") as host:
            host.send(now)
            host.wait_event("earlier: there are no earlier images: PACS has none")
            assert host.recorded() == ["nothing"]
            assert not host.host.ledger.jobs()


def test_a_pacs_that_is_down(tmp_path: Path) -> None:
    """Nothing there and failed are told apart: the patient waits until the PACS is up, or goes without."""
    port, pacs_port = free_port(), free_port()
    now, earlier = study(3, date="20240101"), study(2)
    with pacs(tmp_path, port, port=pacs_port) as archive:
        archive.store(*earlier)
    with configured(tmp_path / "optional", pacs_port, port, "CompareOptional") as host:
        host.send(now)
        assert host.wait_seen() == [{"now": uids(now), "earlier": []}]
        host.wait_event("earlier: failed: PACS: no association")
    with configured(tmp_path / "required", pacs_port, port) as host:
        host.send(now)
        host.wait_event("earlier: failed: PACS: no association")
        host.wait_event("earlier images could not be fetched")
        assert host.state() is HistoryState.FAILED
        assert not host.host.ledger.jobs()
        with pacs(tmp_path, port, port=pacs_port):
            (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(earlier)}


def test_a_restart_goes_on_fetching(tmp_path: Path) -> None:
    """The host stops while the PACS is silent; the next one asks again, and the job gets all."""
    port = free_port()
    now, earlier = study(3, date="20240101"), study(2)
    with pacs(tmp_path, port) as archive:
        archive.store(*earlier)
        os.kill(archive.process.pid, signal.SIGSTOP)
        with configured(tmp_path, archive.port, port) as host:
            host.send(now)
            host.wait_event("earlier images are being fetched")
            wait_until(lambda: host.recorded() == ["fetching"])  # entered by the ledger's own thread
        os.kill(archive.process.pid, signal.SIGCONT)
        with configured(tmp_path, archive.port, port) as host:
            (seen,) = host.wait_seen()
            assert seen == {"now": uids(now), "earlier": uids(earlier)}
            assert host.recorded() == ["over"]


def test_a_restart_after_fetching(tmp_path: Path) -> None:
    """What was fetched before a restart is known after it, and is not asked for again."""
    port = free_port()
    now, earlier = study(3, date="20240101"), study(2)
    with pacs(tmp_path, port) as archive:
        archive.store(*earlier)
        with configured(tmp_path, archive.port, port) as host:
            host.send(now[:2])
            host.wait_event("earlier: fetched")
            assert not host.host.ledger.jobs()
    with configured(tmp_path, archive.port, port) as host:
        assert host.state() is HistoryState.FETCHED
        host.send(now[2:])
        (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(earlier)}


def test_earlier_images_do_not_complete_an_abort(tmp_path: Path) -> None:
    """The patient's own images were cut off by an abort: that the earlier ones are here starts no job."""
    port = free_port()
    now, earlier = study(3, date="20240101"), study(2)
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port) as host:
        archive.store(*earlier)
        host.send(now, abort=True)
        host.wait_event("earlier: fetched")
        time.sleep(1)
        assert not host.host.ledger.jobs()
        host.send(now)
        (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(earlier)}


def test_series_that_query_and_choice_pick(tmp_path: Path) -> None:
    """At series level the author's query and choice pick one series of several; the rules refuse the rest."""
    port = free_port()
    now = study(3, date="20240101")
    wanted = study(2, date="20200101")
    shared = wanted[0].StudyInstanceUID
    unwanted = study(2, date="20200101", description="T1 other", StudyInstanceUID=shared)
    scout = study(1, date="20200101", description="Scout", StudyInstanceUID=shared)
    too_old = study(1, date="20180101")
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port, "CompareSeries") as host:
        archive.store(*wanted, *unwanted, *scout, *too_old)
        host.send(now)
        (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(wanted)}


def test_what_the_rules_refuse_is_not_missed(tmp_path: Path) -> None:
    """A study that holds other modalities, too, is fetched when all that the input's rules want is here."""
    port = free_port()
    now, earlier = study(3, date="20240101"), study(2)
    mixed = study(2, Modality="OT", StudyInstanceUID=earlier[0].StudyInstanceUID)
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port) as host:
        archive.store(*earlier, *mixed)
        host.send(now)
        (seen,) = host.wait_seen()
        host.wait_event("fetched: 2 images; the input's rules refused 2")
    assert seen == {"now": uids(now), "earlier": uids(earlier)}


def test_a_patient_id_that_looks_like_a_wildcard(tmp_path: Path) -> None:
    """A Patient ID with an asterisk does not fetch the images of others."""
    port = free_port()
    now, own, others = study(3, patient="P*", date="20240101"), study(1, patient="P*"), study(2, patient="P2")
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port) as host:
        archive.store(*own, *others)
        host.send(now)
        (seen,) = host.wait_seen()
    assert seen == {"now": uids(now), "earlier": uids(own)}


def test_a_destination_that_the_pacs_does_not_know(tmp_path: Path) -> None:
    """A PACS that does not know the pipeline's AE title: the reason says what to enter there."""
    port = free_port()
    modalities = {"node": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": port}}
    with orthanc(tmp_path / "orthanc", modalities=modalities) as archive:
        archive.store(*study(2))
        with configured(tmp_path, archive.port, port) as host:
            host.send(study(3, date="20240101"))
            host.wait_event("earlier: failed: ")
            (message,) = [each.message for each in host.events if "earlier: failed" in each.message]
    assert "P1" not in message


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        ("CompareRaising", "Raising.query: TypeError"),
        ("CompareRaisingChoice", "RaisingChoice.choose: ZeroDivisionError"),
    ],
)
def test_an_author_who_raises(tmp_path: Path, plugin: str, told: str) -> None:
    """Query or choice of the author raises: the fetching fails with that reason, and reception goes on."""
    port = free_port()
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port, plugin) as host:
        host.send(study(3))
        host.wait_event(f"earlier: failed: {told}")
        host.send(study(1, patient="P2"))
        assert not any("P1" in event.message for event in host.events)


def test_the_next_visit(tmp_path: Path) -> None:
    """A patient who comes again gets a job of his own, with all that is earlier by then."""
    port = free_port()
    first, second, earlier = study(3, date="20230101"), study(3, date="20240101"), study(2)
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port) as host:
        archive.store(*earlier)
        host.send(first)
        host.wait_seen()
        deadline = time.monotonic() + 20
        while host.host.ledger.jobs(JobState.BUILT) and time.monotonic() < deadline:
            time.sleep(0.05)
        archive.store(*first)
        host.send(second)
        seen = host.wait_seen(2)
        assert host.recorded() == ["over", "over"]
    assert seen == [
        {"now": uids(first), "earlier": uids(earlier)},
        {"now": uids(second), "earlier": uids(earlier + first)},
    ]


def test_images_that_another_job_holds(tmp_path: Path) -> None:
    """Earlier images that are inputs of a job not yet over are waited for, and fetched once it is."""
    port = free_port()
    first, second, earlier = study(3, date="20230101"), study(3, date="20240101"), study(2)
    with pacs(tmp_path, port) as archive, configured(tmp_path, archive.port, port) as host:
        archive.store(*earlier)
        host.results.write_text("a file where the results folder should be")
        host.send(first)
        host.wait_event("cannot be used")
        host.send(second)
        host.wait_event("they are inputs of a job that is not over")
        assert len(host.host.ledger.jobs()) == 1
        host.results.unlink()
        seen = host.wait_seen(2, seconds=60)
    assert seen == [
        {"now": uids(first), "earlier": uids(earlier)},
        {"now": uids(second), "earlier": uids(earlier)},
    ]
