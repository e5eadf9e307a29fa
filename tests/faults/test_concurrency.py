"""Group J: many at once. Each instance is kept whole, once, and is in one job; what comes late is not lost.

One host with a few pipelines serves all tests; each test has patients of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest

from dicomnode.host.ledger.states import InstanceState
from raw_peer import ABORT
from receiving import dataset_bytes
from route_under_fault import PIPELINE, Instance, Route, result_uid, route

SUCCESS, CONFLICT = 0x0000, 0xC020
WAITING, RELEASED, EXPIRED = InstanceState.WAITING, InstanceState.RELEASED, InstanceState.EXPIRED
MANY = 8

# The job of a patient for whom there is a file hold-<PatientID> says that it runs, and waits for its end.
PLUGIN = (
    PIPELINE.replace(
        "        uids = UIDSource",
        """        hold = Path(os.environ["HOLDS"]) / f"hold-{inputs.patient.PatientID}"
        if hold.exists():
            hold.with_name(f"runs-{inputs.patient.PatientID}-{len(inputs['images'])}").touch()
        while hold.exists():
            time.sleep(0.01)
        uids = UIDSource""",
    )
    + """
class AnyNumber(AbstractInput):
    several_series = True

class Unproven(Pipeline):
    inputs = {"images": AnyNumber}

class Joining(Unproven):
    late_images = "join"
"""
)
PLUGIN = (
    """
import os
import time
"""
    + PLUGIN
)
TABLES = """
[pipelines.joining]
ae_title = "JOINING"
destinations = ["file:{results}"]
[pipelines.replacing]
plugin = "three"
ae_title = "REPLACING"
on_conflict = "replace"
[pipelines.again]
ae_title = "AGAIN"
late_images = "new"
destinations = ["file:{results}"]
[pipelines.unproven]
ae_title = "UNPROVEN"
settle = "1 s"
destinations = ["file:{results}"]
[pipelines.impatient]
ae_title = "IMPATIENT"
open_association_wait = "3 s"
destinations = ["file:{results}"]
[pipelines.expiring]
plugin = "three"
ae_title = "EXPIRING"
expires = 1.5
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    directory = tmp_path_factory.mktemp("concurrency")
    tables, environment = TABLES.format(results=directory / "results"), {"HOLDS": str(directory)}
    pipelines = {
        "three": "Pipeline",
        "again": "Pipeline",
        "joining": "Joining",
        "unproven": "Unproven",
        "impatient": "Unproven",
    }
    with route(directory, tables, plugin=PLUGIN, pipelines=pipelines, environment=environment) as running:
        running.holds = directory  # type: ignore[attr-defined]  # kept with the host that it belongs to
        running.start()
        yield running
        running.check_log()
        running.host.stop()


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Do things at the same moment, each on a thread; return what they gave."""
    together = threading.Barrier(len(actions))

    def act(action: Callable[[], Any]) -> Any:
        together.wait(20)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(60) for future in [pool.submit(act, action) for action in actions]]


def changed(image: Instance, number: int) -> Instance:
    """Return another image of the same UID: its last pixel differs."""
    return Instance(image.uid, image.patient, image.data[:-1] + bytes([number + 1]))


def states(made: Route, images: list[Instance], pipeline: str = "") -> list[list[InstanceState]]:
    """Return the states of all rows of each image."""
    rows = made.rows()
    return [
        [row.state for row in rows.get(image.uid, ()) if pipeline in {"", row.pipeline}] for image in images
    ]


def wait_states(made: Route, images: list[Instance], expected: list[list[InstanceState]]) -> None:
    """Wait until the ledger, which may be a moment behind, has these states for images."""
    deadline = time.monotonic() + 30
    while (found := states(made, images)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def wait_result(made: Route, images: list[Instance], pipeline: str = "three") -> None:
    """Wait until the result of just these images is delivered, and its inputs are released."""
    uid = str(result_uid(images, pipeline))
    made.wait_for(lambda: uid in made.delivered())
    made.wait_for(lambda: all(RELEASED in each for each in states(made, images)))


class Hold:
    """Keeps a patient's jobs from ending."""

    def __init__(self, made: Route, patient: str) -> None:
        self._made, self._patient = made, patient
        self._directory: Path = made.holds  # type: ignore[attr-defined]  # kept with the host that it belongs to
        self._file = self._directory / f"hold-{patient}"
        self._file.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)

    def wait_running(self, images: int) -> None:
        """Wait until a job with so many images runs."""
        self._made.wait_for((self._directory / f"runs-{self._patient}-{images}").exists)


# -- one instance ---------------------------------------------------------------------------------------


def test_the_same_instance_on_many_associations(made: Route) -> None:
    """Everybody is told Success, and it is kept once."""
    images = made.new_patient()
    answers = at_once(*[lambda: made.send(images[:2]) for _ in range(MANY)])
    assert answers == [[SUCCESS] * 2] * MANY
    wait_states(made, images[:2], [[WAITING]] * 2)
    kept = list((made.host.data / "spool" / "kept").rglob("*.dcm"))
    for image in images[:2]:
        assert sum(dataset_bytes(path) == image.data for path in kept) == 1
    assert made.send(images[2:]) == [SUCCESS]
    wait_result(made, images)


def test_one_uid_with_other_content_on_many_associations(made: Route) -> None:
    """The first is kept whole, the others are refused; never is one overwritten."""
    image = made.new_patient()[0]
    versions = [changed(image, number) for number in range(MANY)]
    answers = at_once(*[lambda v=v: made.send([v]) for v in versions])  # type: ignore[misc]  # mypy cannot infer a lambda that binds a default
    assert Counter(answer for (answer,) in answers) == {SUCCESS: 1, CONFLICT: MANY - 1}
    winner = versions[answers.index([SUCCESS])]
    assert made.kept()[winner.sha256]
    assert not {version.sha256 for version in versions} - {winner.sha256} & made.kept().keys()
    wait_states(made, [image], [[WAITING]])


def test_one_uid_replaced_on_many_associations(made: Route) -> None:
    """With on_conflict = "replace" one version waits, and each other that was acknowledged is quarantined."""
    images = made.new_patient()
    versions = [changed(images[0], number) for number in range(MANY)]
    answers = at_once(*[lambda v=v: made.send([v], "REPLACING") for v in versions])  # type: ignore[misc]  # mypy cannot infer a lambda that binds a default
    assert answers == [[SUCCESS]] * MANY
    expected = {WAITING: 1, InstanceState.QUARANTINED: MANY - 1}
    made.wait_for(lambda: Counter(states(made, images[:1])[0]) == expected)
    spool = made.host.data / "spool"
    on_disk = Counter(dataset_bytes(path) for path in spool.rglob("*.dcm"))
    assert all(on_disk[version.data] == 1 for version in versions)
    assert made.send(images[1:], "REPLACING") == [SUCCESS] * 2
    made.wait_for(lambda: RELEASED in states(made, images[:1])[0])
    assert Counter(states(made, images[:1])[0]) == {RELEASED: 1, InstanceState.QUARANTINED: MANY - 1}


# -- one patient ----------------------------------------------------------------------------------------


def test_patients_on_many_associations_at_once(made: Route) -> None:
    """Each image of ten patients on an association of its own, all at once: one job a patient."""
    patients = [made.new_patient() for _ in range(10)]
    sent = [
        lambda image=image: made.send([image])  # type: ignore[misc]  # mypy cannot infer a lambda that binds a default
        for images in patients
        for image in images
    ]
    with ThreadPoolExecutor(12) as pool:
        assert [future.result(60) for future in [pool.submit(each) for each in sent]] == [[SUCCESS]] * 30
    for images in patients:
        wait_result(made, images)
        wait_states(made, images, [[RELEASED]] * 3)
    ours = {images[0].patient for images in patients}
    jobs = Counter(row.job for rows in made.rows().values() for row in rows if row.container_key in ours)
    assert set(jobs.values()) == {3}


def test_a_patient_on_many_associations_at_once(made: Route) -> None:
    """Five associations bring two images each, in any order: one job has all of them."""
    images = made.new_patient(10)
    at_once(*[lambda i=i: made.send(images[i : i + 2], "UNPROVEN") for i in range(0, 10, 2)])  # type: ignore[misc]  # mypy cannot infer a lambda that binds a default
    wait_result(made, images, "unproven")
    rows = [row for image in images for row in made.rows()[image.uid]]
    assert len(rows) == 10
    assert len({row.job for row in rows}) == 1


def test_late_images_make_a_new_job(made: Route) -> None:
    """With late_images = "new" what comes late waits for the next job, which has what came late alone."""
    images = made.new_patient(6)
    with Hold(made, images[0].patient) as hold:
        made.send(images[:3], "AGAIN")
        hold.wait_running(3)
        made.send(images[3:5], "AGAIN")
        wait_states(made, images, [[InstanceState.IN_JOB]] * 3 + [[WAITING]] * 2 + [[]])
    wait_result(made, images[:3], "again")
    wait_states(made, images[3:5], [[WAITING]] * 2)
    made.send(images[5:], "AGAIN")
    wait_result(made, images[3:], "again")


def test_late_images_are_held(made: Route) -> None:
    """Unless the pipeline says otherwise they make no job, however many they are."""
    images = made.new_patient(6)
    with Hold(made, images[0].patient) as hold:
        made.send(images[:3])
        hold.wait_running(3)
        made.send(images[3:])
        made.host.wait_for_log(r"a container is held: they came after job \d+ of the same series had started")
    wait_result(made, images[:3])
    wait_states(made, images[3:], [[WAITING]] * 3)


def test_late_images_join_their_job(made: Route) -> None:
    """With late_images = "join" the job that runs is given up, and one with all images takes its place."""
    images = made.new_patient(5)
    with Hold(made, images[0].patient) as hold:
        made.send(images[:3], "JOINING")
        hold.wait_running(3)
        made.send(images[3:4], "JOINING")
        hold.wait_running(4)
        made.send(images[4:], "JOINING")
        hold.wait_running(5)
    wait_result(made, images, "joining")
    delivered = made.delivered()
    assert not {str(result_uid(images[:n], "joining")) for n in (3, 4)} & set(delivered)
    jobs = [job for job in made.host.jobs() if job["pipeline"] == "joining"]
    assert [job["state"] for job in jobs] == ["discarded", "discarded", "delivered"]
    told = [f"superseded by job {job['id']}" for job in jobs[1:]]
    assert [job["reason"] for job in jobs[:2]] == told


# -- the ends of associations --------------------------------------------------------------------------------


def test_an_abort_completes_nothing(made: Route) -> None:
    """All images came, the peer aborted: no job; once one is sent again and released, there is."""
    images = made.new_patient()
    with made.connect("UNPROVEN") as peer:
        assert [made.acknowledged.store(peer, image) for image in images] == [SUCCESS] * 3
        peer.send(ABORT)
        assert peer.receive()[0] == 0
    made.host.wait_for_log("aborted: by itself it completes nothing")
    other = made.new_patient()
    made.send(other, "UNPROVEN")
    wait_result(made, other, "unproven")
    wait_states(made, images, [[WAITING]] * 3)
    assert made.send(images[:1], "UNPROVEN") == [SUCCESS]
    wait_result(made, images, "unproven")


def test_what_proves_that_all_has_come_ends_the_waiting(made: Route) -> None:
    """The association that brought all images may stay open, or be aborted."""
    images = made.new_patient()
    with made.connect() as peer:
        assert [made.acknowledged.store(peer, image) for image in images] == [SUCCESS] * 3
        wait_result(made, images)


def test_an_open_association_that_brings_nothing_for_long(made: Route) -> None:
    """It is not waited for after open_association_wait, which each image starts anew."""
    images = made.new_patient(6)
    with made.connect("IMPATIENT") as peer:
        for image in images:
            assert made.acknowledged.store(peer, image) == SUCCESS
            time.sleep(0.6)  # the pace of the sender is what is tested
        wait_result(made, images, "impatient")


def test_expiry_counts_from_the_last_image(made: Route) -> None:
    """A patient that never becomes complete is given up when no image has come for long, not before."""
    images = made.new_patient()
    for image in (images[0], images[1], images[0]):
        assert made.send([image], "EXPIRING") == [SUCCESS]
        time.sleep(0.8)  # more than half of it, so that the first image is older than the whole
    wait_states(made, images[:2], [[WAITING]] * 2)
    made.wait_for(lambda: states(made, images[:2]) == [[EXPIRED]] * 2)
    made.wait_for(lambda: not {image.sha256 for image in images[:2]} & made.kept().keys())
    assert made.send(images[:1], "EXPIRING") == [SUCCESS]
    wait_states(made, images[:1], [[EXPIRED, WAITING]])
