"""Jobs on the operator's word: what may be replayed or given up, and what becomes of ledger and files."""

import itertools
import threading
import time

import pytest

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.events import Events
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    create_job,
    job_built,
    transition_delivery,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from dicomnode.host.spool.spool_files import SpoolFiles
from dicomnode.testing.local_host import LocalHost
from sources import ct_slices, mr_slices

_numbers = itertools.count(1)


class _Bench:
    """A ledger, a spool's files and an outbox, and Jobs upon them, as an operator's command has them."""

    def __init__(self, root, *, keep_inputs=False, keep_results=False):
        self.spool, self.outbox = SpoolFiles(root / "spool"), root / "outbox"
        (root / "spool" / "kept").mkdir(parents=True)
        self.outbox.mkdir()
        self.ledger = Ledger(root / "ledger.sqlite", durable=False)
        self.job_events = JobEvents()
        self.jobs = Jobs(
            ledger=self.ledger,
            spool=self.spool,
            outbox=self.outbox,
            trees={},
            events=Events(),
            job_events=self.job_events,
            keep_inputs=keep_inputs,
            keep_results=keep_results,
        )

    def job(self, *states):
        """Make a job with two inputs and lead it through some states; return its number."""
        paths = []
        for _ in range(2):
            number = next(_numbers)
            path = f"kept/{number}.dcm"
            self.spool.path_of(path).write_bytes(b"an image")
            record = InstanceRecord(
                path=path,
                pipeline="smooth",
                container_key="P1",
                inputs=("series",),
                SOPInstanceUID=f"1.2.{number}",
                index={},
                received=float(number),
                association="a",
            )
            self.ledger.write(add_instance(record))
            paths.append(path)
        job = self.ledger.write(create_job("identity", "smooth", "P1", paths)).id
        for state in states:
            if state is JobState.BUILT:
                folder = f"job-{job}-1"
                (self.outbox / folder).mkdir()
                items = [("PACS", {"output": "dicom"}), ("file:/r", {"output": "dicom"})]
                self.ledger.write(job_built(job, folder, items))
            elif state is JobState.DELIVERED:
                for delivery in self.ledger.deliveries(job=job):
                    self.ledger.write(transition_delivery(delivery.id, DeliveryState.CONFIRMED, ""))
                self.jobs.settle(job)
            elif state is JobState.UNDELIVERABLE:
                self.dead = self.ledger.deliveries(job=job)[0].id
                self.ledger.write(transition_delivery(self.dead, DeliveryState.DEAD, "refused", 0xA900))
                self.ledger.write(
                    transition_delivery(self.ledger.deliveries(job=job)[1].id, DeliveryState.CONFIRMED, "")
                )
                self.jobs.settle(job)
            else:
                self.ledger.write(transition_job(job, state, "so it went", attempts=1))
        assert self.ledger.job(job).state is (states[-1] if states else JobState.QUEUED)
        return job

    def states_of_inputs(self, job):
        """Return the states of a job's inputs."""
        return {row.state for row in self.ledger.instances(job=job)}


@pytest.fixture
def bench(tmp_path):
    """Yield a maker of benches; their ledgers are closed at the end."""
    made = []

    def make(**options):
        made.append(_Bench(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()


RUN = JobState.RUNNING
DELIVERED = (RUN, JobState.BUILT, JobState.DELIVERED)
UNDELIVERABLE = (RUN, JobState.BUILT, JobState.UNDELIVERABLE)


def test_a_failed_job_runs_again_with_all_its_attempts(bench):
    """It is queued, with no attempt counted and no wait; identity and creation, on which UIDs rest, stay."""
    on = bench()
    job = on.job(RUN, JobState.FAILED)
    before = on.ledger.job(job)
    record = on.jobs.replay(job)
    assert (record.state, record.attempts, record.not_before) == (JobState.QUEUED, 0, 0.0)
    assert (record.identity, record.created) == (before.identity, before.created)
    assert on.ledger.transitions("job", job)[-1][:3] == ("failed", "queued", "replayed by the operator")


def test_of_an_undeliverable_job_only_the_dead_letters_are_delivered_again(bench):
    """The result is sent again where it was refused, and nowhere else; the plugin does not run."""
    on = bench()
    job = on.job(*UNDELIVERABLE)
    assert on.jobs.replay(job).state is JobState.BUILT
    states = {delivery.id: delivery.state for delivery in on.ledger.deliveries(job=job)}
    assert states.pop(on.dead) is DeliveryState.PENDING
    assert set(states.values()) == {DeliveryState.CONFIRMED}


@pytest.mark.parametrize("lost", [True, False])
def test_an_undeliverable_job_runs_again_when_asked_or_when_its_result_is_lost(bench, lost):
    """With rerun, or where the outbox has no result any more, the plugin runs again."""
    on = bench()
    job = on.job(*UNDELIVERABLE)
    if lost:
        (on.outbox / f"job-{job}-1").rmdir()
    record = on.jobs.replay(job, rerun=not lost)
    assert (record.state, record.folder) == (JobState.QUEUED, "")
    assert not any(on.outbox.iterdir())


def test_a_delivered_job_runs_again_when_its_inputs_were_kept(bench):
    """Its inputs are its own again, and the result that it had makes room for the next one."""
    on = bench(keep_inputs=True, keep_results=True)
    job = on.job(*DELIVERED)
    assert on.states_of_inputs(job) == {InstanceState.RELEASED}
    assert (on.outbox / f"job-{job}-1").is_dir()
    record = on.jobs.replay(job)
    assert (record.state, record.attempts, record.folder) == (JobState.QUEUED, 0, "")
    assert on.states_of_inputs(job) == {InstanceState.IN_JOB}
    assert not any(on.outbox.iterdir())


def test_a_delivered_job_without_its_inputs_says_so_and_nothing_changes(bench):
    """How many inputs are gone, what to do now, and which setting keeps them."""
    on = bench()
    job = on.job(*DELIVERED)
    with pytest.raises(JobStateError, match=r"2 of its 2 inputs.*Send the images again; retention\.inputs"):
        on.jobs.replay(job)
    assert on.ledger.job(job).state is JobState.DELIVERED
    assert on.states_of_inputs(job) == {InstanceState.RELEASED}


def test_a_delivery_that_waits_is_tried_at_once(bench):
    """Of a built job, whatever its wait was; what a peer has yet to commit to is not sent again."""
    on = bench()
    job = on.job(RUN, JobState.BUILT)
    hurried = []
    on.job_events.deliveries_due.subscribe(hurried.extend)
    for each in on.ledger.deliveries(job=job):
        on.ledger.write(transition_delivery(each.id, DeliveryState.PENDING, "full", not_before=4e9))
    assert on.jobs.replay(job).state is JobState.BUILT
    pending = on.ledger.deliveries(job=job)
    assert {each.not_before for each in pending} == {0.0}
    assert set(hurried) == {each.destination for each in pending}
    for each in pending:
        on.ledger.write(transition_delivery(each.id, DeliveryState.STORED, "", not_before=4e9))
    with pytest.raises(JobStateError, match="its peers have yet to commit"):
        on.jobs.replay(job)


def test_the_deliveries_of_other_jobs_go_on_waiting(tmp_path):
    """In a running host a replay makes the deliveries of its job due, and no others of the destination."""
    down = {
        "peers": {"DOWN": {"ae_title": "X", "address": "127.0.0.1:9"}},
        "delivery": {"first_retry": "8 min"},
    }
    with LocalHost(tmp_path, {"smooth": {"destinations": ["DOWN"]}}, down) as local:
        for images in (ct_slices(), mr_slices()):
            local.send(images)
        ledger = local.host.ledger
        until = time.monotonic() + 60
        while len(ledger.jobs(JobState.BUILT)) < 2 or "DOWN" not in local.host.outbox.backoffs():
            assert time.monotonic() < until
            threading.Event().wait(0.02)
        ledger.write(lambda connection: connection.execute("UPDATE delivery SET not_before = 4e9"))
        local.host.jobs.replay(1)
        assert all(each.not_before < 4e9 for each in ledger.deliveries(job=1))
        assert {each.not_before for each in ledger.deliveries(job=2)} == {4e9}


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ((), "is queued"),
        ((RUN,), "is running"),
    ],
)
def test_what_cannot_be_replayed_says_why(bench, states, told):
    """A message for each state, in words; the state stays."""
    on = bench()
    job = on.job(*states)
    state = on.ledger.job(job).state
    with pytest.raises(JobStateError, match=told):
        on.jobs.replay(job)
    assert on.ledger.job(job).state is state


@pytest.mark.parametrize("states", [(), (RUN,), (RUN, JobState.BUILT), (RUN, JobState.FAILED), UNDELIVERABLE])
def test_any_job_that_is_not_over_can_be_given_up(bench, states):
    """Inputs are released, files removed, nothing is to be delivered; the reason is kept."""
    on = bench()
    job = on.job(*states)
    record = on.jobs.discard(job, "wrong patient")
    assert (record.state, record.reason) == (JobState.DISCARDED, "wrong patient")
    assert on.states_of_inputs(job) == {InstanceState.RELEASED}
    assert not any(on.spool.iterate())
    assert not any(on.outbox.iterdir())
    assert {delivery.state for delivery in on.ledger.deliveries(job=job)} <= {
        DeliveryState.DISCARDED,
        DeliveryState.CONFIRMED,
    }


def test_an_outcome_that_comes_after_a_job_was_given_up_changes_nothing(bench):
    """What was being sent in that moment stays given up, and that is no error."""
    on = bench()
    job = on.job(RUN, JobState.BUILT)
    first = on.ledger.deliveries(job=job)[0].id
    on.jobs.discard(job, "not wanted")
    on.ledger.write(transition_delivery(first, DeliveryState.CONFIRMED, ""))
    assert on.ledger.deliveries(job=job)[0].state is DeliveryState.DISCARDED


def test_whoever_runs_a_job_learns_that_it_was_given_up(bench):
    """The host ends a job that runs when it is discarded."""
    on = bench()
    ended = []
    on.job_events.withdrawn.subscribe(ended.append)
    job = on.job(RUN)
    on.jobs.discard(job, "too slow")
    assert ended == [job]


@pytest.mark.parametrize("states", [DELIVERED, (JobState.DISCARDED,)])
def test_what_is_over_is_not_given_up(bench, states):
    """A message says that it is over."""
    on = bench()
    job = on.job(*states)
    with pytest.raises(JobStateError, match=r"was delivered|was discarded already"):
        on.jobs.discard(job, "again")


def test_a_discarded_job_runs_again_while_its_inputs_are_kept(bench):
    """Its inputs are its own again, and no note says any more that they are over."""
    on = bench(keep_inputs=True)
    job = on.job()
    on.jobs.discard(job, "by mistake")
    (note,) = on.spool.released.notes()
    assert note.files == {row.path for row in on.ledger.instances(job=job)}
    assert on.jobs.replay(job).state is JobState.QUEUED
    assert on.states_of_inputs(job) == {InstanceState.IN_JOB}
    assert list(on.spool.released.notes()) == []


def test_a_discarded_job_without_its_inputs_says_so(bench):
    """How many are gone, and what to do now; the state stays."""
    on = bench()
    job = on.job()
    on.jobs.discard(job, "test images")
    with pytest.raises(
        JobStateError, match=r"\(discarded\) cannot run again: 2 of its 2 inputs are not kept"
    ):
        on.jobs.replay(job)
    assert on.ledger.job(job).state is JobState.DISCARDED


def test_an_end_that_the_ledger_does_not_take_leaves_no_note(bench, monkeypatch):
    """The job goes on, so its inputs are needed: a rebuilt ledger must not take them for released."""
    on = bench(keep_inputs=True)
    job = on.job()
    write = on.ledger.write
    monkeypatch.setattr(on.ledger, "write", lambda change: write(lambda connection: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        on.jobs.discard(job, "no more")
    assert list(on.spool.released.notes()) == []


def test_an_unknown_number_is_told(bench):
    """With the command that lists those that there are."""
    with pytest.raises(JobStateError, match="there is no job 77; `dicomnode-host jobs`"):
        bench().jobs.replay(77)
    with pytest.raises(JobStateError, match="there is no job 77"):
        bench().jobs.discard(77, "why not")
